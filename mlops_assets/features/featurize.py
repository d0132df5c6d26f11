"""Builds feature tables from validated tables, and the labelled, split rows of a training set."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, cast

import polars as pl
import polars.selectors as cs

from mlops_assets.features.request_features import entity_rows
from mlops_assets.features.versions import as_known, days_of_corrections
from mlops_assets.foundation.durations import ONE_DAY, in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.foundation.wording import some
from mlops_assets.spec.feature import FeatureView, Label, Tables, TimeSplit
from mlops_assets.spec.use_case import UseCase

# Of the median day. A blizzard leaves 0.16 (flights of 9 February 2013), a row with a wrong date about 0.001.
STRAY_SHARE = 0.01


class IllegalFeatures(ValueError):
    """A transform returned what its view does not declare, or there are no rows to train on."""


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def fill_days(use_case: UseCase, view: FeatureView, tables: Tables, *, first: date, last: date) -> pl.DataFrame:
    """The rows of a view that became known on these days, each computed from its tables as they were known on that day."""
    unique = {table: use_case.contract(table).unique for table in view.tables}
    corrected = set[date]().union(*(days_of_corrections(tables[table], unique[table]) for table in view.tables))
    # Days in a row without a correction are computed at once.
    starts = [first, *sorted(day for day in corrected if first < day <= last)]
    ends = [*(start - ONE_DAY for start in starts[1:]), last]
    parts: list[pl.LazyFrame] = []
    for start, end in zip(starts, ends, strict=True):
        known = {table: as_known(tables[table], unique[table], end) for table in view.tables}
        parts.append(fill_view(view, known, first=start, last=end))
    return pl.concat(parts).sort(*view.entity, EVENT_TIMESTAMP).collect()


def fill_view(view: FeatureView, tables: Tables, *, first: date, last: date) -> pl.LazyFrame:
    """The rows of a view that became known from `first` to `last` (days, inclusive), with their `day`.

    Raises IllegalFeatures when the transform's columns lack the entity or the timestamp.
    """
    rows: pl.LazyFrame = view.transform(tables, midnight(first), midnight(last + ONE_DAY))
    columns = rows.collect_schema().names()
    if missing := [name for name in (*view.entity, EVENT_TIMESTAMP) if name not in columns]:
        raise IllegalFeatures(f"view {view.name} · its transform returned {columns}, without {missing}. Add these columns.")
    return rows.with_columns(day=pl.col(EVENT_TIMESTAMP).dt.date()).sort(*view.entity, EVENT_TIMESTAMP)


def known_labels(label: Label, truths: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of the label's transform that have a value and a moment; for training and outcomes alike."""
    rows: pl.LazyFrame = label.transform(truths)
    value = cs.by_name(label.name) & cs.float()
    return rows.with_columns(value.fill_nan(None)).drop_nulls([label.name, KNOWN_AT])


def label_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, until: date | None = None) -> pl.LazyFrame:
    """One row per request with a label known `until` that day: entity columns, prediction moment, request features, label,
    `known_at`.
    """
    label, known = use_case.label, as_known(truths, use_case.contract(use_case.label.table).unique, until)
    rows = request_rows(use_case, requests).join(known_labels(label, known), on=list(label.key), how="inner")
    return rows.sort(EVENT_TIMESTAMP, *label.key)


def request_rows(use_case: UseCase, requests: pl.LazyFrame) -> pl.LazyFrame:
    """Every request with its entity columns, features and prediction moment; of a corrected one the version known then."""
    features, unique = use_case.features, use_case.contract(use_case.features.request_table).unique
    is_repeated = pl.struct(unique).is_duplicated()
    rows = entity_rows(features, requests.filter(~is_repeated).select(features.request))
    repeated = requests.filter(is_repeated).collect()
    if repeated.is_empty():
        return rows
    versions = [
        entity_rows(features, version.lazy().select(features.request)).with_columns(day=pl.lit(version["day"][0]))
        for version in repeated.partition_by("day")
    ]
    key = dict.fromkeys((*use_case.label.key, *(name for name in unique if name in features.request)))
    known = as_known(pl.concat(versions), [*key], pl.col(EVENT_TIMESTAMP).dt.date())
    return pl.concat([rows, known.drop("day")])


