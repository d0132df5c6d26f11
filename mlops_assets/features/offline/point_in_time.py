"""The point-in-time join: for each entity row, the newest fact known at its moment and not older than the TTL.

Pure Polars, no Feast and no files: `polars_offline_store` gives the facts as lazy frames. Formula: of all facts with equal
keys and ts - ttl <= fact ts <= ts, the one with the greatest (fact ts, created); none means nulls, never a lost row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import polars as pl

UTC_MICROSECONDS = pl.Datetime("us", "UTC")

_AT, _ROW, _PLACE, _SINCE, _CREATED, _SEARCH = "__at", "__row", "__place", "__since", "__created", "__search"


class EntityFrameMismatch(ValueError):
    """The entity frame lacks a column, has one too many, or one of a type that the facts cannot be compared with."""


@dataclass(frozen=True)
class Facts:
    """One feature view as the join sees it.

    `keys` and `features` map a column of `rows` to its name in the entity frame and in the answer. A `ttl` of zero
    never expires. `created` breaks ties between facts of one key and timestamp: the latest wins.
    """

    view: str
    rows: pl.LazyFrame
    keys: Mapping[str, str]
    features: Mapping[str, str]
    timestamp: str
    created: str | None = None
    ttl: timedelta = timedelta(0)
    schema: pl.Schema = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.rows.collect_schema())
        needed = {*self.keys, *self.features, self.timestamp, *([self.created] if self.created else [])}
        if missing := sorted(needed - set(self.schema)):
            raise EntityFrameMismatch(
                f"feature view {self.view!r} · its table lacks {', '.join(missing)}; it has {', '.join(self.schema)}. "
                "Declare what the table holds, or materialize its features again."
            )


def as_frame(entity_rows: object) -> pl.DataFrame:
    """An entity frame of any kind (Polars eager or lazy, pandas, Arrow table) as a Polars frame; TypeError otherwise."""
    if isinstance(entity_rows, pl.DataFrame):
        return entity_rows
    if isinstance(entity_rows, pl.LazyFrame):
        return entity_rows.collect()
    if entity_rows is None or isinstance(entity_rows, str):
        raise TypeError(f"entity frame · found {type(entity_rows).__name__}; legal: a Polars, pandas or Arrow frame. Give rows.")
    return pl.DataFrame(entity_rows)  # pyright: ignore[reportArgumentType]  (raises TypeError for what it does not know)


def event_timestamp_of(entities: pl.DataFrame) -> str:
    """`event_timestamp`, or the only datetime column; raises EntityFrameMismatch when there is none or more than one."""
    if "event_timestamp" in entities.columns:
        return "event_timestamp"
    moments = [name for name, dtype in entities.schema.items() if isinstance(dtype, pl.Datetime)]
    if len(moments) != 1:
        found = ", ".join(moments) or "none"
        raise EntityFrameMismatch(f"entity frame · datetime columns: {found}; legal: exactly one. Name it event_timestamp.")
    return moments[0]


def utc(column: str, dtype: pl.DataType) -> pl.Expr:
    """The column as UTC microseconds; text is parsed, and a moment without a time zone counts as UTC."""
    moment = pl.col(column)
    if dtype == UTC_MICROSECONDS:
        return moment
    if dtype == pl.String:
        return moment.str.to_datetime(time_unit="us", time_zone="UTC")
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return moment.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return moment.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def time_range(entities: pl.DataFrame, event_timestamp: str) -> tuple[datetime, datetime] | None:
    """The first and the last moment of the entity rows in UTC, or None when there is none."""
    moments = entities.select(utc(event_timestamp, entities.schema[event_timestamp])).to_series()
    if moments.null_count() == len(moments):
        return None
    return cast(datetime, moments.min()), cast(datetime, moments.max())


def join_facts(
    entities: pl.DataFrame, tables: Sequence[Facts], *, event_timestamp: str, created_by_then: bool = False
) -> pl.DataFrame:
    """`entities` unchanged and in their order, with the features of every table beside them.

    `created_by_then` counts a fact as known only from its created timestamp on. Raises EntityFrameMismatch.
    """
    _check_columns(entities, tables)
    keys = dict.fromkeys(ours for table in tables for ours in table.keys.values())
    moment = utc(event_timestamp, entities.schema[event_timestamp]).alias(_AT)
    asked = entities.select(*keys, moment).with_row_index(_ROW).sort(_AT)  # once, for all tables
    return entities.hstack([feature for table in tables for feature in _known(asked, table, created_by_then)])


def _known(asked: pl.DataFrame, table: Facts, created_by_then: bool) -> list[pl.Series]:
    """The features for each entity row, in the rows' first order.

    Only keys and times are sorted and joined; each feature is then picked once, by its place in the table. Carrying ten
    features through both took 1.1 to 1.7 times as long, and 1.2 to 2 times the memory (tests/benchmarks/bench_offline_store.py).
    """
    facts = table.rows.select(*_keys(table, asked.schema), *_moments(table), *_features(table)).collect()
    features = facts.select(table.features.values())
    places = _places(asked, facts.lazy().drop(features.columns), table, created_by_then)
    return features.select(pl.all().gather(places)).get_columns()


def _places(asked: pl.DataFrame, times: pl.LazyFrame, table: Facts, created_by_then: bool) -> pl.Series:
    """For each entity row, in the rows' first order, where its fact stands in the table; null where none counts."""
    keys = _key_names(table)
    times = times.with_row_index(_PLACE).drop_nulls([*keys, _SINCE])
    types = times.collect_schema()
    ours = (pl.col(name).cast(types[key]).alias(key) for key, name in zip(keys, table.keys.values(), strict=True))
    joined = (
        asked.lazy()
        .select(_ROW, _AT, *ours)
        .join_asof(
            _by_arrival(times, keys) if created_by_then and table.created else _by_event(times, table),
            left_on=_AT,
            right_on=_SEARCH,
            by=keys or None,
            strategy="backward",
            coalesce=False,
            check_sortedness=False,
        )
    )
    fresh = pl.col(_SINCE) >= pl.col(_AT) - table.ttl if table.ttl else pl.col(_SINCE).is_not_null()
    return joined.select(_ROW, pl.when(fresh).then(_PLACE).alias(_PLACE)).sort(_ROW).collect()[_PLACE]


