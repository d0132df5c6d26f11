"""The days of one table that failed a check and are not used, with the reasons and the waivers: one JSON file."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock

from mlops_assets.foundation.atomic_file import replace_file


class NotRefused(LookupError):
    """No check refuses the day's landed file, so there is nothing to waive."""


@dataclass(frozen=True)
class Waiver:
    why: str
    by: str
    at: str


@dataclass(frozen=True)
class Refusal:
    """`file` is the digest of the landed file that failed (empty: no file with rows to use), `failed` the message of each check
    that it failed. A waiver holds for this file alone: the next delivery of the day is judged again.
    """

    file: str
    failed: Mapping[str, str]
    waiver: Waiver | None = None

    @property
    def message(self) -> str:
        failures = " ".join(self.failed.values())
        if waiver := self.waiver:
            return f"Used, as waived by {waiver.by} ({waiver.why}): {failures}"
        return f"Not used, and what was accepted before stays: {failures}"


@dataclass(frozen=True)
class RefusedDays:
    path: Path

    def read(self) -> dict[date, Refusal]:
        """In the order of the days."""
        stored: dict[str, Any] = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        return {
            date.fromisoformat(day): Refusal(one["file"], one["failed"], Waiver(**one["waiver"]) if one["waiver"] else None)
            for day, one in sorted(stored.items())
        }

    def record(self, judged: Collection[date], failed: Mapping[date, Refusal]) -> None:
        """`failed` replaces what was recorded of the judged days; the waiver of a file stays as long as the file."""
        if not failed and not self.path.exists():
            return
        with self._alone():
            before = self.read()
            waivers = {day: one.waiver for day, one in before.items() if day in failed and one.file == failed[day].file}
            others = {day: refusal for day, refusal in before.items() if day not in judged}
            self._write(others | {day: replace(refusal, waiver=waivers.get(day)) for day, refusal in failed.items()})

    def find(self, day: date, file: str, where: str) -> Refusal:
        """Of the `file` that is landed now. Raises NotRefused."""
        refusals = self.read()
        if day not in refusals:
            days = ", ".join(map(str, refusals)) or "none"
            raise NotRefused(f"{where} · {day} is not refused; refused: {days}. Waive one of these, or deliver the day again.")
        if not refusals[day].file:
            raise NotRefused(f"{where} · {day} has no file that can be used: {refusals[day].message}")
        if refusals[day].file != file:
            problem = "another file has landed since the check failed, and no run has judged it; a waiver is for one file"
            raise NotRefused(f"{where} · {day}: {problem}. Wait for its run, or correct the file if the run fails.")
        return refusals[day]

    def waived(self, digests: Mapping[date, str]) -> set[date]:
        """The days whose waiver is for the file with that digest."""
        return {day for day, one in self.read().items() if one.waiver and one.file and one.file == digests.get(day)}

    def waive(self, day: date, refusal: Refusal, waiver: Waiver) -> None:
        """Does nothing where the day has been judged again meanwhile."""
        with self._alone():
            if (refusals := self.read()).get(day) == refusal:
                self._write(refusals | {day: replace(refusal, waiver=waiver)})

    def _write(self, refusals: Mapping[date, Refusal]) -> None:
        stored = {day.isoformat(): asdict(refusal) for day, refusal in refusals.items()}
        replace_file(self.path, json.dumps(stored, indent=1, ensure_ascii=False).encode())

    def _alone(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))