def training_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, *, now: datetime) -> pl.DataFrame:
    """The labelled rows of every part, without features; labels that are dated after `now` are not known yet. Raises
    IllegalFeatures when a part has none.
    """
    end = midnight(last_known_day(truths.filter(pl.col("day") <= now.date())) + ONE_DAY)
    rows = label_rows(use_case, requests, truths).filter(pl.col(KNOWN_AT) <= now).collect()
    if rows.is_empty():
        key = ", ".join(use_case.label.key)
        raise IllegalFeatures(f"training_set · no request has a label with the same {key}. Land more days, or correct label.key.")
    parts = part_windows(use_case.split, end)
    # A label that was corrected later is the one that was known when its part was used.
    known = [label_rows(use_case, requests, truths, part.last_day()).filter(part.moments()) for part in parts.values()]
    dated = pl.concat(known).filter(pl.col(KNOWN_AT) <= now).sort(EVENT_TIMESTAMP, *use_case.label.key)
    labelled = split_by_time(dated.collect(), use_case.split, end=end)
    if empty := parts.keys() - set(labelled["split"]):
        raise IllegalFeatures(_describe_empty_parts(rows, use_case.split, {name: parts[name] for name in parts if name in empty}))
    return labelled


class Window(NamedTuple):
    """The requests of one part are from `start` (None: the first), before `stop`, with labels `known_before` (None: at all)."""

    start: datetime | None
    stop: datetime
    known_before: datetime | None

    def moments(self) -> pl.Expr:
        moment = pl.col(EVENT_TIMESTAMP)
        return moment < self.stop if self.start is None else moment.is_between(self.start, self.stop, closed="left")

    def last_day(self) -> date | None:
        """The last day before `known_before`."""
        return None if self.known_before is None else (self.known_before - timedelta(microseconds=1)).date()

    def rows(self) -> pl.Expr:
        return self.moments() & (True if self.known_before is None else pl.col(KNOWN_AT) < self.known_before)


def part_windows(split: TimeSplit, end: datetime) -> dict[str, Window]:
    """The parts, the last first."""
    # A label that became known only when the next part had begun could not have been learned from: its row is dropped.
    test_stop = end - split.label_delay
    test_start = test_stop - split.test
    validation_stop = test_start - split.label_delay
    validation_start = validation_stop - split.validation
    train_stop = validation_start - split.label_delay
    train_start = None if split.max_train is None else train_stop - split.max_train
    return {
        "test": Window(test_start, test_stop, None),
        "validation": Window(validation_start, validation_stop, test_start),
        "train": Window(train_start, train_stop, validation_start),
    }


def split_by_time(rows: pl.DataFrame, split: TimeSplit, *, end: datetime) -> pl.DataFrame:
    """Adds `split`, the name of the part; rows of no part are dropped."""
    parts = [pl.when(window.rows()).then(pl.lit(name)) for name, window in part_windows(split, end).items()]
    return rows.with_columns(split=pl.coalesce(parts)).filter(pl.col("split").is_not_null())


def _describe_empty_parts(rows: pl.DataFrame, split: TimeSplit, windows: Mapping[str, Window]) -> str:
    """`rows` are all labelled requests."""
    delay, moment = rows[KNOWN_AT] - rows[EVENT_TIMESTAMP], rows[EVENT_TIMESTAMP]
    median, longest = (in_words(cast(timedelta, value)) for value in (delay.median(), delay.max()))
    parts = "; ".join(_describe_empty(rows, name, window) for name, window in windows.items())
    return (
        f"training_set · {parts}. The {len(rows):,} labelled requests are from {moment.min()} to {moment.max()}; their labels "
        f"became known {median} later at the median, {longest} at most; split.label_delay is {in_words(split.label_delay)}. "
        "Set split.label_delay to the time that labels take, shorten the parts, or land more days."
    )


def _describe_empty(rows: pl.DataFrame, name: str, window: Window) -> str:
    since, late = f"from {window.start} " if window.start else "", len(rows.filter(window.moments()))
    needed = f"{name} has no row: it takes requests {since}to {window.stop}"
    if window.known_before is None:
        return needed
    return f"{needed} with labels known before {window.known_before}, but {late:,} labels there became known later"


def last_known_day(truths: pl.LazyFrame) -> date:
    """The last day of which outcomes have landed; a day with under STRAY_SHARE of the usual rows does not decide. Raises
    IllegalFeatures when none has.
    """
    usual = pl.col("rows") >= STRAY_SHARE * pl.col("rows").median()
    last = truths.group_by("day").agg(rows=pl.len()).filter(usual).select(pl.col("day").max()).collect().item()
    if last is None:
        raise IllegalFeatures("training_set · no validated outcome has landed yet. Land some days: `mlops land`.")
    return last


def describe_constant_inputs(use_case: UseCase, rows: pl.DataFrame) -> str:
    """Which inputs of the model tell no row from another; empty where all do."""
    constant = [name for name in use_case.features.inputs if rows[name].n_unique() < 2]
    return f"{some(constant)}: the same value, or none, in every row. A model learns nothing from it." if constant else ""
