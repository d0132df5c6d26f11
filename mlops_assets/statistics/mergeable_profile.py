"""Profiles that are merged by adding: counts and sums of one period in the fixed bins of a reference, column by column."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import CategoricalProfile, ColumnProfile, NumericProfile

CHUNK_ROWS = 250_000  # of a few columns at once: 10 million rows need 0.3 GB and not 3
MAX_NEW = 50  # values that the reference does not have, the most frequent ones of each period; the others are pooled
ROUNDING = 1e-12  # of the mean square: a variance below is none
OTHERS = "(other new values)"


class Part(NamedTuple):
    """Where a column is in the vector of a profile: missing rows first, then the rows of each bin, and of numbers their sums."""

    start: int
    bins: int
    sums: int

    @property
    def end(self) -> int:
        return self.start + 1 + self.bins + self.sums


@dataclass(frozen=True)
class Bins:
    """The columns of a reference with their edges or values, which stay the same for the life of a model version. Sums are of
    differences from `shift`, so that those of large numbers lose no digits.
    """

    reference: Mapping[str, ColumnProfile]
    shift: Array = field(init=False)

    def __post_init__(self) -> None:
        middles = [one.edges[len(one.edges) // 2] if one.edges else 0.0 for one in self.numeric.values()]
        object.__setattr__(self, "shift", np.array(middles))

    @cached_property
    def numeric(self) -> dict[str, NumericProfile]:
        return {name: one for name, one in self.reference.items() if isinstance(one, NumericProfile)}

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Of the categorical columns."""
        return {name: sorted(one.counts) for name, one in self.reference.items() if isinstance(one, CategoricalProfile)}

    @cached_property
    def parts(self) -> dict[str, Part]:
        parts, start = dict[str, Part](), 1  # the first number is that of the rows
        for name, one in self.reference.items():
            bins = len(one.edges) + 1 if isinstance(one, NumericProfile) else len(one.counts)
            parts[name] = Part(start, bins, bins if isinstance(one, NumericProfile) else 0)
            start = parts[name].end
        return parts

    @cached_property
    def pairs(self) -> slice:
        """Where the co-moments of the numeric columns are in a vector."""
        start, count = max((part.end for part in self.parts.values()), default=1), len(self.numeric)
        return slice(start, start + 4 * count * count)

    def profile(self, rows: pl.LazyFrame) -> "Profile":
        """Of all rows, a chunk at a time."""
        total = Profile(self)
        for chunk in rows.select(*self.reference).collect_batches(chunk_size=CHUNK_ROWS):
            total += self._profile_chunk(chunk)
        return total

    def _profile_chunk(self, rows: pl.DataFrame) -> "Profile":
        vector, new = np.zeros(self.pairs.stop), dict[str, Counter[str]]()
        vector[0] = len(rows)
        numbers = self._numbers(rows)
        for place, name in enumerate(self.numeric):
            part = self.parts[name]
            vector[part.start : part.end] = _count_numbers(self.numeric[name], numbers[:, place], self.shift[place])
        for name, values in self.values.items():
            part = self.parts[name]
            vector[part.start : part.end], new[name] = _count_values(values, rows[name])
        vector[self.pairs] = _co_moments(numbers - self.shift).ravel()
        return Profile(self, vector, new)

    def _numbers(self, rows: pl.DataFrame) -> Array:
        """Null is nan."""
        columns = [rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in self.numeric]
        return np.column_stack(columns) if columns else np.empty((len(rows), 0))


