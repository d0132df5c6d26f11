"""Predictions joined with their labels, in a table by day. A report joins the days whose predictions or labels have changed."""

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
from deltalake import CommitProperties, DeltaTable

from mlops_assets.features.featurize import known_labels
from mlops_assets.features.versions import as_known
from mlops_assets.foundation.calendars import DAY
from mlops_assets.foundation.delta_tables import APPENDED_OFTEN, alone, open_table
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT, PREDICTION_ID
from mlops_assets.monitoring.outcome_index import (
    LABELS,
    ROWS,
    SERVED,
    DayCounts,
    Days,
    MadeFrom,
    OutcomeIndex,
    hash_labels,
    hash_rows,
    hash_served,
    partition_files,
)
from mlops_assets.monitoring.stored_profiles import changed_days
from mlops_assets.serving.log.predictions_table import DAYS
from mlops_assets.spec.code_version import code_version
from mlops_assets.spec.use_case import UseCase


class Outcomes(NamedTuple):
    """The predictions with a `known` label, and by day how many have none yet, repeat an earlier one, and when more are known."""

    known: pl.DataFrame
    days: dict[date, DayCounts]


def join_outcomes(use_case: UseCase, predictions: pl.LazyFrame, truths: pl.LazyFrame, *, now: datetime) -> Outcomes:
    """The labels known by `now`. A key that was requested again for the same moment counts once, with its first answer."""
    label, day = use_case.label, pl.col(EVENT_TIMESTAMP).dt.date().alias(DAY)
    key, calendar = list(label.key), table_calendar(use_case, label.table)
    labels = known_labels(use_case, as_known(truths, use_case.contract(label.table).unique, calendar=calendar))
    served = predictions.with_columns(day).drop_nulls(DAY)
    joined, later = pl.collect_all([
        served.join(labels.filter(pl.col(KNOWN_AT) <= now), on=key, how="left"),
        served.join(labels.filter(pl.col(KNOWN_AT) > now), on=key, how="inner").group_by(DAY).agg(pl.col(KNOWN_AT).min()),
    ])  # fmt: skip
    # Of several labels of one key, the newest.
    known = joined.drop_nulls(label.name).sort("answered_at", PREDICTION_ID, KNOWN_AT, descending=[False, False, True])
    first = known.unique([*label.key, EVENT_TIMESTAMP], keep="first", maintain_order=True)
    return Outcomes(first, {one: counts for one, counts in _counted(joined, known, first, dict(later.iter_rows()))})


def _counted(
    joined: pl.DataFrame, known: pl.DataFrame, first: pl.DataFrame, later: dict[date, datetime]
) -> Iterator[tuple[date, DayCounts]]:
    every, labelled, counted = (dict(frame.group_by(DAY).len().iter_rows()) for frame in (joined, known, first))
    for day, rows in every.items():
        with_label, once = labelled.get(day, 0), counted.get(day, 0)
        yield day, DayCounts(once, rows - with_label, with_label - once, later.get(day))


class Source(NamedTuple):
    """A table, and its rows in the declared columns and types."""

    path: Path
    rows: pl.LazyFrame

    def of(self, column: pl.Expr, days: Days) -> pl.LazyFrame:
        """The rows of these days; others are hardly read."""
        if not days:
            return self.rows.head(0)
        return self.rows.filter(column.is_between(min(days), max(days)), column.is_in(sorted(days)))


