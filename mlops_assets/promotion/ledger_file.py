"""The SQLite file of a ledger: opened, missing from a home that had one, and what to do about its errors."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from mlops_assets.promotion.ledger_chain import DamagedLedger

BUSY_S = 30  # how long a writer on SQLite waits for its turn
# The codes of SQLite where a file cannot be created, extended or written.
REFUSES_FILES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
# What a home has only after its ledger: a version is placed when the ledger is there, and a plan copies a record.
PLACED = ("deployments/*/plan.json", "deployments/*/models/[0-9]*", "deployments/*/ledger_head")
TRAINED = "mlflow/artifacts/**/model.onnx"


def is_file_there(file: Path, traces: Sequence[str] = PLACED) -> bool:
    """Raises DamagedLedger for a missing file whose home has `traces` of its records."""
    if _has_file(file):
        return True
    trace = next((path for pattern in traces for path in file.parent.glob(pattern)), None)
    # Looked for again: the ledger may have been created, and then a model placed, since the first look.
    if trace and not _has_file(file):
        problem = f"is missing, and its home has {trace.relative_to(file.parent)}: the home is damaged, not new"
        raise DamagedLedger(f"ledger · {file} · {problem}. Restore the file from its newest backup.")
    return trace is not None


def _has_file(file: Path) -> bool:
    with suppress(FileNotFoundError):  # alone: a folder that is a file or cannot be read holds no new ledger
        return bool(file.stat())
    return False


def connect(file: Path) -> sqlite3.Connection:
    # rw: a file that is gone is an error, not a new and empty ledger.
    connection = _open(file, "mode=rw")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        # The first reader creates a file next to the database, which a full or read-only disk refuses. Without it the database
        # can be read alone, but only where its write-ahead log has no record. https://sqlite.org/wal.html#readonly
        log = file.with_name(f"{file.name}-wal")
        if error.sqlite_errorcode & 0xFF not in REFUSES_FILES or (log.exists() and log.stat().st_size):
            raise
        connection = _open(file, "mode=ro&immutable=1")
    return connection


def _open(file: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.as_uri()}?{options}", uri=True, timeout=BUSY_S, check_same_thread=False)
    # Bytes that are not UTF-8 were edited by hand; `verify` reports them instead of failing.
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    return connection


def describe_remedy(cause: object, file: Path) -> str:
    """What to do about an error of SQLite or of the file system."""
    code = getattr(cause, "sqlite_errorcode", None) or sqlite3.SQLITE_CANTOPEN
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return "Another process is writing; run it again"
    if code & 0xFF not in REFUSES_FILES:
        return "Restore the file from its newest backup"
    free = f"{shutil.disk_usage(file.parent).free:,} bytes are free" if file.parent.is_dir() else "the folder does not exist"
    return f"Make the folder {file.parent} and its files writable, or free space on its disk ({free})"
