"""Child processes that start and stop together, with all their descendants."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx
import psutil

from mlops_assets.foundation.names import PROCESS_GROUP

READY_SECONDS, GRACE_SECONDS, POLL_SECONDS = 180.0, 12.0, 0.2
START_GRACE_S = 1.0  # of children that are not ready: they have nothing to end
FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 1.0, 60.0, 600.0  # before a restart: doubled until the process has run steadily
LOST_S = 0.1  # until a signal whose exception was lost is sent again
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessFailed(RuntimeError):
    """A process exited, or was not ready in time; the message has the end of its log."""

    def __init__(self, child: "Child", problem: str) -> None:
        tail = child.log.read_text(errors="replace").splitlines()[-20:]
        super().__init__("\n".join([f"{child.name} {problem}. The end of {child.log}:", *tail]))


class _ChildExited(BaseException):
    """Interrupts the main thread as Ctrl-C does; not an Exception, so that no retry loop catches it."""


@dataclass(frozen=True)
class Child:
    """Ready once `ready_url` returns success; without one, once it is started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    working_folder: Path
    ready_url: str | None = None


@contextlib.contextmanager
def running(
    children: Iterable[Child],
    *,
    ready_s: float = READY_SECONDS,
    grace_s: float = GRACE_SECONDS,
    on_restart: Callable[[str], None] | None = None,
) -> Generator[None]:
    """Starts the children, waits until all are ready, and stops them and their descendants after the block.

    SIGINT (also where it was ignored at start), SIGTERM, SIGHUP and a child that exits interrupt the block; with `on_restart`,
    which gets a message, such a child is started again after a growing pause instead. A second signal cuts the grace period
    short, and before all are ready there is hardly any. Raises ProcessFailed.
    """
    group = _Group()
    handlers = {**dict.fromkeys(STOP_SIGNALS, group.exit_on_signal), signal.SIGCHLD: group.on_child_exit}
    with _handling(handlers), _unraisable(group.is_lost):
        try:
            for child in children:
                group.start(child)
            group.wait_until_ready(ready_s)
            group.on_restart, group.is_ready = on_restart, True
            yield
        except _ChildExited:
            group.raise_for_exited_child()
        finally:
            group.stop(grace_s if group.is_ready else min(grace_s, START_GRACE_S))


