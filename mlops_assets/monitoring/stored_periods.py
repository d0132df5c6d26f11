"""Realised metrics by day and month. Only periods with a changed outcome are computed again."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import polars as pl
from deltalake import DeltaTable

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.foundation.calendars import DAY
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.stored_frame import read_frame, write_frame
from mlops_assets.monitoring.stored_profiles import changed_days
from mlops_assets.spec.code_version import text_of
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.rollout import BusinessFigure
from mlops_assets.tasks.task import Task

ALL_VERSIONS = "all"
DAY_ROWS = 50  # a day with fewer predictions is too noisy for the plot
Every = Literal["1d", "1mo"]


class Periods(NamedTuple):
    """The realised metrics by day and by month, as of `realised`."""

    by_day: pl.DataFrame
    by_month: pl.DataFrame

    @property
    def rows(self) -> int:
        return int(self.by_day.filter(model_version=ALL_VERSIONS)["rows"].sum())


class _MadeFrom(msgspec.Struct, frozen=True):
    """By what the metrics were computed, and from which version of which table. The field names are keys of stored JSON."""

    code: str = ""
    table: str = ""
    version: int = -1


class StoredPeriods(NamedTuple):
    """In a file, for one monitor."""

    file: Path
    spec: Performance
    task: Task[Any]
    label: str

    def refresh(self, outcomes: Path) -> Periods:
        """`outcomes` is their table, by day."""
        table, stored = DeltaTable(str(outcomes)), read_frame(self.file)
        before = msgspec.json.decode(stored[1], type=_MadeFrom) if stored else _MadeFrom()
        code = "\n".join([*map(text_of, (self.spec, self.task.declared)), str(pl.scan_delta(table).collect_schema())])
        source = _MadeFrom(code, str(table.metadata().id), table.version())
        is_same = (before.code, before.table) == (source.code, source.table) and before.version <= source.version
        changed = changed_days(table, before.version) if is_same else None
        if stored and changed == set():
            return _split(stored[0])
        rows = pl.concat([*self._measure(table, "1d", changed), *self._measure(table, "1mo", changed)])
        if stored and changed is not None:
            again = pl.concat([_periods_of(every, changed) for every in ("1d", "1mo")])
            rows = pl.concat([stored[0].join(again, on=["every", "period"], how="anti"), rows])
        rows = rows.sort("every", "period", pl.col("model_version") == ALL_VERSIONS, "model_version")
        write_frame(self.file, rows, msgspec.json.encode(source).decode())
        return _split(rows)

    def _measure(self, table: DeltaTable, every: Every, changed: Collection[date] | None) -> Iterator[pl.DataFrame]:
        """Of one period after the other, so that no more is in memory at once."""
        every_day = pl.DataFrame(table.partitions(), schema={DAY: pl.String()})[DAY].str.to_date()
        periods = _periods_of(every, every_day if changed is None else changed)
        outcomes, min_rows = pl.scan_delta(table), self.spec.min_rows if every == "1mo" else DAY_ROWS
        parts = (
            outcomes.filter(pl.col(DAY).is_between(start, end, closed="left"))
            for start, end in periods.select("period", end=pl.col("period").dt.offset_by(every)).iter_rows()
        )
        for part in (outcomes.head(0), *parts):
            measured = realised(
                self.task, part.collect(), every=every, label=self.label, min_rows=min_rows, figures=self.spec.figures
            )
            yield measured.insert_column(0, pl.lit(every).alias("every"))


def _periods_of(every: Every, days: Iterable[date]) -> pl.DataFrame:
    periods = pl.Series("period", [*days], dtype=pl.Date).dt.truncate(every).unique().sort()
    return pl.DataFrame([pl.Series("every", [every] * len(periods), dtype=pl.String), periods])


def _split(rows: pl.DataFrame) -> Periods:
    return Periods(*(rows.filter(every=every).drop("every") for every in ("1d", "1mo")))


def realised(
    task: Task[Any], outcomes: pl.DataFrame, *, every: Every, label: str, min_rows: int, figures: Sequence[BusinessFigure] = ()
) -> pl.DataFrame:
    """One row per period (its first day by event_timestamp, UTC; `every` is 1d or 1mo) and model version, and one for all
    versions: `rows`, the means of the task and of the `figures`, and the metrics of the task, which are null under `min_rows`
    rows and where undefined. Rows without label or prediction are left out.
    """
    period = pl.col(EVENT_TIMESTAMP).dt.truncate(every).dt.date()
    known = known_rows(task, outcomes, label).with_columns(pl.col("model_version").cast(pl.String), period=period)
    known = known.with_columns(figure_of(figure, known) for figure in figures)
    groups = pl.concat([known, known.with_columns(model_version=pl.lit(ALL_VERSIONS))]).group_by("period", "model_version")
    rows: list[dict[str, Any]] = []
    for (day, version), group in groups:
        truth, output = task.truth(group[label]), task.logged(group)
        enough = len(group) >= min_rows
        metrics = plain(task.sample(truth, output).measure(task.metrics)) if enough else dict.fromkeys(task.metrics)
        means = task.means(truth, output) | {figure.name: group[figure.name].mean() for figure in figures}
        rows.append({"period": day, "model_version": version, "rows": len(group), **means, **metrics})
    numbers = [*task.MEANS, *(figure.name for figure in figures), *task.metrics]
    schema = {"period": pl.Date(), "model_version": pl.String(), "rows": pl.Int64(), **dict.fromkeys(numbers, pl.Float64())}
    return pl.DataFrame(rows, schema=schema).sort("period", pl.col("model_version") == ALL_VERSIONS, "model_version")


def figure_of(figure: BusinessFigure, outcomes: pl.DataFrame) -> pl.Expr:
    """Of every row."""
    return figure.of(outcomes).cast(pl.Float64).clip(figure.low, figure.high).alias(figure.name)


def known_rows(task: Task[Any], outcomes: pl.DataFrame, label: str) -> pl.DataFrame:
    return outcomes.drop_nulls([label, *task.SCORES])
