"""Kinds of columns, as a monitor meets them: a reference, windows in which nothing changed, and ones with a planted change."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

Values = NDArray[Any]
COLUMN, MOMENT = "x", "event_timestamp"
START, DAYS, DAY_ROWS = datetime(2013, 1, 1, tzinfo=UTC), 180, 50


class Kind(NamedTuple):
    """`sample` draws values, and `change` plants a change in a share of them."""

    sample: Callable[[np.random.Generator, int], Values]
    change: Callable[[Values, NDArray[np.bool_]], Values]
    rows: int = 5000
    window_rows: int = 1000

    def reference(self, rng: np.random.Generator) -> pl.DataFrame:
        """Over DAYS days."""
        moments = [START + index * timedelta(days=DAYS) / self.rows for index in range(self.rows)]
        values = self.sample(rng, self.rows)
        return pl.DataFrame({MOMENT: moments, COLUMN: values}, schema_overrides={MOMENT: pl.Datetime("us", "UTC")})

    def window(self, rng: np.random.Generator, share: float = 0.0) -> pl.DataFrame:
        values = self.sample(rng, self.window_rows)
        return pl.DataFrame({COLUMN: self.change(values, rng.uniform(size=len(values)) < share) if share else values})


def is_categorical(frame: pl.DataFrame) -> bool:
    return frame[COLUMN].dtype == pl.String


def _shift(by: float) -> Callable[[Values, NDArray[np.bool_]], Values]:
    return lambda values, rows: np.where(rows, values + by, values)


def _to(value: object) -> Callable[[Values, NDArray[np.bool_]], Values]:
    return lambda values, rows: np.where(rows, np.array(value, dtype=values.dtype), values)


def _seasonal(rng: np.random.Generator, rows: int) -> Values:
    """Degrees, with a mean of their own for each day."""
    return np.repeat(rng.normal(10, 6, rows // DAY_ROWS), DAY_ROWS) + rng.normal(size=rows)


KINDS: dict[str, Kind] = {
    "few categories": Kind(lambda rng, rows: rng.choice(list("ABCDE"), rows, p=[0.6, 0.2, 0.1, 0.07, 0.03]), _to("E")),
    "many categories": Kind(lambda rng, rows: rng.integers(0, 1000, rows).astype(str), _to("7")),
    "long tail": Kind(lambda rng, rows: rng.zipf(1.3, rows).astype(str), _to("2")),
    "nearly unique": Kind(lambda rng, rows: rng.integers(0, 20_000, rows).astype(str), _to("7")),
    "heavy tails": Kind(lambda rng, rows: rng.standard_cauchy(rows), _shift(3)),
    "mostly null": Kind(
        lambda rng, rows: np.where(rng.uniform(size=rows) < 0.97, np.nan, rng.normal(size=rows)), _to(0.0)
    ),
    "constant": Kind(lambda rng, rows: np.ones(rows), _shift(1)),
    "small": Kind(lambda rng, rows: rng.normal(size=rows), _shift(3), 300, 60),
    "huge": Kind(lambda rng, rows: rng.normal(size=rows), _shift(3), 50_000, 5_000),
    "seasonal": Kind(_seasonal, _shift(60), DAYS * DAY_ROWS, DAY_ROWS),
}  # fmt: skip