# Not honcho 2.0: it ends all processes when one exits, and starts none again. While a descendant in a session of its own is
# alive, it does not end on SIGTERM within 30 s, nor end the descendant.
@dataclass
class _Group:
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[tuple[Child, "subprocess.Popen[bytes]"]] = field(default_factory=list[Any])
    is_ready: bool = False
    is_stopping: bool = False
    is_ending: bool = False  # from the start of `stop`
    interruption: tuple[int, BaseException] | None = None  # the signal, and what its handler raised
    on_restart: Callable[[str], None] | None = None
    restarts: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])  # how many in a row, the last at

    def start(self, child: Child) -> None:
        child.log.parent.mkdir(parents=True, exist_ok=True)
        with child.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches this process only, which then stops the children.
            process = subprocess.Popen(
                [*child.command], env={**child.environment, PROCESS_GROUP: f"{self.name} {child.name}"}, cwd=child.working_folder,
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.started.append((child, process))

    def wait_until_ready(self, seconds: float) -> None:
        deadline, waiting = time.monotonic() + seconds, [child for child, _ in self.started]
        while waiting := [child for child in waiting if not _is_ready(child)]:
            self.raise_for_exited_child()
            if time.monotonic() > deadline:
                raise ProcessFailed(waiting[0], f"was not ready in {seconds:g} s")
            time.sleep(POLL_SECONDS)
        self.raise_for_exited_child()

    def raise_for_exited_child(self) -> None:
        for child, process in self.started:
            if process.poll() is not None:
                raise ProcessFailed(child, f"exited with code {process.returncode}") from None

    def exit_on_signal(self, number: int, _frame: object) -> None:
        self._interrupt(number, KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))

    def _interrupt(self, number: int, exception: BaseException) -> NoReturn:
        self.is_stopping, self.interruption = True, (number, exception)
        raise exception

    def is_lost(self, exception: BaseException | None) -> bool:
        """What a handler raises is lost where the signal comes during a destructor or the callback of a weak reference, as
        SQLAlchemy has them. Then the signal is sent again.
        """
        if self.interruption is None or exception is not self.interruption[1]:
            return False
        again = threading.Timer(LOST_S, self._signal_again, [self.interruption[0]])
        again.daemon = True
        again.start()
        return True

    def _signal_again(self, number: int) -> None:
        main = threading.main_thread().ident
        if not self.is_ending and main is not None:
            self.is_stopping = False
            signal.pthread_kill(main, number)

    def on_child_exit(self, number: int, _frame: object) -> None:
        for child, process in [] if self.is_stopping else [*self.started]:
            if process.poll() is None:
                continue
            if self.on_restart is None:
                self._interrupt(number, _ChildExited())
            self.started.remove((child, process))
            self._restart_later(child, process.returncode, self.on_restart)

    def _restart_later(self, child: Child, code: int, on_restart: Callable[[str], None]) -> None:
        in_a_row, last = self.restarts.get(child.name, (0, 0.0))
        in_a_row = 0 if time.monotonic() - last > STEADY_S else in_a_row
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**in_a_row)
        self.restarts[child.name] = (in_a_row + 1, time.monotonic())
        timer = threading.Timer(pause, self._restart, [child])
        timer.daemon = True
        timer.start()
        on_restart(f"{child.name} exited with code {code}; it starts again in {pause:g} s. Its log is {child.log}.")

    def _restart(self, child: Child) -> None:
        for orphan in self._alive(child.name):  # a worker that lost its parent keeps the port
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        if not self.is_stopping:
            self.start(child)
            if self.is_stopping:
                self.started[-1][1].kill()

    def stop(self, grace_s: float) -> None:
        self.is_stopping = self.is_ending = True
        try:
            # To the children only: each stops its own workers in order.
            for number in (signal.SIGINT, signal.SIGTERM):
                for _, process in self.started:
                    process.send_signal(number)
                psutil.wait_procs(self._alive(), timeout=grace_s / 2)
        finally:
            with _handling(dict.fromkeys(STOP_SIGNALS, signal.SIG_IGN)):
                while alive := self._alive():
                    for process in alive:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.kill()
                    psutil.wait_procs(alive, timeout=1)
                for _, process in self.started:
                    process.poll()  # psutil has waited for it, which Popen does not know

    def _alive(self, child: str = "") -> list[psutil.Process]:
        """All processes of one child; without a name, of all children."""

        def is_ours(process: psutil.Process) -> bool:
            environment: dict[str, str] = process.info["environ"] or {}
            mark = environment.get(PROCESS_GROUP, "")
            return mark == f"{self.name} {child}" if child else mark.startswith(self.name)

        return [process for process in psutil.process_iter(["environ"]) if is_ours(process)]


# Held until this process ends. UDP, so that the server itself can have the TCP port.
_claims: dict[int, socket.socket] = {}


def free_port(preferred: int = 0) -> int:
    """An unused loopback port: `preferred` if it is free, and no other process is about to start a server there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: just after one has stopped, its port is free
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return free_port()
        if preferred and not _claim(preferred):
            return free_port()
        return int(probe.getsockname()[1])


def _claim(port: int) -> bool:
    """Whether this process has it from now on: two platforms that start at once would both see that nobody listens yet."""
    if port in _claims:
        return True
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    _claims[port] = claim
    return True


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, Callable[[int, Any], None] | signal.Handlers]) -> Generator[None]:
    # A SIGHUP that nohup ignores stays ignored, and only the main thread can set handlers.
    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set[int]()
    kept = kept if threading.current_thread() is threading.main_thread() else {*handlers}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items() if number not in kept}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def _unraisable(is_expected: Callable[[BaseException | None], bool]) -> Generator[None]:
    """Python prints no exception that `is_expected` accepts and that nothing can catch."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not is_expected(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _is_ready(child: Child) -> bool:
    try:
        return child.ready_url is None or httpx.get(child.ready_url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False
