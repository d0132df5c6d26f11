"""Which errors are the caller's to correct: their message says what to do, and a traceback would not help."""

import errno
import sqlite3

# MLflow's messages name what it did not find; matched by name, as importing MLflow takes a second.
CORRECTABLE = {"mlops_assets", "mlflow"}
ACCESS, ROOM = "Let the user of this process read and write it", "Free space there, or raise the limit"
REMEDIES = {
    errno.EACCES: ACCESS, errno.EPERM: ACCESS, errno.EROFS: "Mount its disk for writing",
    errno.ENOSPC: ROOM, errno.EDQUOT: ROOM, errno.EFBIG: ROOM,
}  # fmt: skip
OCCUPIED = "Another process writes to it; run the same again"
OF_SQLITE = {
    sqlite3.SQLITE_READONLY: ACCESS, sqlite3.SQLITE_CANTOPEN: ACCESS, sqlite3.SQLITE_IOERR: ROOM, sqlite3.SQLITE_FULL: ROOM,
    sqlite3.SQLITE_BUSY: OCCUPIED, sqlite3.SQLITE_LOCKED: OCCUPIED,
}  # fmt: skip


class OfEveryPartition(ValueError):
    """A mistake in the declaration, in the code or of a table, which every partition of it has, whatever the rows."""


def is_correctable(error: BaseException) -> bool:
    """Errors of this package, of MLflow, of the operating system and of a database file that refuses are; every other one is a
    defect.
    """
    is_of_system = isinstance(error, OSError) or sqlite_code(_driver_error(error)) in OF_SQLITE
    return is_of_system or type(error).__module__.partition(".")[0] in CORRECTABLE


def describe_mistake(error: BaseException) -> str:
    """The message, with what to do about a file or disk that refuses, of which the operating system says only that it does."""
    if remedy := OF_SQLITE.get(sqlite_code(driver := _driver_error(error))):
        return f"a database of the home · {driver}. {remedy}."
    remedy = REMEDIES.get(error.errno or 0) if isinstance(error, OSError) and error.filename else None
    return f"{error.filename} · {str(error.strerror).lower()}. {remedy}." if isinstance(error, OSError) and remedy else str(error)


def sqlite_code(error: BaseException) -> int:
    """Without its extended part; 0 of any other error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0


def _driver_error(error: BaseException) -> BaseException:
    """What SQLAlchemy wraps, and quotes together with a whole statement."""
    return getattr(error, "orig", None) or error
