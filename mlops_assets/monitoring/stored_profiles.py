"""Profiles of the served answers by day, stored once. A window's is merged by adding those of its whole days, and
only the rows of the parts of days at its ends are read.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from deltalake import CommitProperties, DeltaTable

from mlops_assets.foundation.calendars import DAY
from mlops_assets.foundation.delta_tables import APPENDED_OFTEN, alone, open_table, recorded
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.monitoring.window import Window
from mlops_assets.serving.log.predictions_table import DAYS
from mlops_assets.statistics.mergeable_profile import Bins, Profile

SOURCE = "mlops/profiled"  # of a commit: in which bins, up to which version of the rows
MAX_COMMITS = 20  # of the predictions without one here: they are removed after a day
SCHEMA = pl.Schema({DAY: pl.Date(), "vector": pl.List(pl.Float64())})


class StoredProfiles(NamedTuple):
    """In a Delta table of their own, `path`. `rows` is the table of predictions."""

    path: Path
    rows: Path

    def window(self, bins: Bins, window: Window) -> Profile:
        """The profile of the rows of a window, as if they were read."""
        days = whole_days(window)
        if not days:
            return self._of_rows(bins, window)
        self.refresh(bins, days)
        middle = Window(_midnight(days[0]), _midnight(days[-1] + ONE_DAY))
        rows, moment = pl.scan_delta(str(self.rows)), pl.col(EVENT_TIMESTAMP)
        ends = (moment.is_between(window.first, middle.first, closed="none"), moment.is_between(middle.last, window.last))
        return reduce(add, (bins.profile(rows.filter(end)) for end in ends), self._stored(bins, days))

    def refresh(self, bins: Bins, days: Collection[date]) -> list[date]:
        """Profiles those of the days that are not stored in these bins, or whose rows have changed since, and returns them: all
        after an erasure, of another version, or where the commits of the table of predictions do not tell.
        """
        rows = DeltaTable(str(self.rows))
        with alone(self.path):
            table = open_table(self.path)
            source = _Source(**json.loads((table and recorded(table, SOURCE)) or "{}"))
            changed = changed_days(rows, source.version) if source.bins == bins.digest else None
            stored = {date.fromisoformat(part[DAY]) for part in table.partitions()} if table else set[date]()
            stale = stored if changed is None else stored & changed
            missing = sorted({*days} - (stored - stale))
            replaced = stale.union(missing)
            if replaced or rows.version() - source.version > MAX_COMMITS:
                facts = {SOURCE: json.dumps(_Source(bins.digest, rows.version())._asdict())}
                self._write(self._profiles(bins, missing), None if changed is None else replaced, facts)
        return missing

    def _profiles(self, bins: Bins, days: Iterable[date]) -> Iterator[tuple[date, list[float]]]:
        for day in days:
            start = _midnight(day)
            rows = pl.scan_delta(str(self.rows)).filter(pl.col(EVENT_TIMESTAMP).is_between(start, start + ONE_DAY, closed="left"))
            yield day, bins.profile(rows).vector.tolist()

    def _write(self, profiles: Iterator[tuple[date, list[float]]], days: Collection[date] | None, facts: dict[str, str]) -> None:
        """In place of those of `days`, of which there may be none; where that is None, of all."""
        texts = ", ".join(f"DATE '{day}'" for day in sorted(days or ()))
        options = {"schema_mode": "overwrite"} if days is None else {"predicate": f"{DAY} IN ({texts})"} if days else {}
        options |= {"partition_by": DAY, "configuration": APPENDED_OFTEN, "commit_properties": CommitProperties({**facts})}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = pl.DataFrame([*profiles], schema=SCHEMA, orient="row")
        mode = "overwrite" if days is None or days else "append"
        rows.write_delta(str(self.path), mode=mode, delta_write_options=options)
        DeltaTable(str(self.path)).vacuum(dry_run=False)

    def _stored(self, bins: Bins, days: Collection[date]) -> Profile:
        vectors = pl.scan_delta(str(self.path)).filter(pl.col(DAY).is_in([*days])).collect()["vector"]
        return Profile(bins, np.sum([one.to_numpy() for one in vectors], axis=0))

    def _of_rows(self, bins: Bins, window: Window) -> Profile:
        return bins.profile(window.of(pl.scan_delta(str(self.rows))))


class _Source(NamedTuple):
    """The field names are keys of stored JSON: the digest of the bins, the `version` of the predictions."""

    bins: str = ""
    version: int = -1


def whole_days(window: Window) -> list[date]:
    """The days in UTC that are in a window from their first moment to their last."""
    first = (window.first.astimezone(UTC)).date() + ONE_DAY
    count = (window.last.astimezone(UTC).date() - first).days
    return [first + index * ONE_DAY for index in range(count)]


def changed_days(predictions: DeltaTable, since: int) -> set[date] | None:
    """The days of the rows that were added after a version; None where a commit does not tell, as that of an erasure."""
    commits = predictions.history(predictions.version() - since)
    if len(commits) < predictions.version() - since or any(DAYS not in commit for commit in commits):
        return None
    return {date.fromisoformat(day) for commit in commits for day in json.loads(commit[DAYS])}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
