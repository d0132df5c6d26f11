"""The files of a ledger: its SQLite database, and the newest record of each chain, whose loss the database does not show."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from mlops_assets.foundation import sqlite_file
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.sqlite_file import REFUSES_FILES
from mlops_assets.promotion.ledger_chain import DamagedLedger

BUSY_S = 30  # how long a writer on SQLite waits for its turn
# What a home has only after its ledger: a version is placed when the ledger is there, and a plan copies a record.
PLACED = ("deployments/*/plan.json", "deployments/*/models/[0-9]*", "deployments/*/ledger_head")
TRAINED = "mlflow/artifacts/**/model.onnx"
Head = tuple[int, str]  # number and digest of a record


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
    connection = sqlite_file.connect(file, busy_s=BUSY_S)
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


@dataclass(frozen=True)
class LedgerHeads:
    """`<root>/<use case>/ledger_head`, written by any number of processes; it only moves forward, and only along the chain."""

    root: Path

    def read(self, use_case: str) -> Head | None:
        """None before the first record. Raises DamagedLedger."""
        file = self._file(use_case)
        with suppress(FileNotFoundError):
            number, _, digest = file.read_bytes().decode(errors="replace").strip().partition(" ")
            if number.isdecimal() and digest:
                return int(number), digest
            problem = f"found {number[:20]!r}; legal: number and digest of a record"
            raise DamagedLedger(f"{use_case} · {file} · {problem}. `mlops ledger mirror {use_case} --replace` writes it again.")
        return None

    def advance(self, use_case: str, newest: Head, is_recorded: Callable[[Head], bool]) -> None:
        """A head that is not recorded any more stays, as the only trace of what was removed. Raises DamagedLedger."""
        with self._lock(use_case):
            head = self.read(use_case)
            if head is None or (head[0] < newest[0] and is_recorded(head)):
                self._write(use_case, newest)

    def replace(self, use_case: str, newest: Head | None) -> None:
        """Forgets what was removed; another head than `newest` is kept in a file next to it."""
        with self._lock(use_case):
            with suppress(FileNotFoundError):
                content = self._file(use_case).read_bytes()
                if newest is None or content != _to_bytes(newest):
                    kept = f"replaced-head-{hashlib.sha256(content).hexdigest()[:12]}"
                    replace_file(self._file(use_case).with_name(kept), content)
            if newest:
                self._write(use_case, newest)
            else:
                self._file(use_case).unlink(missing_ok=True)

    def _write(self, use_case: str, head: Head) -> None:
        replace_file(self._file(use_case), _to_bytes(head))

    def _file(self, use_case: str) -> Path:
        return self.root / use_case / "ledger_head"

    def _lock(self, use_case: str) -> FileLock:
        self._file(use_case).parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._file(use_case).with_name(".ledger_head.lock"))


def _to_bytes(head: Head) -> bytes:
    return f"{head[0]} {head[1]}\n".encode()
