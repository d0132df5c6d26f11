"""Builds feature tables from validated tables, and the labelled, split rows of a training set."""

from datetime import datetime
from itertools import pairwise
from typing import Protocol

import polars as pl
import polars.selectors as cs

from mlops_assets.features.request_features import entity_rows
from mlops_assets.features.versions import as_known, find_corrections
from mlops_assets.foundation.calendars import ONE_MICROSECOND, Calendar, Partition
from mlops_assets.foundation.conversions import UTC as MOMENT
from mlops_assets.foundation.conversions import by_value
from mlops_assets.foundation.grains import calendars_of, table_calendar, view_calendar
from mlops_assets.foundation.mistakes import OfEveryPartition
from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.foundation.wording import some
from mlops_assets.spec.feature import FeatureView, Label, Tables
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.splits import split_of
from mlops_assets.training.splits.split import MissingRows

# Of the median day. A blizzard leaves 0.16 (flights of 9 February 2013), a row with a wrong date about 0.001.
STRAY_SHARE = 0.01


class History(Protocol):
    """The feature store, or tables in memory."""

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """The rows and every feature as it was known at their event_timestamp, in the same order."""
        ...


class IllegalFeatures(OfEveryPartition):
    """A transform returned what its view does not declare, or there are no rows to train on."""


def fill_partitions(use_case: UseCase, view: FeatureView, tables: Tables, *, first: Partition, last: Partition) -> pl.DataFrame:
    """The rows of a view that became known in these partitions, each computed from its tables as they were known in it."""
    own, calendars = view_calendar(use_case, view), calendars_of(use_case)
    unique, begin = {table: use_case.contract(table).unique for table in view.tables}, {own.start(first)}
    for table in view.tables:
        corrections = find_corrections(tables[table], unique[table], calendars[table])
        corrected = {own.of(calendars[table].start(partition)) for partition in corrections}
        begin |= {own.start(partition) for partition in corrected if first < partition <= last}
    parts: list[pl.LazyFrame] = []
    # Partitions in a row without a correction are computed at once.
    for start, end in pairwise([*sorted(begin), own.end(last)]):
        known = {
            table: as_known(tables[table], unique[table], calendars[table].of(end - ONE_MICROSECOND), calendars[table])
            for table in view.tables
        }
        parts.append(fill_view(view, known, start, end))
    return pl.concat(parts).sort(*view.entity, EVENT_TIMESTAMP).collect()


