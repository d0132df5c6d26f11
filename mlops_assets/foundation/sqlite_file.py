"""A database file of SQLite, which is also read where its disk is full or read-only."""

import sqlite3
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Literal, cast

# The codes of SQLite where a file cannot be created, extended or written.
REFUSES_FILES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


class ImmutableFile(sqlite3.Connection):
    """Reads the file as it was at the start, and never writes."""


def connect(file: Path, *, busy_s: float, mode: Literal["rw", "rwc"] = "rw") -> sqlite3.Connection:
    """`rw`: a file that is gone is an error, not a new and empty database. `busy_s` is how long it waits for its turn."""
    connection = _open(file, f"mode={mode}", busy_s, sqlite3.Connection)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        # The first reader creates a file next to the database, which a full or read-only disk refuses. Without it the database
        # can be read alone, but only where its write-ahead log has no record; else in a copy.
        # https://sqlite.org/wal.html#readonly
        log = file.with_name(f"{file.name}-wal")
        if error.sqlite_errorcode & 0xFF not in REFUSES_FILES:
            raise
        if log.exists() and log.stat().st_size:
            try:
                return _open_copy(file, log, busy_s)
            except OSError:  # no space for one either
                raise error from None
        return _open(file, "mode=ro&immutable=1", busy_s, ImmutableFile)
    return connection


def _open_copy(file: Path, log: Path, busy_s: float) -> ImmutableFile:
    with TemporaryDirectory() as folder:
        for one in (file, log):
            copyfile(one, Path(folder) / one.name)
        connection = cast(ImmutableFile, _open(Path(folder) / file.name, "mode=rw", busy_s, ImmutableFile))
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens both files, which may then lose their names
        connection.execute("PRAGMA query_only = ON")
        return connection


def _open(file: Path, options: str, busy_s: float, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?{options}", uri=True, timeout=busy_s, check_same_thread=False, factory=factory)
