"""Profiles that are merged by adding: counts and sums of one period in the fixed bins of a reference, all in one vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import polars as pl

from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import ColumnProfile, NumericProfile, as_numbers, profiles_to_json

CHUNK_ROWS = 250_000  # of a few columns at once: 10 million rows need 0.3 GB and not 3
ROUNDING = 1e-12  # of the mean square: a variance below is none


@dataclass(frozen=True)
class Bins:
    """The columns of a reference with their edges or values, which stay the same for the life of a model version."""

    reference: Mapping[str, ColumnProfile]

    @property
    def digest(self) -> str:
        """Of the columns, their order and their bins."""
        return sha256(f"{[*self.reference]}{profiles_to_json(self.reference)}".encode()).hexdigest()

    @cached_property
    def numeric(self) -> dict[str, NumericProfile]:
        return {name: one for name, one in self.reference.items() if isinstance(one, NumericProfile)}

    @cached_property
    def parts(self) -> dict[str, slice]:
        """Where the measures of a column are in a vector, of which the first number is that of the rows; then the pairs."""
        ends = np.cumsum([1, *(one.size for one in self.reference.values())]).tolist()
        return {name: slice(*bounds) for name, *bounds in zip(self.reference, ends, ends[1:], strict=False)}

    @cached_property
    def pairs(self) -> slice:
        """Where the co-moments of the numeric columns are in a vector."""
        start, count = 1 + sum(one.size for one in self.reference.values()), len(self.numeric)
        return slice(start, start + 4 * count * count)

    def profile(self, rows: pl.LazyFrame) -> "Profile":
        """Of all rows, a chunk at a time."""
        total = Profile(self)
        for chunk in rows.select(*self.reference).collect_batches(chunk_size=CHUNK_ROWS):
            total += self._profile_chunk(chunk)
        return total

    def _profile_chunk(self, rows: pl.DataFrame) -> "Profile":
        measures = [one.measure(rows[name]) for name, one in self.reference.items()]
        numbers = [as_numbers(rows[name]) - one.middle for name, one in self.numeric.items()]
        pairs = _co_moments(np.stack(numbers)).ravel() if numbers else np.empty(0)
        return Profile(self, np.concatenate([[len(rows)], *measures, pairs]))


class Profile:
    """`vector` is in the order of `bins`."""

    def __init__(self, bins: Bins, vector: Array | None = None) -> None:
        self.bins, self.vector = bins, np.zeros(bins.pairs.stop) if vector is None else vector

    def __add__(self, other: "Profile") -> "Profile":
        """Of both periods together."""
        return Profile(self.bins, self.vector + other.vector)

    @property
    def rows(self) -> int:
        return int(self.vector[0])

    def columns(self) -> dict[str, ColumnProfile]:
        """As profiles of each column by itself."""
        return {name: one.measured(self.vector[self.bins.parts[name]]) for name, one in self.bins.reference.items()}

    def correlations(self) -> Array:
        """Pearson's, of the rows in which both columns have a finite number; nan where one of them is constant there."""
        n, sums, squares, products = self._pairs()
        with np.errstate(invalid="ignore", divide="ignore"):
            covariance, variance = products / n - sums * sums.T / n**2, squares / n - (sums / n) ** 2
            variance[variance <= ROUNDING * squares / n] = np.nan
            return np.clip(covariance / np.sqrt(variance * variance.T), -1, 1)

    def pair_rows(self) -> Array:
        """The rows in which both columns of a pair have a finite number."""
        return self._pairs()[0]

    def _pairs(self) -> Array:
        count = len(self.bins.numeric)
        return self.vector[self.bins.pairs].reshape(4, count, count)


def _co_moments(numbers: Array) -> Array:
    """Of each pair of columns, over the rows where both are finite: rows, sums and squares of the one, products; (k, n) to
    (4, k, k).
    """
    is_there, products = np.isfinite(numbers), np.zeros((4, len(numbers), len(numbers)))
    if is_there.all():  # then two of the three products of matrices are sums
        for place, one in enumerate((np.ones_like(numbers[:1]), numbers, np.square(numbers))):
            products[place] = one.sum(axis=1, keepdims=True)
        products[3] = numbers @ numbers.T
        return products
    present, values = is_there.astype(float), np.where(is_there, numbers, 0.0)
    for place, one in enumerate((present, values, np.square(values))):
        products[place] = one @ present.T
    products[3] = values @ values.T
    return products
