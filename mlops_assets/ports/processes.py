"""Child processes that start together, are ready together and end together, grandchildren included.

Belongs here: starting, readiness, ending. Not here: which processes there are (platform.py).
"""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil

READY_SECONDS, GRACE_SECONDS = 90.0, 12.0


class NotStarted(RuntimeError):
    """A process ended, or was not ready in time; the message carries the end of its log."""


@dataclass(frozen=True)
class Child:
    """`ready_url` answers with success once the process is ready; without one it is ready when it runs."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    working_folder: Path
    ready_url: str | None = None


class Processes:
    """Starts the children on entry, in order and side by side; ends all of them on exit."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self._running: list[tuple[Child, psutil.Popen]] = []

    def __enter__(self) -> Self:
        try:
            self._running = [(child, _start(child)) for child in self._children]
            for child, process in self._running:
                _wait_until_ready(child, process)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def dead(self) -> list[Child]:
        """The children that have ended by themselves."""
        return [child for child, process in self._running if process.poll() is not None]

    def _end(self) -> None:
        """SIGINT first, which all of them take for a clean end; what is left after the grace period is killed.

        Descendants are listed beforehand: Bento's worker has a session of its own and outlives a killed parent.
        """
        family = [one for _, process in self._running for one in _family(process)]
        for _, process in self._running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=GRACE_SECONDS)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(child: Child) -> psutil.Popen:
    child.log.parent.mkdir(parents=True, exist_ok=True)
    with child.log.open("ab") as log:
        # A session of its own, so that a Ctrl-C in the terminal reaches us first and the children in order.
        return psutil.Popen(
            [*child.command], env=dict(child.environment), cwd=child.working_folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _family(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return []


def _wait_until_ready(child: Child, process: psutil.Popen) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _is_ready(child):
        if process.poll() is not None:
            raise NotStarted(f"{child.name} ended with code {process.returncode}. The end of {child.log}:\n{_tail(child.log)}")
        if time.monotonic() > deadline:
            raise NotStarted(f"{child.name} was not ready in {READY_SECONDS:.0f} s. The end of {child.log}:\n{_tail(child.log)}")
        time.sleep(0.2)


def _is_ready(child: Child) -> bool:
    if child.ready_url is None:
        return True
    try:
        return httpx.get(child.ready_url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
