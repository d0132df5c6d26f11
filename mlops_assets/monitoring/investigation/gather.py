"""Gathers the evidence about alarms from the tables of a use case."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from mlops_assets.features.featurize import History, fill_partitions
from mlops_assets.features.lineage import request_lineage, view_columns_read
from mlops_assets.features.parity import KEY, sample_answers
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.calendars import Partition
from mlops_assets.foundation.conversions import UTC, by_value
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.names import EVENT_TIMESTAMP, SEED
from mlops_assets.monitoring.investigation.evidence import AT, Alarm, Delivery, Evidence, Origin, Refill, Relation
from mlops_assets.spec.code_version import feature_code
from mlops_assets.spec.feature import FeatureView, Tables
from mlops_assets.spec.use_case import UseCase

BEFORE = timedelta(days=30)  # of the rows before the window with which a source's are compared
MOST_RECOMPUTED, MOST_ROWS = 5000, 50_000


class Facts(NamedTuple):
    """What is known of deliveries, code and labels besides the rows."""

    deliveries: Sequence[Delivery] = ()
    refills: Sequence[Refill] = ()
    relation: Relation | None = None


def gather(
    use_case: UseCase,
    alarms: Sequence[Alarm],
    served: pl.DataFrame,
    *,
    reference: pl.DataFrame,
    tables: Tables,
    store: History | None,
    facts: Facts,
    start: datetime,
    now: datetime,
) -> Evidence:
    """`served` are the answers since `start`, `reference` a sample of the champion's training rows, `tables` the validated ones.
    Without a `store`, which a use case without views has not, nothing is recomputed.
    """
    origins = origins_of(use_case)
    read = {table for origin in origins.values() for table in origin.tables}
    return Evidence(
        use_case=use_case,
        now=now,
        start=start,
        alarms=alarms,
        served=sample_answers(served, max_rows=MOST_ROWS, seed=SEED),
        reference=reference,
        origins=origins,
        sources={table: _source(use_case, table, tables[table], start, now) for table in sorted(read & tables.keys())},
        recomputed=_recompute(use_case, served, store) if store else pl.DataFrame(schema={KEY: pl.String()}),
        **facts._asdict(),
    )


def origins_of(use_case: UseCase) -> dict[str, Origin]:
    """Of the model's inputs, by name."""
    read = {name: Origin(None, frozenset(lineage.values)) for name, lineage in request_lineage(use_case).items()}
    for view in use_case.features.views:
        columns = view_columns_read(use_case, view)
        keys = frozenset[str]().union(*(read[key].columns for key in view.entity if key in read))
        read |= {name: Origin(view.name, columns[name] | keys) for name in columns.keys() - {*view.entity, EVENT_TIMESTAMP}}
    return {name: read[name] for name in use_case.features.inputs if name in read}


def _source(use_case: UseCase, table: str, rows: pl.LazyFrame, start: datetime, now: datetime) -> pl.DataFrame:
    """A sample of the rows of the window and before, in the order of their partitions."""
    calendar = table_calendar(use_case, table)
    at = by_value(pl.col(calendar.column), calendar.start, UTC).alias(AT)
    recent = rows.with_columns(at).filter(pl.col(AT).is_between(start - BEFORE, now)).collect()
    sample = recent.sample(MOST_ROWS, seed=SEED) if len(recent) > MOST_ROWS else recent
    return sample.sort(AT, maintain_order=True)


def _recompute(use_case: UseCase, served: pl.DataFrame, store: History) -> pl.DataFrame:
    """The features of a sample of the answers that looked theirs up, as the tables give them now."""
    looked_up = sample_answers(served.filter(pl.col("features_from") != "request"), max_rows=MOST_RECOMPUTED, seed=SEED)
    if looked_up.is_empty():
        return looked_up.select(KEY)
    features = use_case.features
    requests = entity_rows(features, looked_up.select(features.request).lazy()).collect()
    recomputed = store.historical(requests.with_columns(looked_up[KEY], looked_up[EVENT_TIMESTAMP]))
    return recomputed.select(KEY, *(name for name in features.inputs if name in recomputed.columns))


def compare_code(
    use_case: UseCase,
    view: FeatureView,
    before: pl.DataFrame,
    *,
    partition: Partition,
    tables: Mapping[str, pl.LazyFrame],
    at: datetime,
) -> Refill:
    """`before` are the rows of one partition of a view as an earlier code filled it, from the same `tables`."""
    after = fill_partitions(use_case, view, tables, first=partition, last=partition)
    key = [*view.entity, EVENT_TIMESTAMP]
    features = [name for name in after.columns if name not in (*key, "day") and name in before.columns]
    pairs = before.join(after, on=key, how="full", suffix=" now", coalesce=True)
    equal = {name: pl.col(name).eq_missing(pl.col(f"{name} now")) | _close(after, name) for name in features}
    shares = pairs.select(**{name: 1 - is_equal.mean() for name, is_equal in equal.items()})
    return Refill(view.name, at, feature_code(view), len(pairs), shares.row(0, named=True) if len(pairs) else {})


def _close(rows: pl.DataFrame, name: str) -> pl.Expr:
    """Rolling sums differ in their last digits."""
    if not rows.schema[name].is_float():
        return pl.lit(False)
    a, b = pl.col(name), pl.col(f"{name} now")
    return ((a - b).abs() <= 1e-6 * pl.max_horizontal(a.abs(), b.abs(), pl.lit(1.0))).fill_null(False)
