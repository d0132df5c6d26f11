"""The partitions of one table that failed a check and are not used, with the reasons and the waivers: one JSON file."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from mlops_assets.foundation.atomic_file import replace_file

NOTHING = "nothing"  # in place of the digest of a file: none is expected


class NotRefused(LookupError):
    """No check refuses the partition's landed file, so there is nothing to waive."""


class UnreadableRefusals(ValueError):
    """The file is damaged: which partitions are refused is not known, and nothing is recorded over it."""


@dataclass(frozen=True)
class Waiver:
    why: str
    by: str
    at: str


@dataclass(frozen=True)
class Refusal:
    """`file` is the digest of the landed file that failed (empty: no file with rows to use; NOTHING: none landed, and none is
    expected), `failed` the message of each check that it failed. A waiver holds for this file alone: the next delivery of the
    partition is judged again.
    """

    file: str
    failed: Mapping[str, str]
    waiver: Waiver | None = None

    @property
    def message(self) -> str:
        failures = " ".join(self.failed.values())
        if self.is_gap and self.waiver:
            return f"Nothing is expected, as accepted by {self.waiver.by} ({self.waiver.why})."
        if waiver := self.waiver:
            return f"Used, as waived by {waiver.by} ({waiver.why}): {failures}"
        return f"Not used, and what was accepted before stays: {failures}"

    @property
    def is_gap(self) -> bool:
        return self.file == NOTHING


@dataclass(frozen=True)
class Refusals:
    """By the keys of the partitions."""

    path: Path

    @classmethod
    def of(cls, landing: Path, use_case: str, table: str) -> "Refusals":
        """Of one table in the landing folder."""
        return cls(landing / use_case / f".{table}.refused.json")

    def read(self) -> dict[str, Refusal]:
        """In the order of the keys. Raises UnreadableRefusals."""
        try:
            stored: dict[str, Any] = json.loads(self.path.read_bytes()) if os.path.lexists(self.path) else {}
            return {
                key: Refusal(one["file"], {**one["failed"]}, Waiver(**one["waiver"]) if one["waiver"] else None)
                for key, one in sorted(stored.items())
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            problem = f"the record of the refused files is damaged: {error}"
            remedy = "Restore it from its backup, or remove it and land the refused files again"
            raise UnreadableRefusals(f"{self.path.name} · {problem}. {remedy}.") from None

    def gaps(self) -> dict[str, Refusal]:
        return {key: refusal for key, refusal in self.read().items() if refusal.is_gap}

    def record(self, judged: Mapping[str, str], failed: Mapping[str, Refusal]) -> None:
        """`failed` replaces what was recorded of the judged partitions, of whose files `judged` has the digests; the waiver of a
        file stays as long as the file, and a gap as long as no file lands.
        """
        if not failed and not os.path.lexists(self.path):
            return
        with self._alone():
            before = self.read()
            waivers = {key: one.waiver for key, one in before.items() if key in failed and one.file == failed[key].file}
            others = {key: one for key, one in before.items() if key not in judged or (one.is_gap and judged[key] == NOTHING)}
            self._write(others | {key: replace(refusal, waiver=waivers.get(key)) for key, refusal in failed.items()})

    def find(self, key: str, file: str, where: str) -> Refusal:
        """Of the `file` that is landed now. Raises NotRefused."""
        refusals = self.read()
        if key not in refusals:
            keys = ", ".join(refusals) or "none"
            raise NotRefused(f"{where} · {key} is not refused; refused: {keys}. Waive one of these, or deliver it again.")
        if not refusals[key].file:
            raise NotRefused(f"{where} · {key} has no file that can be used: {refusals[key].message}")
        if refusals[key].file != file:
            problem = "another file has landed since the check failed, and no run has judged it; a waiver is for one file"
            raise NotRefused(f"{where} · {key}: {problem}. Wait for its run, or correct the file if the run fails.")
        return refusals[key]

    def waived(self, digests: Mapping[str, str]) -> set[str]:
        """The partitions whose waiver is for the file with that digest."""
        return {key for key, one in self.read().items() if one.waiver and one.file and one.file == digests.get(key)}

    def waive(self, key: str, refusal: Refusal, waiver: Waiver) -> None:
        """Does nothing where the partition has been judged again meanwhile."""
        with self._alone():
            if (refusals := self.read()).get(key) == (None if refusal.is_gap else refusal):
                self._write(refusals | {key: replace(refusal, waiver=waiver)})

    def _write(self, refusals: Mapping[str, Refusal]) -> None:
        stored = {key: asdict(refusal) for key, refusal in refusals.items()}
        replace_file(self.path, json.dumps(stored, indent=1, ensure_ascii=False).encode())

    def _alone(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))
