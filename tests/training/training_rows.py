"""Small training sets with a signal, for the tests of training: two seasons of made-up flights."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE

NUMERIC = ("wind", "delay", "never")
CATEGORICAL = ("carrier", "origin")
TASK = task_of(USE_CASE.task)
CARRIERS = ("AA", "B6", "EV", "UA")
INPUTS: dict[str, Any] = {"numeric": NUMERIC, "categorical": CATEGORICAL, "label": "late", "task": TASK}


def unlabelled_rows(count: int, seed: int) -> pl.DataFrame:
    """Numbers with holes (`never` is one), carriers of which some are unknown, one moment per row."""
    rng = np.random.default_rng(seed)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "event_timestamp": [start + timedelta(minutes=10 * index) for index in range(count)],
            "wind": _with_holes(rng, rng.normal(10, 4, count).round(1)),  # few values, so trees split between two of them
            "delay": _with_holes(rng, rng.exponential(20, count)),
            "never": pl.Series([None] * count, dtype=pl.Float64),
            "carrier": rng.choice([*CARRIERS, "ZZ", None], count, p=[0.3, 0.3, 0.2, 0.18, 0.01, 0.01]).tolist(),
            "origin": rng.choice(["EWR", "JFK"], count).tolist(),
        },
        schema_overrides={"carrier": pl.String},
    )


def training_rows(count: int = 1500, seed: int = 0) -> pl.DataFrame:
    """Rows in time order, 60% train, 20% validation, 20% test; delays and carriers EV and UA make a row `late`."""
    rows = unlabelled_rows(count, seed)
    rng = np.random.default_rng(seed + 1)
    odds = rows["delay"].fill_null(20).to_numpy() / 15 + rows["carrier"].is_in(["EV", "UA"]).fill_null(False).to_numpy() * 2 - 3
    late = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    split = np.select([np.arange(count) < 0.6 * count, np.arange(count) < 0.8 * count], ["train", "validation"], "test")
    return rows.with_columns(late=pl.Series(late), split=pl.Series(split.tolist()))


def _with_holes(rng: np.random.Generator, numbers: Any) -> list[float | None]:
    return [None if hole else float(number) for hole, number in zip(rng.random(len(numbers)) < 0.1, numbers, strict=True)]
