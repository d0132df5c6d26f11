"""Profiles: counts that summarise one window of one table, column by column."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import polars as pl
from pydantic import TypeAdapter

BINS = 10  # deciles, for which the usual bounds of the PSI are stated: 0.1 for some change, 0.25 for a large one


@dataclass(frozen=True)
class NumericProfile:
    """Counts between fixed `edges` (rising, k of them, k + 1 bins): bin i holds edges[i-1] < x <= edges[i].

    Null and nan are `missing`; infinities fall into the outer bins, which are those of numbers out of the reference's range.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int

    def like(self, column: pl.Series) -> Self:
        """The profile of another sample of this column, counted between the same edges."""
        values = column.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
        counts = np.bincount(np.searchsorted(self.edges, values, side="left"), minlength=len(self.edges) + 1)
        return type(self)(self.edges, tuple(counts.tolist()), missing=len(column) - len(values))


@dataclass(frozen=True)
class CategoricalProfile:
    """Counts of each value; null is `missing`."""

    counts: dict[str, int]
    missing: int

    def like(self, column: pl.Series) -> Self:
        """The profile of another sample of this column; new values are counted under their own names."""
        counts = column.alias("value").cast(pl.String).drop_nulls().value_counts(name="rows").sort("value")
        return type(self)(counts=dict(counts.iter_rows()), missing=column.null_count())


ColumnProfile = NumericProfile | CategoricalProfile


def profile_reference(frame: pl.DataFrame, numeric: Sequence[str], categorical: Sequence[str]) -> dict[str, ColumnProfile]:
    """Profiles of the reference sample, whose quantiles become the edges for every later window."""
    numbers = {name: NumericProfile(_edges(frame[name]), (), 0) for name in numeric}
    return profile_like(numbers | {name: CategoricalProfile({}, 0) for name in categorical}, frame)


def profile_like(reference: Mapping[str, ColumnProfile], frame: pl.DataFrame) -> dict[str, ColumnProfile]:
    """Profiles of another window with the reference's bins."""
    return {name: profile.like(frame[name]) for name, profile in reference.items()}


def profiles_to_json(profiles: Mapping[str, ColumnProfile]) -> str:
    """One stable text: sorted keys, no spaces, edges to the last bit."""
    return json.dumps({name: asdict(one) for name, one in profiles.items()}, sort_keys=True, separators=(",", ":"))


def profiles_from_json(text: str) -> dict[str, ColumnProfile]:
    """The profiles that `profiles_to_json` wrote, columns in alphabetical order."""
    return TypeAdapter(dict[str, ColumnProfile]).validate_json(text)


def _edges(column: pl.Series) -> tuple[float, ...]:
    """Inner quantiles as they occur in the data, and its range."""
    values = column.cast(pl.Float64)
    finite = values.filter(values.is_finite()).to_numpy()
    if not len(finite):
        return ()
    inner = np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    # A value that fills several quantiles gets its own bin, or its mass (the dry hours in `precip`) hides the changes around it.
    distinct, times = np.unique(inner, return_counts=True)
    lower = np.nextafter([finite.min(), *distinct[times > 1]], -np.inf)
    edges = np.unique([*lower, *distinct, finite.max()])
    return tuple(edges[np.isfinite(edges)].tolist())
