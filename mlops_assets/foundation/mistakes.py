"""Which errors are the caller's to correct: their message says what to do, and a traceback would not help."""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator

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
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in the text of an error of a library in Rust, such as Polars


class OfEveryPartition(ValueError):
    """A mistake in the declaration, in the code or of a table, which every partition of it has, whatever the rows."""


def is_correctable(error: BaseException) -> bool:
    """Errors of this package, of MLflow, of the operating system and of a file or database that refuses are; every other one is a
    defect.
    """
    is_of_system = isinstance(error, OSError) or bool(_describe_refusal(error))
    return is_of_system or type(error).__module__.partition(".")[0] in CORRECTABLE


def describe_mistake(error: BaseException) -> str:
    """The message, with what to do about a file or disk that refuses, of which the operating system says only that it does."""
    if type(error).__module__.partition(".")[0] == "mlops_assets":
        return str(error)
    return next((words for one in chain_of(error) if (words := _describe_refusal(one))), str(error))


def _describe_refusal(error: BaseException) -> str:
    """Of a file, a disk or a database; empty for every other error."""
    if remedy := OF_SQLITE.get(sqlite_code(driver := _driver_error(error))):
        return f"a database of the home · {driver}. {remedy}."
    if not (code := errno_of(error)) or not (remedy := REMEDIES.get(code)):
        return ""
    if isinstance(error, OSError):
        return f"{error.filename} · {str(error.strerror).lower()}. {remedy}." if error.filename else ""
    return f"a file of the home · {os.strerror(code).lower()}. {remedy}."


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Also what `from None` hides from people: our own errors have one sentence, and the cause decides."""
    known = list[BaseException]()
    while error not in known:
        yield error
        known.append(error)
        error = error.__cause__ or error.__context__ or error


def errno_of(error: BaseException) -> int | None:
    in_text = _OS_ERROR.search(str(error))
    return int(in_text[1]) if in_text else error.errno if isinstance(error, OSError) else None


def sqlite_code(error: BaseException) -> int:
    """Without its extended part; 0 of any other error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0


def _driver_error(error: BaseException) -> BaseException:
    """What SQLAlchemy wraps, and quotes together with a whole statement."""
    return getattr(error, "orig", None) or error
