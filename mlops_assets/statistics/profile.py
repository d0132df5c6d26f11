"""Profiles: counts that summarise one window of one table, column by column."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from mlops_assets.statistics.metrics import Array


@dataclass(frozen=True)
class NumericProfile:
    """Counts between fixed `edges` (rising, k of them, k + 1 bins): bin i holds edges[i-1] < x <= edges[i].

    Null and nan are `missing`; infinities fall into the outer bins.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.missing

    def like(self, column: pl.Series) -> Self:
        """The profile of another sample of this column, counted between the same edges."""
        values, missing = _numbers(column)
        bins = np.searchsorted(np.array(self.edges), values, side="left")
        return type(self)(self.edges, tuple(np.bincount(bins, minlength=len(self.edges) + 1).tolist()), missing)


@dataclass(frozen=True)
class CategoricalProfile:
    """Counts of each value; null is `missing`."""

    counts: dict[str, int]
    missing: int

    @property
    def rows(self) -> int:
        return sum(self.counts.values()) + self.missing

    def like(self, column: pl.Series) -> Self:
        """The profile of another sample of this column; new values are counted under their own names."""
        counts = column.alias("value").cast(pl.String).drop_nulls().value_counts(name="rows").sort("value")
        return type(self)(counts=dict(counts.iter_rows()), missing=column.null_count())


ColumnProfile = NumericProfile | CategoricalProfile


def profile_reference(
    frame: pl.DataFrame, numeric: Sequence[str], categorical: Sequence[str], *, bins: int = 10
) -> dict[str, ColumnProfile]:
    """Profiles of the reference sample, whose quantiles become the edges for every later window.

    Raises ValueError when the frame lacks a column.
    """
    _require(frame, [*numeric, *categorical])
    numbers = {name: NumericProfile(_edges(frame[name], bins), (), 0).like(frame[name]) for name in numeric}
    return {**numbers, **{name: CategoricalProfile({}, 0).like(frame[name]) for name in categorical}}


def profile_like(reference: Mapping[str, ColumnProfile], frame: pl.DataFrame) -> dict[str, ColumnProfile]:
    """Profiles of another window with the reference's bins. Raises ValueError when the frame lacks a column."""
    _require(frame, list(reference))
    return {name: profile.like(frame[name]) for name, profile in reference.items()}


def profiles_to_json(profiles: Mapping[str, ColumnProfile]) -> str:
    """One stable text: sorted keys, no spaces, edges to the last bit."""
    return json.dumps({name: asdict(one) for name, one in profiles.items()}, sort_keys=True, separators=(",", ":"))


def profiles_from_json(text: str) -> dict[str, ColumnProfile]:
    """The profiles that `profiles_to_json` wrote, columns in alphabetical order."""
    return TypeAdapter(dict[str, ColumnProfile]).validate_json(text)


def _edges(column: pl.Series, bins: int) -> tuple[float, ...]:
    """Inner quantiles as they occur in the data."""
    values, _ = _numbers(column)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ()
    inner = np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    # A value that fills several quantiles gets its own bin, or its mass (the dry hours in `precip`) hides the changes around it.
    distinct, times = np.unique(inner, return_counts=True)
    edges = np.union1d(distinct, np.nextafter(distinct[times > 1], -np.inf))
    return tuple(edges[np.isfinite(edges)].tolist())


def _numbers(column: pl.Series) -> tuple[Array, int]:
    """The values that are numbers, and how many rows hold none."""
    values = column.cast(pl.Float64).to_numpy()
    missing = np.isnan(values)
    return values[~missing], int(missing.sum())


def _require(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    if absent := [name for name in columns if name not in frame.columns]:
        found = ", ".join(frame.columns)
        raise ValueError(f"profile · the frame has no column {', '.join(absent)}; it has: {found}. Join it first.")
