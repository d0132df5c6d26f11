"""One platform at a time writes to a home: the processes that share one Dagster event log, whatever started them."""

import fcntl
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mlops_assets.foundation.atomic_file import create_file, replace_file

WAIT_S = 1.0  # for a platform that has the lock and has not written its id yet
POLL_S = 0.2
_LOCKS: dict[Path, FileLock] = {}  # one per home and process, held until the process ends


class HomeInUse(RuntimeError):
    """Another platform writes to the home: both would make every table and train every model."""


@contextmanager
def reserved_home(root: Path) -> Generator[None]:
    """No other process writes to the home meanwhile, not even one of its own platform. Raises HomeInUse."""
    lock = lock_of(root)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        problem = f"a platform, with the event log {_owner(root) or 'unknown'}, writes to this home"
        raise HomeInUse(f"{root} · {problem}. Stop it, and run this again.") from None
    try:
        record_owner(root, "of a command such as `mlops migrate`")
        yield
    finally:
        lock.release()


@contextmanager
def reading(root: Path) -> Generator[None]:
    """A run, or a command that writes what it has read: `await_readers` waits for the end of the block."""
    root.mkdir(parents=True, exist_ok=True)
    while True:
        readers = _current_readers(root)
        with readers.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if readers == _current_readers(root):  # otherwise an erasure has begun since, which does not wait for this block
                yield
                return


def await_readers(root: Path, *, seconds: float, on_wait: Callable[[], None]) -> bool:
    """Whether every block of `reading` that began before this call has ended within `seconds`. Later ones are not waited for."""
    replace_file(root / "readers", uuid.uuid4().hex.encode())
    deadline, current = time.monotonic() + seconds, _current_readers(root)
    for earlier in sorted({*root.glob("readers.*.lock")} - {current}):
        with earlier.open("ab") as file:
            while not _is_alone(file.fileno()):
                if time.monotonic() >= deadline:
                    return False
                on_wait()
                time.sleep(POLL_S)
            earlier.unlink(missing_ok=True)
    return True


def erasure_mark(root: Path) -> tuple[int, int]:
    """Another one after each erasure. One call of the operating system, as a server compares it with each value it remembers."""
    with suppress(FileNotFoundError):
        status = (root / "readers").stat()
        return status.st_ino, status.st_mtime_ns
    return 0, 0


def _current_readers(root: Path) -> Path:
    return root / f"readers.{_read(root / 'readers') or 'first'}.lock"


def _is_alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_of(root: Path) -> FileLock:
    # Not by thread: a code server evaluates sensors in many.
    return _LOCKS.setdefault(root, FileLock(root / "platform.lock", thread_local=False))


def claim_home(root: Path, platform: str) -> None:
    """Reserves the home for the processes of `platform` until the last of them ends. Raises HomeInUse."""
    lock = lock_of(root)
    with suppress(Timeout):
        if not lock.is_locked:
            lock.acquire(timeout=0 if _owner(root) == platform else WAIT_S)
        record_owner(root, platform)
        return
    if (owner := _owner(root)) != platform:
        problem = f"another platform, with the event log {owner or 'unknown'}, writes to this home"
        raise HomeInUse(f"{root} · {problem}. Stop it, or set MLOPS_HOME to another folder.")


def record_owner(root: Path, platform: str) -> None:
    """The caller holds the lock."""
    if _owner(root) != platform:
        replace_file(root / "platform.id", platform.encode())


def require_event_log(root: Path, folder: Path, recorded: str, *, creates_id: bool = True) -> str:
    """What an event log with this DAGSTER_HOME `folder` records of its home: an id, which moves with the home, and the place.
    Raises HomeInUse where it has recorded another home: by its events, tables would be made that this home does not have.
    """
    recorded_id, _, place = recorded.partition(" ")
    if recorded_id and recorded_id != _read(root / "home.id") and not folder.is_relative_to(root):
        problem = f"the event log in {folder} is that of another home, {place}"
        raise HomeInUse(f"{root} · {problem}. Set MLOPS_HOME to that home, or DAGSTER_HOME to another folder.")
    if creates_id and not (root / "home.id").exists():
        create_file(root / "home.id", uuid.uuid4().hex.encode())
    return f"{_read(root / 'home.id')} {root}"


def _owner(root: Path) -> str:
    return _read(root / "platform.id")


def _read(file: Path) -> str:
    with suppress(FileNotFoundError):
        return file.read_text()
    return ""
