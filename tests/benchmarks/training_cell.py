"""One measurement of bench_training, in a process of its own: a JSON line of its rows, seconds and memory.

Usage: `generate FOLDER ROWS SEED`, then `validation FOLDER`, `features FOLDER`, `training_set FOLDER`: through the functions that
the assets call, on tables of the shape of flight_delay.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from mlops_assets.features.featurize import add_features, describe_constant_inputs, fill_partitions, training_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.ingestion.audit import audit_partitions
from mlops_assets.use_cases.flight_delay import OUTCOMES, USE_CASE

FIRST, LAST = date(2013, 1, 1), date(2013, 12, 30)
START, NOW = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
SPAN_US = (LAST - FIRST + timedelta(days=1)) // timedelta(microseconds=1)
CARRIERS, ORIGINS = [f"{a}{b}" for a in "ABDU" for b in "AEFX"], ["EWR", "JFK", "LGA"]
DESTS, TAILS = [f"{a}{b}X" for a in "ABCDEFGHIJ" for b in "ABCDEFGHIJ"], [f"N{number}" for number in range(1000, 5000)]
MOMENT = pl.Datetime("us", "UTC")


def generate(folder: Path, rows: int, seed: int) -> int:
    """The validated tables, and the raw one of outcomes. Each flight has a time of its own to the microsecond."""
    random = np.random.default_rng(seed)

    def some(values: list[str], count: int = rows) -> pl.Series:
        codes = pl.Series(random.integers(0, len(values), count, dtype=np.uint32))
        return pl.Series(values, dtype=pl.String()).gather(codes)

    def minutes(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.Series:
        return pl.Series(values * 60_000_000).cast(pl.Duration("us"))

    departures = pl.Series(np.sort(random.integers(0, SPAN_US, rows))).cast(pl.Duration("us"))
    flights = pl.DataFrame({
        "carrier": some(CARRIERS), "flight": random.integers(1, 10_000, rows), "tailnum": some(TAILS),
        "origin": some(ORIGINS), "dest": some(DESTS), "sched_dep": departures + pl.Series([START]).cast(MOMENT),
    })  # fmt: skip
    _write(folder, "schedule", flights.with_columns(distance=random.uniform(100, 3000, rows)), "sched_dep")
    late = np.clip(random.exponential(20, rows) - 15, -30, 2000).astype(np.int64)
    arrived = flights.with_columns(
        dep_time=pl.col("sched_dep") + minutes(late), arr_time=pl.col("sched_dep") + minutes(late + 180),
        dep_delay=late, arr_delay=late + random.integers(-10, 10, rows),
    ).filter(pl.col("arr_time") < NOW - timedelta(days=1))  # fmt: skip
    del flights
    _write(folder, "outcomes", arrived, "arr_time")
    raw = arrived.with_columns(pl.col(MOMENT).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), day=pl.col("arr_time").dt.date())
    raw = raw.with_columns(pl.exclude("day").cast(pl.String()), source_file=pl.lit("day.csv"), problem=pl.lit(None, pl.String()))
    raw.with_row_index("source_line").with_columns(pl.col("source_line").cast(pl.Int64)).write_parquet(folder / "raw.parquet")
    hours = pl.datetime_range(START, NOW - timedelta(days=1), "1h", time_unit="us", eager=True, closed="left")
    weather = pl.DataFrame({"origin": ORIGINS}).join(pl.DataFrame({"observed_at": hours}), how="cross")
    measured = [column.name for column in USE_CASE.contract("weather").columns if column.dtype == "float"]
    values = {name: random.uniform(0, 50, weather.height) for name in measured}
    _write(folder, "weather", weather.with_columns(**values), "observed_at")
    planes = pl.DataFrame(
        {"tailnum": TAILS, "seats": random.integers(50, 400, len(TAILS)), "built": random.integers(1980, 2013, len(TAILS))}
    )
    _write(folder, "planes", planes.with_columns(observed=pl.lit(START)), "observed")
    return rows


def _write(folder: Path, table: str, rows: pl.DataFrame, at: str) -> None:
    path = DeltaTables(Home(folder).tables).path(names.validated(USE_CASE.name, table))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.with_columns(day=pl.col(at).dt.date()).write_delta(path, delta_write_options={"partition_by": ["day"]})


def validation(folder: Path) -> int:
    raw = pl.read_parquet(folder / "raw.parquet")
    days = sorted(set(raw["day"]))
    audit = audit_partitions(raw, pl.DataFrame(), OUTCOMES, partitions=days, waived=days)  # a table this small varies
    assert audit.accepted.height > 0.99 * raw.height, audit.quarantined["reasons"].value_counts()
    return raw.height


def features(folder: Path) -> int:
    home, rows = Home(folder), 0
    warehouse = DeltaTables(home.tables)
    for view in USE_CASE.features.views:
        tables = {table: warehouse.scan(names.validated(USE_CASE.name, table)) for table in view.tables}
        made = fill_partitions(USE_CASE, view, tables, first=FIRST, last=LAST)
        path = home.tables / names.feature_source(USE_CASE.name, view.name)
        made.write_delta(path, mode="overwrite", delta_write_options={"partition_by": ["day"]})
        rows += made.height
    return rows


def training_set(folder: Path) -> int:
    from mlops_assets.features.feast.feature_store import FeatureStore

    home = Home(folder)
    warehouse, store = DeltaTables(home.tables), FeatureStore(home, service=USE_CASE.features.service)
    store.apply(PROJECT / "feature_repo")
    requests, truths = (warehouse.scan(names.validated(USE_CASE.name, table)) for table in ("schedule", "outcomes"))
    rows = training_rows(USE_CASE, requests, truths, now=NOW)
    rows = add_features(USE_CASE, rows, store, now=NOW)
    rows = rows.sort(names.EVENT_TIMESTAMP, *USE_CASE.label.key)
    assert not describe_constant_inputs(USE_CASE, rows)
    rows.write_delta(home.root / "training_set.delta", mode="overwrite")
    return rows.height


STAGES: dict[str, Callable[[Path], int]] = {"validation": validation, "features": features, "training_set": training_set}


def main(stage: str, folder: str, *rest: str) -> None:
    start = time.process_time()
    rows = generate(Path(folder), *map(int, rest)) if stage == "generate" else STAGES[stage](Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(json.dumps({"rows": rows, "seconds": time.process_time() - start, "gigabytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