class OutcomesTable(NamedTuple):
    """At `path`, with the index next to it. A report costs what has changed since the last one, however long the history, where
    the label is made row by row; else everything is joined again. The result is the same.
    """

    use_case: UseCase
    path: Path
    predictions: Source
    truths: Source

    def report(self, *, now: datetime) -> MadeFrom:
        """Writes the changed days in one commit, which names them; the index after it, so that a killed report is repeated."""
        with alone(self.path):
            index, files = OutcomeIndex.read(self.file), partition_files(self.truths.path)
            before, served = index.made_from, DeltaTable(str(self.predictions.path))
            new = self._new_days(before, served)
            source = MadeFrom(self._code(), str(served.metadata().id), served.version(), files or {}, before.days)
            if new == set() and files == before.partitions and not before.due(now):
                return before
            if new is None or files is None or not self._is_by_row:
                index = self._join_all(source, now, is_known=new is not None)
            else:
                index = self._join_changed(index, source, new, now)
            index.write(self.file)
        return index.made_from

    @property
    def file(self) -> Path:
        return self.path.with_suffix(".index.parquet")

    @property
    def _is_by_row(self) -> bool:
        return self.use_case.label.transform is None or self.use_case.label.by_row

    def _code(self) -> str:
        """By what the rows are joined and hashed."""
        label = self.use_case.label
        schemas = [str(source.rows.collect_schema()) for source in (self.predictions, self.truths)]
        return "\n".join([code_version(label, self.use_case.contract(label.table).unique), pl.__version__, *schemas])

    def _new_days(self, before: MadeFrom, served: DeltaTable) -> set[date] | None:
        """The days with new predictions; None where all are to be joined."""
        table, is_same = open_table(self.path), (before.code, before.table) == (self._code(), str(served.metadata().id))
        if not (table and table.metadata().partition_columns == [DAY] and is_same and before.version <= served.version()):
            return None
        return changed_days(served, before.version)

    def _join_all(self, source: MadeFrom, now: datetime, *, is_known: bool) -> OutcomeIndex:
        outcomes = join_outcomes(self.use_case, self.predictions.rows, self.truths.rows, now=now)
        self._write(outcomes.known, {*outcomes.days, *source.days} if is_known else None)
        index = OutcomeIndex(OutcomeIndex.empty().hashes, msgspec.structs.replace(source, days=outcomes.days))
        return self._indexed(index, None, {*source.partitions}) if self._is_by_row else index

    def _join_changed(self, index: OutcomeIndex, source: MadeFrom, new: Days, now: datetime) -> OutcomeIndex:
        before, after = index.made_from.partitions, source.partitions
        changed = {day for day in {*before, *after} if before.get(day) != after.get(day)}
        former, versions = index.hashes_of(LABELS, changed), index.versions_of(changed)
        index = self._indexed(index, new, changed)
        versions |= index.versions_of(changed)
        labels = pl.concat([former, index.hashes_of(LABELS, versions)])
        days = {*new, *index.days_of(SERVED, labels), *index.made_from.due(now)}
        partitions = index.versions_of(index.days_of(LABELS, index.hashes_of(SERVED, days)))
        served = self.predictions.of(pl.col(EVENT_TIMESTAMP).dt.date(), days)
        outcomes = join_outcomes(self.use_case, served, self.truths.of(pl.col(DAY), partitions), now=now)
        self._write(outcomes.known, days)
        kept = {day: counts for day, counts in index.made_from.days.items() if day not in days}
        return index._replace(made_from=msgspec.structs.replace(source, days=kept | outcomes.days))

    def _indexed(self, index: OutcomeIndex, new: Days | None, changed: Days) -> OutcomeIndex:
        """With the keys of the predictions of `new` days (None: of all), and those of the labels of `changed` partitions."""
        use_case, types = self.use_case, self.predictions.rows.collect_schema()
        served = self.predictions.rows if new is None else self.predictions.of(pl.col(EVENT_TIMESTAMP).dt.date(), new)
        truths = self.truths.of(pl.col(DAY), changed)
        index = index.replaced(SERVED, new, hash_served(use_case, served))
        index = index.replaced(LABELS, changed, hash_labels(use_case, truths, types, changed))
        return index.replaced(ROWS, changed, hash_rows(use_case.contract(use_case.label.table).unique, truths))

    def _write(self, rows: pl.DataFrame, days: Days | None) -> None:
        """In place of those of `days`, as far as they differ (None: of all)."""
        table = open_table(self.path)
        if days is None or table is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            options = {"schema_mode": "overwrite", "partition_by": DAY, "configuration": APPENDED_OFTEN}
            rows.write_delta(str(self.path), mode="overwrite", delta_write_options=options)
        elif changed := self._differing(table, rows, days):
            some = ", ".join(f"DATE '{day}'" for day in changed)
            facts = CommitProperties({DAYS: msgspec.json.encode(changed).decode()})
            new = rows.filter(pl.col(DAY).is_in(changed))
            options = {"predicate": f"{DAY} IN ({some})", "commit_properties": facts}
            new.write_delta(table, mode="overwrite", delta_write_options=options)

    @staticmethod
    def _differing(table: DeltaTable, rows: pl.DataFrame, days: Days) -> list[date]:
        stored = Source(Path(), pl.scan_delta(table)).of(pl.col(DAY), days).select(rows.columns).collect()
        rows = rows.cast(stored.schema)  # such as a number without a sign, which Delta Lake does not have
        order = ["answered_at", PREDICTION_ID, EVENT_TIMESTAMP]
        pairs = ((day, (frame.filter(pl.col(DAY) == day).sort(order) for frame in (rows, stored))) for day in sorted(days))
        return [day for day, (new, old) in pairs if not new.equals(old)]
