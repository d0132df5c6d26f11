"""Builds feature tables from validated tables, and the labelled, split rows of a training set."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.spec.feature import FeatureView, Tables, TimeSplit
from mlops_assets.spec.use_case import UseCase


class IllegalFeatures(ValueError):
    """A transform returned what its view does not declare, or there are no rows to train on."""


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def fill_view(view: FeatureView, tables: Tables, *, first: date, last: date) -> pl.LazyFrame:
    """The rows of a view that became known from `first` to `last` (days, inclusive), with their `day`.

    Raises IllegalFeatures when the transform's columns lack the entity or the timestamp.
    """
    rows: pl.LazyFrame = view.transform(tables, midnight(first), midnight(last + timedelta(days=1)))
    columns = rows.collect_schema().names()
    if missing := [name for name in (*view.entity, EVENT_TIMESTAMP) if name not in columns]:
        raise IllegalFeatures(f"view {view.name} · its transform returned {columns}, without {missing}. Add these columns.")
    return rows.with_columns(day=pl.col(EVENT_TIMESTAMP).dt.date()).sort(*view.entity, EVENT_TIMESTAMP)


def label_rows(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame) -> pl.LazyFrame:
    """One row per request with a known label: entity columns, prediction moment, request features, label, `known_at`."""
    rows: pl.LazyFrame = use_case.features.entity_rows(requests.select(use_case.features.request))
    labels: pl.LazyFrame = use_case.label.transform(truths)
    return rows.join(labels, on=list(use_case.label.key), how="inner").sort(EVENT_TIMESTAMP, *use_case.label.key)


def split_by_time(rows: pl.DataFrame, split: TimeSplit, *, end: datetime) -> pl.DataFrame:
    """Adds `split`: test is the last `split.test` before `end`, validation the time before it, train the rest."""
    test_start = end - split.test
    validation_start = test_start - split.validation
    moment, known = pl.col(EVENT_TIMESTAMP), pl.col(KNOWN_AT)
    earliest = rows[EVENT_TIMESTAMP].min() if split.max_train is None else validation_start - split.max_train
    # A label that became known only after its own part ended could not have been learned from: its row is dropped.
    part = (
        pl.when((moment >= test_start) & (moment < end)).then(pl.lit("test"))
        .when((moment >= validation_start) & (moment < test_start) & (known < test_start)).then(pl.lit("validation"))
        .when((moment >= earliest) & (moment < validation_start) & (known < validation_start)).then(pl.lit("train"))
    )  # fmt: skip
    return rows.with_columns(split=part).filter(pl.col("split").is_not_null())


def last_known_day(truths: pl.LazyFrame) -> date:
    """The last day of which outcomes have landed. Raises IllegalFeatures when none has."""
    last = truths.select(pl.col("day").max()).collect().item()
    if last is None:
        raise IllegalFeatures("training_set · no validated outcome has landed yet. Land some days: `mlops land`.")
    return last