class Profile:
    """`vector` is in the order of `bins`; `new` has the rows of values that the reference does not have, by column."""

    def __init__(self, bins: Bins, vector: Array | None = None, new: Mapping[str, Counter[str]] | None = None) -> None:
        self.bins, self.vector = bins, np.zeros(bins.pairs.stop) if vector is None else vector
        self.new = {name: _most_frequent((new or {}).get(name, Counter())) for name in bins.values}

    def __add__(self, other: "Profile") -> "Profile":
        """Of both periods together. Exact but for the names of rare new values."""
        new = {name: counts + other.new[name] for name, counts in self.new.items()}
        return Profile(self.bins, self.vector + other.vector, new)

    @property
    def rows(self) -> int:
        return int(self.vector[0])

    def columns(self) -> dict[str, ColumnProfile]:
        """As profiles of each column by itself; the pooled new values count as one."""
        return {name: self._column(name, one) for name, one in self.bins.reference.items()}

    def _column(self, name: str, reference: ColumnProfile) -> ColumnProfile:
        part = self.bins.parts[name]
        missing, *counts = self.vector[part.start : part.start + 1 + part.bins].astype(int).tolist()
        if isinstance(reference, NumericProfile):
            return NumericProfile(reference.edges, tuple(counts), missing)
        known = {value: count for value, count in zip(self.bins.values[name], counts, strict=True) if count}
        return CategoricalProfile(known | self.new[name], missing)

    def means_by_bin(self, name: str) -> Array:
        """Of a numeric column; nan where a bin is empty. An infinity counts as the outermost edge."""
        part, place = self.bins.parts[name], [*self.bins.numeric].index(name)
        counts, sums = np.split(self.vector[part.start + 1 : part.end], 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / counts + self.bins.shift[place]

    def correlations(self) -> Array:
        """Pearson's, of the rows in which both columns have a finite number; nan where one of them is constant there."""
        count = len(self.bins.numeric)
        n, sums, squares, products = self.vector[self.bins.pairs].reshape(4, count, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            covariance, variance = products / n - sums * sums.T / n**2, squares / n - (sums / n) ** 2
            variance[variance <= ROUNDING * squares / n] = np.nan
            return np.clip(covariance / np.sqrt(variance * variance.T), -1, 1)

    def deviation(self, name: str) -> float:
        """The standard deviation of a numeric column."""
        place, count = [*self.bins.numeric].index(name), len(self.bins.numeric)
        n, sums, squares, _ = self.vector[self.bins.pairs].reshape(4, count, count)[:, place, place]
        return float(np.sqrt(max(squares / n - (sums / n) ** 2, 0.0))) if n else float("nan")


def _most_frequent(counts: Counter[str]) -> Counter[str]:
    """The MAX_NEW most frequent values, in the order of the alphabet where equal, and the rows of all others together."""
    if len(counts) <= MAX_NEW + 1:
        return counts
    named = sorted((one for one in counts.items() if one[0] != OTHERS), key=lambda one: (-one[1], one[0]))
    kept = Counter(dict(named[:MAX_NEW]))
    kept[OTHERS] = counts.total() - kept.total()
    return kept


def _count_numbers(reference: NumericProfile, numbers: Array, shift: float) -> Array:
    """Missing rows, rows by bin, sums by bin."""
    values = numbers[~np.isnan(numbers)]
    bins = np.searchsorted(reference.edges, values, side="left")
    finite = np.clip(values, *(reference.edges[0], reference.edges[-1])) if reference.edges else np.zeros_like(values)
    differences = np.where(np.isfinite(values), values, finite) - shift
    counts, sums = (np.bincount(bins, one, len(reference.edges) + 1) for one in (None, differences))
    return np.concatenate([[len(numbers) - len(values)], counts, sums])


def _count_values(known: list[str], column: pl.Series) -> tuple[Array, Counter[str]]:
    counted = dict(_rows_by_value(column))
    missing, numbers = column.null_count(), [counted.pop(value, 0) for value in known]
    return np.array([missing, *numbers], float), Counter(counted)


def _rows_by_value(column: pl.Series) -> Iterator[tuple[str, int]]:
    return column.alias("value").cast(pl.String).drop_nulls().value_counts(name="rows").iter_rows()


def _co_moments(numbers: Array) -> Array:
    """Of each pair of columns, over the rows where both are finite: rows, sums and squares of the one, products; (4, k, k)."""
    is_there = np.isfinite(numbers)
    present, values = is_there.astype(float), np.where(is_there, numbers, 0.0)
    return np.stack([present.T @ present, values.T @ present, (values**2).T @ present, values.T @ values])