def fill_view(view: FeatureView, tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    """The rows of a view that became known in [start, end), with their `day` in UTC.

    Raises IllegalFeatures when the transform's columns lack the entity or the timestamp.
    """
    rows: pl.LazyFrame = view.transform(tables, start, end)
    columns = rows.collect_schema().names()
    if missing := [name for name in (*view.entity, EVENT_TIMESTAMP) if name not in columns]:
        raise IllegalFeatures(f"view {view.name} · its transform returned {columns}, without {missing}. Add these columns.")
    return rows.with_columns(day=pl.col(EVENT_TIMESTAMP).dt.date()).sort(*view.entity, EVENT_TIMESTAMP)


def known_labels(use_case: UseCase, truths: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of the label that have a value and a moment; for training and outcomes alike."""
    label = use_case.label
    rows = label_columns(label, truths, table_calendar(use_case, label.table))
    value = cs.by_name(label.name) & cs.float()
    return rows.with_columns(value.fill_nan(None)).drop_nulls([label.name, KNOWN_AT])


def label_columns(label: Label, truths: pl.LazyFrame, calendar: Calendar) -> pl.LazyFrame:
    """What the label's transform returns, or the columns that it names."""
    if label.transform:
        return label.transform(truths)
    # A landed row is known by the end of its partition: no later moment of that can precede it.
    known_at = pl.col(label.known_at) if label.known_at else by_value(pl.col(calendar.column), calendar.known_at, MOMENT)
    return truths.select(*label.key, label.name, known_at.alias(KNOWN_AT))


def label_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, until: datetime | None = None) -> pl.LazyFrame:
    """One row per request with a label known before `until` (None: at all): entity columns, prediction moment, request features,
    label, `known_at`.
    """
    label, calendar = use_case.label, table_calendar(use_case, use_case.label.table)
    partition = until and calendar.of(until - ONE_MICROSECOND)
    known = as_known(truths, use_case.contract(label.table).unique, partition, calendar)
    rows = request_rows(use_case, requests).join(known_labels(use_case, known), on=list(label.key), how="inner")
    return rows.sort(EVENT_TIMESTAMP, *label.key)


def request_rows(use_case: UseCase, requests: pl.LazyFrame) -> pl.LazyFrame:
    """Every request with its entity columns, features, prediction moment and the columns of the split; of a corrected one the
    version known then. Without a prediction moment it holds for the start of its partition.
    """
    features, unique = use_case.features, use_case.contract(use_case.features.request_table).unique
    is_repeated = pl.struct(unique).is_duplicated()
    rows = _requests(use_case, requests.filter(~is_repeated))
    repeated = requests.filter(is_repeated).collect()
    if repeated.is_empty():
        return rows
    calendar = table_calendar(use_case, features.request_table)
    column = calendar.column
    versions = [
        _requests(use_case, version.lazy()).with_columns(pl.lit(version[column][0]).alias(column))
        for version in repeated.partition_by(column)
    ]
    key = dict.fromkeys((*use_case.label.key, *(name for name in unique if name in features.request)))
    known = as_known(pl.concat(versions), [*key], calendar.of_column(pl.col(EVENT_TIMESTAMP)), calendar)
    return pl.concat([rows, known.drop(column)])


def _requests(use_case: UseCase, requests: pl.LazyFrame) -> pl.LazyFrame:
    features, landed = use_case.features, requests.collect_schema().names()
    drawn_by = [name for name in use_case.split.columns if name in landed and name not in features.request]
    calendar = table_calendar(use_case, features.request_table)
    moment = by_value(pl.col(calendar.column), calendar.moment, MOMENT).alias(EVENT_TIMESTAMP)
    dated = [] if features.has_moment else [moment]
    return entity_rows(features, requests.select(*features.request, *drawn_by, *dated))


def training_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, *, now: datetime) -> pl.DataFrame:
    """The labelled rows of every part, without features; labels that are dated after `now` are not known yet. Raises
    IllegalFeatures when a part has none.
    """
    end = end_of_known(use_case, truths, now=now)

    def read(until: datetime | None) -> pl.LazyFrame:
        return label_rows(use_case, requests, truths, until).filter(pl.col(KNOWN_AT) <= now)

    if read(None).head(1).collect().is_empty():
        key = ", ".join(use_case.label.key)
        raise IllegalFeatures(f"training_set · no request has a label with the same {key}. Land more days, or correct label.key.")
    try:
        return split_of(use_case).divide(read, end=end)
    except MissingRows as error:
        raise IllegalFeatures(str(error)) from None


def add_features(use_case: UseCase, rows: pl.DataFrame, store: History, *, now: datetime) -> pl.DataFrame:
    """The rows with the features of every view as known at their moment; of undated requests, as known `now`, as in a request."""
    if use_case.is_dated:
        return store.historical(rows)
    arrived = rows.with_columns(pl.lit(now).cast(rows.schema[EVENT_TIMESTAMP]).alias(EVENT_TIMESTAMP))
    return store.historical(arrived).with_columns(rows[EVENT_TIMESTAMP])


def end_of_known(use_case: UseCase, truths: pl.LazyFrame, *, now: datetime) -> datetime:
    """The end of the last partition by `now` with landed outcomes; one with under STRAY_SHARE of the usual rows does not decide.
    Of a snapshot, the newest moment at which a label became known. Raises IllegalFeatures without any outcome.
    """
    calendar, usual = table_calendar(use_case, use_case.label.table), pl.col("rows") >= STRAY_SHARE * pl.col("rows").median()
    column = pl.col(calendar.column)
    counts = truths.filter(column <= calendar.of(now)).group_by(column).agg(rows=pl.len())
    last = counts.filter(usual).select(column.max()).collect().item()
    if last is not None and not calendar.cron:
        moments = known_labels(use_case, truths).select(KNOWN_AT).filter(pl.col(KNOWN_AT) <= now)
        last = moments.max().collect().item()
        return last + ONE_MICROSECOND if last else now
    if last is None:
        raise IllegalFeatures("training_set · no validated outcome has landed yet. Land some days: `mlops land`.")
    return calendar.end(last)


def describe_constant_inputs(use_case: UseCase, rows: pl.DataFrame) -> str:
    """Which inputs of the model tell no row from another; empty where all do."""
    constant = [name for name in use_case.features.inputs if rows[name].n_unique() < 2]
    return f"{some(constant)}: the same value, or none, in every row. A model learns nothing from it." if constant else ""
