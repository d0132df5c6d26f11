"""One platform at a time writes to a home: the processes that share one Dagster event log, whatever started them."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mlops_assets.foundation.atomic_file import replace_file

WAIT_S = 1.0  # for a platform that has the lock and has not written its id yet
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


def _owner(root: Path) -> str:
    with suppress(FileNotFoundError):
        return (root / "platform.id").read_text()
    return ""
