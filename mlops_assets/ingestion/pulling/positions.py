"""How far each source has been read: a file next to the landed ones, which one run at a time replaces."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.pulling.rows import CannotPull

Position = Any  # JSON


@dataclass(frozen=True)
class Positions:
    """How far a source has been read: a file of its own, written after the files of the rows."""

    path: Path

    def read(self, reads: str) -> Position | None:
        stored: dict[str, Any] = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        return stored.get("position") if stored.get("reads") == reads else None

    def write(self, reads: str, position: Position) -> None:
        replace_file(self.path, json.dumps({"reads": reads, "position": position}, indent=1).encode())

    @contextmanager
    def reserved(self) -> Generator[None]:
        """No other run changes the files meanwhile. Raises CannotPull."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise CannotPull("another run reads this source now. Wait for its end, and try again.") from None
        try:
            yield
        finally:
            lock.release()


def positions_of(landing: Landing, use_case: str, table: str) -> Positions:
    return Positions(landing.root / use_case / f".{table}.pulled.json")
