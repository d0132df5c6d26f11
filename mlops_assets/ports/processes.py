"""Child processes that start together, are ready together and end together, grandchildren included.

Belongs here: starting, readiness, ending. Not here: which processes there are (platform.py).
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil

READY_SECONDS, GRACE_SECONDS = 90.0, 12.0
POLL_SECONDS = 0.2
FAMILY = "MLOPS_PROCESS_FAMILY"
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


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
    """Starts the children side by side on entry, and waits for all; ends them and their descendants on exit.

    SIGTERM and SIGHUP leave the block like Ctrl-C does. Entry raises NotStarted.
    """

    def __init__(self, children: Sequence[Child], *, ready_s: float = READY_SECONDS, grace_s: float = GRACE_SECONDS) -> None:
        self._children = children
        self._ready_s, self._grace_s = ready_s, grace_s
        self._running: list[tuple[Child, psutil.Popen]] = []
        # Descendants are known by a variable that they inherit: sessions and parents are lost when a parent dies first.
        self._family = uuid.uuid4().hex
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._signals.enter_context(_exiting_on_signals())
        try:
            for child in self._children:
                self._running.append((child, _start(child, self._family)))
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._signals:
            self._end()

    def dead(self) -> list[Child]:
        """The children that have ended by themselves."""
        return [child for child, process in self._running if process.poll() is not None]

    def _wait_until_ready(self) -> None:
        deadline, waiting = time.monotonic() + self._ready_s, [child for child, _ in self._running]
        while waiting := [child for child in waiting if not _is_ready(child)]:
            for child, process in self._running:
                if process.poll() is not None:
                    raise NotStarted(_report(child, f"ended with code {process.returncode}"))
            if time.monotonic() > deadline:
                raise NotStarted(_report(waiting[0], f"was not ready in {self._ready_s:g} s"))
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        """SIGINT, then SIGTERM (a shell's background job ignores SIGINT); who is left after the grace period is killed.

        A second Ctrl-C cuts the grace period short.
        """
        try:
            left = _alive(self._family)
            for number in (signal.SIGINT, signal.SIGTERM):
                self._send(number)
                _, left = psutil.wait_procs(left, timeout=self._grace_s / 2)
        finally:
            self._kill()

    def _send(self, number: int) -> None:
        """To the children alone: each of them ends its own workers in the right order."""
        for _, process in self._running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _kill(self) -> None:
        while left := _alive(self._family):
            for one in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(left, timeout=1)


def free_port(preferred: int = 0) -> int:
    """A loopback port that nobody listens on now: `preferred`, or any when that one is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do; a port of a server just ended is free
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return free_port()
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _exiting_on_signals() -> Generator[None]:
    """By default these signals end Python at once, and would leave the children behind. Only a main thread may catch them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # One that is ignored (nohup) or already handled stays as it is.
    unhandled = [number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in unhandled:
            signal.signal(number, lambda caught, _frame: sys.exit(128 + caught))
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def _start(child: Child, family: str) -> psutil.Popen:
    child.log.parent.mkdir(parents=True, exist_ok=True)
    with child.log.open("ab") as log:
        # A session of its own, so that a Ctrl-C in the terminal reaches us first and the children in order.
        return psutil.Popen(
            [*child.command], env={**child.environment, FAMILY: family}, cwd=child.working_folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _alive(family: str) -> list[psutil.Process]:
    """Every process that bears the family's mark, the ended but not yet collected ones excepted."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _bears(process, family)]


def _bears(process: psutil.Process, family: str) -> bool:
    try:
        return process.environ().get(FAMILY) == family
    except (psutil.Error, OSError):  # gone, a zombie, or another user's
        return False


def _is_ready(child: Child) -> bool:
    if child.ready_url is None:
        return True
    try:
        return httpx.get(child.ready_url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _report(child: Child, what: str) -> str:
    return f"{child.name} {what}. The end of {child.log}:\n{_tail(child.log)}"


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
