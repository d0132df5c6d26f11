"""Builds feature tables from validated tables, and the labelled, split rows of a training set."""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs

from mlops_assets.features.request_features import entity_rows
from mlops_assets.features.versions import as_known, days_of_corrections
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.foundation.wording import some
from mlops_assets.spec.feature import FeatureView, Label, Tables
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.splits import split_of
from mlops_assets.training.splits.split import MissingRows

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore

ONE_MICROSECOND = timedelta(microseconds=1)
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
    """The rows of the label that have a value and a moment; for training and outcomes alike."""
    rows = label_columns(label, truths)
    value = cs.by_name(label.name) & cs.float()
    return rows.with_columns(value.fill_nan(None)).drop_nulls([label.name, KNOWN_AT])


def label_columns(label: Label, truths: pl.LazyFrame) -> pl.LazyFrame:
    """What the label's transform returns, or the columns that it names."""
    if label.transform:
        return label.transform(truths)
    # A landed row is known by the end of its day: no later moment of that day can precede it.
    known_at = pl.col(label.known_at) if label.known_at else moment_of(pl.col("day")) + ONE_DAY - ONE_MICROSECOND
    return truths.select(*label.key, label.name, known_at.alias(KNOWN_AT))


def moment_of(day: pl.Expr) -> pl.Expr:
    """The start of the day."""
    return day.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def label_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, until: date | None = None) -> pl.LazyFrame:
    """One row per request with a label known `until` that day: entity columns, prediction moment, request features, label,
    `known_at`.
    """
    label, known = use_case.label, as_known(truths, use_case.contract(use_case.label.table).unique, until)
    rows = request_rows(use_case, requests).join(known_labels(label, known), on=list(label.key), how="inner")
    return rows.sort(EVENT_TIMESTAMP, *label.key)


def request_rows(use_case: UseCase, requests: pl.LazyFrame) -> pl.LazyFrame:
    """Every request with its entity columns, features, prediction moment and the columns of the split; of a corrected one the
    version known then. Without a prediction moment it holds for the start of its day.
    """
    features, unique = use_case.features, use_case.contract(use_case.features.request_table).unique
    is_repeated = pl.struct(unique).is_duplicated()
    rows = _requests(use_case, requests.filter(~is_repeated))
    repeated = requests.filter(is_repeated).collect()
    if repeated.is_empty():
        return rows
    versions = [
        _requests(use_case, version.lazy()).with_columns(day=pl.lit(version["day"][0]))
        for version in repeated.partition_by("day")
    ]
    key = dict.fromkeys((*use_case.label.key, *(name for name in unique if name in features.request)))
    known = as_known(pl.concat(versions), [*key], pl.col(EVENT_TIMESTAMP).dt.date())
    return pl.concat([rows, known.drop("day")])


def _requests(use_case: UseCase, requests: pl.LazyFrame) -> pl.LazyFrame:
    features, landed = use_case.features, requests.collect_schema().names()
    drawn_by = [name for name in use_case.split.columns if name in landed and name not in features.request]
    dated = [] if features.has_moment else [moment_of(pl.col("day")).alias(EVENT_TIMESTAMP)]
    return entity_rows(features, requests.select(*features.request, *drawn_by, *dated))


def training_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, *, now: datetime) -> pl.DataFrame:
    """The labelled rows of every part, without features; labels that are dated after `now` are not known yet. Raises
    IllegalFeatures when a part has none.
    """
    end = end_of_outcomes(truths, now=now)

    def read(until: date | None) -> pl.LazyFrame:
        return label_rows(use_case, requests, truths, until).filter(pl.col(KNOWN_AT) <= now)

    if read(None).head(1).collect().is_empty():
        key = ", ".join(use_case.label.key)
        raise IllegalFeatures(f"training_set · no request has a label with the same {key}. Land more days, or correct label.key.")
    try:
        return split_of(use_case).divide(read, end=end)
    except MissingRows as error:
        raise IllegalFeatures(str(error)) from None


def add_features(use_case: UseCase, rows: pl.DataFrame, store: "FeatureStore", *, now: datetime) -> pl.DataFrame:
    """The rows with the features of every view as known at their moment; of undated requests, as known `now`, as in a request."""
    if use_case.is_dated:
        return store.historical(rows)
    arrived = rows.with_columns(pl.lit(now).cast(rows.schema[EVENT_TIMESTAMP]).alias(EVENT_TIMESTAMP))
    return store.historical(arrived).with_columns(rows[EVENT_TIMESTAMP])


def end_of_outcomes(truths: pl.LazyFrame, *, now: datetime) -> datetime:
    """Of the last day until `now`. Raises IllegalFeatures when none has landed."""
    return midnight(last_known_day(truths.filter(pl.col("day") <= now.date())) + ONE_DAY)


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