def _key_names(table: Facts) -> list[str]:
    return [f"__key_{number}" for number in range(len(table.keys))]


def _keys(table: Facts, asked: pl.Schema) -> list[pl.Expr]:
    names = zip(_key_names(table), table.keys.items(), strict=True)
    return [pl.col(theirs).cast(_common_type(table, theirs, asked[ours])).alias(key) for key, (theirs, ours) in names]


def _features(table: Facts) -> list[pl.Expr]:
    return [pl.col(theirs).alias(ours) for theirs, ours in table.features.items()]


def _moments(table: Facts) -> list[pl.Expr]:
    moments = [utc(table.timestamp, table.schema[table.timestamp]).alias(_SINCE)]
    if table.created:
        moments.append(utc(table.created, table.schema[table.created]).alias(_CREATED))
    return moments


def _by_event(facts: pl.LazyFrame, table: Facts) -> pl.LazyFrame:
    order = [_SINCE, _CREATED] if table.created else [_SINCE]
    return facts.sort(order, maintain_order=True).with_columns(pl.col(_SINCE).alias(_SEARCH))


def _by_arrival(facts: pl.LazyFrame, keys: list[str]) -> pl.LazyFrame:
    """Searchable from the moment when a fact has happened and is written; a late fact older than one already known is no news."""
    arrived = facts.drop_nulls(_CREATED).with_columns(pl.max_horizontal(_SINCE, _CREATED).alias(_SEARCH))
    newest = pl.col(_SINCE).cum_max().over(keys) if keys else pl.col(_SINCE).cum_max()
    return arrived.sort(_SEARCH, _SINCE, _CREATED, maintain_order=True).filter(pl.col(_SINCE) >= newest)


def _common_type(table: Facts, key: str, ours: pl.DataType) -> pl.DataType:
    """The type in which both sides of a join key are compared."""
    theirs = table.schema[key]
    if ours in (theirs, pl.Null()):
        return theirs
    if ours.is_integer() and theirs.is_integer():
        return pl.Int64()
    if ours.is_numeric() and theirs.is_numeric():
        return pl.Float64()  # pandas holds whole numbers with gaps as floats
    if all(isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)) for dtype in (ours, theirs)):
        return pl.String()
    raise EntityFrameMismatch(
        f"feature view {table.view!r} · join key {table.keys[key]!r} is {ours} in the entity frame and {theirs} in the table. "
        "Cast one of them."
    )


def _check_columns(entities: pl.DataFrame, tables: Sequence[Facts]) -> None:
    taken = set(entities.columns)
    for table in tables:
        if missing := [name for name in table.keys.values() if name not in entities.columns]:
            raise EntityFrameMismatch(
                f"feature view {table.view!r} · the entity frame lacks {', '.join(missing)}; it has "
                f"{', '.join(entities.columns)}. Add the join key."
            )
        if clash := [name for name in table.features.values() if name in taken]:
            raise EntityFrameMismatch(
                f"feature view {table.view!r} · {', '.join(clash)} stands already in the entity frame or in another view. "
                "Drop it there, or ask for full feature names."
            )
        taken |= set(table.features.values())
