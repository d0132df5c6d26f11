"""Rows perturbed as faulty sources would: noise, missing values, unseen categories, numbers out of range."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

UNSEEN = "never seen before"
SPANS_AWAY = 10  # an out-of-range number is this many widths of the known range outside of it: a wrong unit, a broken sensor
Draws = np.random.Generator


@dataclass(frozen=True)
class Spread:
    """Standard deviation and range of one number over the training rows; all nan when none is known."""

    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Perturbations:
    """Which columns are perturbed, and how much. `spread` has one entry per numeric column.

    `noise` is in standard deviations, `share` the part of each column's values that change.
    """

    spread: dict[str, Spread]
    categorical: tuple[str, ...]
    noise: float
    share: float
    seed: int

    def of(self, rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """The rows under each of the four perturbations, with numbers as Float64 and categories as String."""
        rows = rows.cast(dict.fromkeys(self.spread, pl.Float64) | dict.fromkeys(self.categorical, pl.String))  # pyright: ignore[reportArgumentType]
        return {
            "noise": self._changed(rows, self.spread, self._noisy),
            "missing values": self._changed(rows, (*self.spread, *self.categorical), self._missing),
            "unseen categories": self._changed(rows, self.categorical, self._unseen),
            "out of range": self._changed(rows, self.spread, self._out_of_range),
        }

    def _changed(
        self, rows: pl.DataFrame, columns: Iterable[str], change: Callable[[pl.Series, Draws], pl.Series]
    ) -> pl.DataFrame:
        # Each column has its own random stream, so that adding a column does not change the others.
        return rows.with_columns(change(rows[name], np.random.default_rng([self.seed, *name.encode()])) for name in columns)

    def _noisy(self, column: pl.Series, draws: Draws) -> pl.Series:
        deviation = np.nan_to_num(self.spread[column.name].deviation)
        return column + pl.Series(draws.normal(scale=self.noise * deviation, size=len(column)))

    def _missing(self, column: pl.Series, draws: Draws) -> pl.Series:
        return self._hit(column, pl.repeat(None, len(column), dtype=column.dtype, eager=True), draws)

    def _unseen(self, column: pl.Series, draws: Draws) -> pl.Series:
        return self._hit(column, pl.repeat(UNSEEN, len(column), eager=True), draws)

    def _out_of_range(self, column: pl.Series, draws: Draws) -> pl.Series:
        spread = self.spread[column.name]
        if np.isnan(spread.low):
            return column
        away = SPANS_AWAY * ((spread.high - spread.low) or 1.0)
        above = draws.random(len(column)) < 0.5
        return self._hit(column, pl.Series(np.where(above, spread.high + away, spread.low - away)), draws)

    def _hit(self, column: pl.Series, values: pl.Series, draws: Draws) -> pl.Series:
        hit = pl.Series(draws.random(len(column)) < self.share)
        return values.zip_with(hit, column).alias(column.name)


def spread_of(known: pl.DataFrame, numeric: Sequence[str]) -> dict[str, Spread]:
    """Spread of each column over its finite values."""
    return {name: _spread(known[name].cast(pl.Float64)) for name in numeric}


def _spread(column: pl.Series) -> Spread:
    values = column.filter(column.is_finite()).to_numpy()
    if not len(values):
        return Spread(float("nan"), float("nan"), float("nan"))
    return Spread(float(values.std()), float(values.min()), float(values.max()))
