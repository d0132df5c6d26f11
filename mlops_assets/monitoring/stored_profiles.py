"""Profiles of the served inputs by day, stored once; those of any window are merged by adding, and never read from rows."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from deltalake import CommitProperties, DeltaTable

from mlops_assets.foundation.calendars import DAY
from mlops_assets.foundation.delta_tables import NO_STATISTICS, alone, open_table, recorded
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.serving.log.predictions_table import DAYS
from mlops_assets.statistics.mergeable_profile import Bins, Profile

SOURCE = "mlops/profiled"  # of a commit: whose bins were used, up to which version of the rows
SCHEMA = pl.Schema({
    DAY: pl.Date(),
    "vector": pl.List(pl.Float64()),
    "new": pl.List(pl.Struct({"column": pl.String(), "value": pl.String(), "rows": pl.Int64()})),
})  # fmt: skip


class StoredProfiles(NamedTuple):
    """In a Delta table of their own, in the bins of one model version, whose `number` it is."""

    path: Path
    number: int
    bins: Bins

    def refresh(self, rows: Path) -> list[date]:
        """Profiles the days whose rows in the table of predictions have changed, and returns them: all days after an erasure, of
        another version, or where the commits of that table do not tell.
        """
        table = DeltaTable(str(rows))
        with alone(self.path):
            stored = open_table(self.path)
            done = _Source(**json.loads((stored and recorded(stored, SOURCE)) or "{}"))
            changed = changed_days(table, done.version) if done.model == self.number else None
            if stored and changed is not None and not changed:
                return []
            profiles = pl.DataFrame([*self._profile(table, changed)], schema=SCHEMA, orient="row")
            source = _Source(self.number, table.version())
            self._write(profiles, changed, {SOURCE: json.dumps(source._asdict())})
        return profiles[DAY].to_list()

    def _profile(self, table: DeltaTable, changed: Collection[date] | None) -> Iterator[tuple[date, object, object]]:
        rows, day = pl.scan_delta(table), pl.col(EVENT_TIMESTAMP).dt.date()
        days = rows.select(day.drop_nulls().unique()).collect().to_series() if changed is None else changed
        for one in sorted(days):
            start = datetime.combine(one, time(), UTC)
            profile = self.bins.profile(rows.filter(pl.col(EVENT_TIMESTAMP).is_between(start, start + ONE_DAY, closed="left")))
            counts = ((name, value, count) for name, own in profile.new.items() for value, count in own.items())
            yield one, profile.vector.tolist(), [dict(zip(("column", "value", "rows"), each, strict=True)) for each in counts]

    def _write(self, profiles: pl.DataFrame, changed: Collection[date] | None, facts: dict[str, str]) -> None:
        """In place of those of the same days; where `changed` is None, of all."""
        days = ", ".join(f"DATE '{day}'" for day in sorted(changed or ()))
        options = {"predicate": f"{DAY} IN ({days})"} if changed else {"schema_mode": "overwrite"}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        options |= {"partition_by": DAY, "configuration": NO_STATISTICS, "commit_properties": CommitProperties({**facts})}
        profiles.write_delta(str(self.path), mode="overwrite", delta_write_options=options)

    def window(self, first: date, last: date) -> Profile:
        """Of the days from `first` to `last`, both included."""
        table, total = open_table(self.path), Profile(self.bins)
        rows = pl.scan_delta(table) if table else pl.LazyFrame(schema=SCHEMA)
        stored = rows.filter(pl.col(DAY).is_between(first, last)).collect()
        if stored.is_empty():
            return total
        vector = np.sum([one.to_numpy() for one in stored["vector"]], axis=0)
        new = {name: Counter[str]() for name in self.bins.values}
        for one in stored.explode("new").drop_nulls("new")["new"].to_list():
            new[one["column"]][one["value"]] += one["rows"]
        return Profile(self.bins, vector, new)


class _Source(NamedTuple):
    """The field names are keys of stored JSON; `version` of the predictions."""

    model: int = -1
    version: int = -1


def changed_days(predictions: DeltaTable, since: int) -> set[date] | None:
    """The days of the rows that were added after a version; None where a commit does not tell, as that of an erasure."""
    commits = predictions.history(predictions.version() - since)
    if len(commits) < predictions.version() - since or any(DAYS not in commit for commit in commits):
        return None
    return {date.fromisoformat(day) for commit in commits for day in json.loads(commit[DAYS])}
