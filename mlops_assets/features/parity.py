"""Training/serving skew: the features that predictions were served with, compared with those recomputed from the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP, PREDICTION_ID

KEY, MOMENT = PREDICTION_ID, EVENT_TIMESTAMP
MAX_EXAMPLES = 5
SERVED, RECOMPUTED, DIFFERS = "served", "recomputed", "differs"
COUNT, DATETIME = pl.Int64(), pl.Datetime("us", "UTC")
PER_FEATURE = {
    **{"feature": pl.String(), "mismatches": COUNT, "largest_difference": pl.Float64()},
    **{"missing_served": COUNT, "missing_recomputed": COUNT},
}
PER_TABLE = {"rows": COUNT, "differing_rows": COUNT, "since": DATETIME, "until": DATETIME}


class NotTheSameRows(ValueError):
    """The two frames cannot be compared row by row."""


@dataclass(frozen=True)
class FeatureSkew:
    """One feature over all compared rows. `missing_served` counts rows where only the recomputed value exists.

    `largest_difference` is absolute, tolerated differences included; None for text and where no row has both values.
    `examples` are the first mismatches: {prediction_id, served, recomputed}.
    """

    feature: str
    mismatches: int
    largest_difference: float | None
    missing_served: int
    missing_recomputed: int
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Parity:
    """Compares `rows` predictions made from `since` to `until` (None without rows); `differing_rows` have any mismatch."""

    rows: int
    differing_rows: int
    since: datetime | None
    until: datetime | None
    features: tuple[FeatureSkew, ...]

    @property
    def mismatch_rate(self) -> float:
        """Share of predictions with any mismatch: never below the rate of a single feature, so none is averaged away."""
        return self.differing_rows / self.rows if self.rows else 0.0

    @property
    def mismatched(self) -> list[FeatureSkew]:
        """The features with a mismatch, the worst first."""
        return sorted((feature for feature in self.features if feature.mismatches), key=lambda feature: -feature.mismatches)

    def rate(self, feature: FeatureSkew) -> float:
        return feature.mismatches / self.rows if self.rows else 0.0

    def sentence(self, max_mismatch_rate: float) -> str:
        side = "within" if self.mismatch_rate <= max_mismatch_rate else "above"
        predictions = f"{self.mismatch_rate:.2%} of {self.rows:,} predictions from {self.since:%Y-%m-%d} to {self.until:%Y-%m-%d}"
        bound = f"used features that differ from the recomputed ones, {side} the bound of {max_mismatch_rate:.2%}"
        worst = ", ".join(f"{feature.feature} ({self.rate(feature):.2%})" for feature in self.mismatched[:4])
        return f"{predictions} {bound}{': ' * bool(worst)}{worst}."

    def to_dict(self) -> dict[str, Any]:
        """JSON-able evidence for the gate."""
        return {
            "rows": self.rows,
            "differing_rows": self.differing_rows,
            "since": str(self.since),
            "until": str(self.until),
            "mismatch_rates": {feature.feature: self.rate(feature) for feature in self.mismatched},
        }

    def to_table(self) -> pl.DataFrame:
        """One row per feature, without examples; the counts of the whole comparison repeat on every row, or are the only one."""
        rows = [vars(self) | vars(feature) for feature in self.features] or [vars(self)]
        return pl.DataFrame(rows, schema=PER_FEATURE | PER_TABLE)

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> Self:
        """The inverse of `to_table`."""
        if table.is_empty():
            return cls(0, 0, None, None, ())
        features = table.select(PER_FEATURE.keys()).drop_nulls("feature").iter_rows(named=True)
        return cls(**table.select(PER_TABLE.keys()).row(0, named=True), features=tuple(FeatureSkew(**row) for row in features))


def sample_answers(answers: pl.DataFrame, *, max_rows: int, seed: int) -> pl.DataFrame:
    """At most `max_rows` predictions, in the order of their moments."""
    if len(answers) > max_rows:
        # By the hash of the id and not by position, so that a growing log keeps its sample.
        answers = answers.sort(pl.col(KEY).hash(seed)).head(max_rows)
    return answers.sort(MOMENT, KEY)


def compare_features(
    served: pl.DataFrame, recomputed: pl.DataFrame, *, features: Sequence[str], relative: float, absolute: float
) -> Parity:
    """Both frames hold `prediction_id` and `features`, row by row; `served` has `event_timestamp`. Raises NotTheSameRows.

    Numbers agree when |a - b| <= max(relative * max(|a|, |b|), absolute); missing (null or NaN) agrees with missing.
    """
    for side, frame in ((SERVED, served), (RECOMPUTED, recomputed)):
        if missing := [name for name in (KEY, *features) if name not in frame.columns]:
            columns = ", ".join(frame.columns)
            raise NotTheSameRows(f"skew · the {side} frame lacks {', '.join(missing)}; it has {columns}. Add them.")
    if not served[KEY].equals(recomputed[KEY]):
        raise NotTheSameRows(
            f"skew · {len(served)} served and {len(recomputed)} recomputed rows; legal: the same {KEY}s in the same order. "
            "Recompute the rows that were served."
        )
    pairs = {name: _pair(served[name], recomputed[name], relative=relative, absolute=absolute) for name in features}
    differing = pl.DataFrame([pair[DIFFERS].alias(name) for name, pair in pairs.items()])
    return Parity(
        rows=len(served),
        differing_rows=len(differing.filter(pl.any_horizontal(pl.all()))) if pairs else 0,
        since=cast("datetime | None", served[MOMENT].min()),
        until=cast("datetime | None", served[MOMENT].max()),
        features=tuple(_skew(name, pair.with_columns(served[KEY])) for name, pair in pairs.items()),
    )


def _pair(served: pl.Series, recomputed: pl.Series, *, relative: float, absolute: float) -> pl.DataFrame:
    """Both values (numbers as Float64 without NaN, anything else as text), and whether they differ."""
    numeric = all(values.dtype.is_numeric() or values.dtype in (pl.Boolean(), pl.Null()) for values in (served, recomputed))
    pair = pl.DataFrame({SERVED: served, RECOMPUTED: recomputed}).cast(pl.Float64() if numeric else pl.String())
    a, b = pl.col(SERVED), pl.col(RECOMPUTED)
    agrees = a == b
    if numeric:
        pair = pair.fill_nan(None)
        bound = pl.max_horizontal(relative * pl.max_horizontal(a.abs(), b.abs()), pl.lit(absolute))
        agrees |= a.is_finite() & b.is_finite() & ((a - b).abs() <= bound)
    # Null when either is missing: both missing agree, one missing differs.
    return pair.with_columns((~agrees).fill_null(a.is_null() != b.is_null()).alias(DIFFERS))


def _skew(name: str, pair: pl.DataFrame) -> FeatureSkew:
    served, recomputed = pl.col(SERVED), pl.col(RECOMPUTED)
    # The difference of two equal infinities is 0 here, not NaN.
    difference = pl.when(served == recomputed).then(0.0).otherwise((served - recomputed).abs()).max()
    counts = pair.select(
        mismatches=pl.col(DIFFERS).sum(),
        largest_difference=difference if pair[SERVED].dtype.is_float() else None,
        missing_served=(served.is_null() & recomputed.is_not_null()).sum(),
        missing_recomputed=(served.is_not_null() & recomputed.is_null()).sum(),
    )
    examples = pair.filter(DIFFERS).head(MAX_EXAMPLES).select(KEY, SERVED, RECOMPUTED)
    return FeatureSkew(name, **counts.row(0, named=True), examples=tuple(examples.to_dicts()))
