"""The newest record of each chain, remembered on the file system: a ledger does not show that its newest records were removed."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.promotion.ledger_chain import DamagedLedger

Head = tuple[int, str]  # number and digest of a record


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
