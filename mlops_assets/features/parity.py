"""Training/serving skew: the features that answers used, compared with those recomputed from the tables for the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP, PREDICTION_ID

KEY, MOMENT = PREDICTION_ID, EVENT_TIMESTAMP
MAX_EXAMPLES = 5
SERVED, RECOMPUTED, DIFFERS = "served", "recomputed", "differs"
PER_FEATURE = {
    "feature": pl.String(),
    "mismatches": pl.Int64(),
    "largest_difference": pl.Float64(),
    "missing_served": pl.Int64(),
    "missing_recomputed": pl.Int64(),
}
PER_TABLE = {
    "rows": pl.Int64(),
    "differing_rows": pl.Int64(),
    "since": pl.Datetime("us", "UTC"),
    "until": pl.Datetime("us", "UTC"),
}
EVIDENCE = pl.Schema(PER_FEATURE | PER_TABLE)


class NotTheSameRows(ValueError):
    """The two frames cannot be compared row by row."""


@dataclass(frozen=True)
class FeatureSkew:
    """One feature over all compared rows. `missing_served`: no value was served where one is recomputed; and the reverse.

    `largest_difference` is absolute, tolerated differences included; None for text and where no row has both values.
    `examples` are the first mismatches, {prediction_id, served, recomputed}.
    """

    feature: str
    mismatches: int
    largest_difference: float | None
    missing_served: int
    missing_recomputed: int
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Parity:
    """The comparison of `rows` answers with prediction moments from `since` to `until` (None without rows).

    `differing_rows` counts the answers that used at least one feature which is recomputed differently.
    """

    rows: int
    differing_rows: int
    since: datetime | None
    until: datetime | None
    features: tuple[FeatureSkew, ...]

    @property
    def mismatch_rate(self) -> float:
        """Share of answers with any mismatch: never below the rate of a single feature, so that no feature is averaged away."""
        return self.differing_rows / self.rows if self.rows else 0.0

    @property
    def mismatched(self) -> list[FeatureSkew]:
        """The features with a mismatch, the worst first."""
        return sorted((feature for feature in self.features if feature.mismatches), key=lambda feature: -feature.mismatches)

    def rate(self, feature: FeatureSkew) -> float:
        return feature.mismatches / self.rows if self.rows else 0.0

    def sentence(self, max_mismatch_rate: float) -> str:
        """The mismatch rate against its bound, over which answers, and the worst features."""
        side = "within" if self.mismatch_rate <= max_mismatch_rate else "above"
        answers = f"{self.rows:,} answers from {self.since:%Y-%m-%d} to {self.until:%Y-%m-%d}"
        rate = f"{self.mismatch_rate:.2%} of {answers} used features now recomputed differently, {side} {max_mismatch_rate:.2%}"
        worst = ", ".join(f"{feature.feature} ({self.rate(feature):.2%})" for feature in self.mismatched[:4])
        return f"{rate}: {worst}." if worst else f"{rate}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able evidence: how many answers of which window, and which features."""
        return {
            "rows": self.rows,
            "differing_rows": self.differing_rows,
            "since": str(self.since),
            "until": str(self.until),
            "mismatch_rates": {feature.feature: self.rate(feature) for feature in self.mismatched},
        }

    def to_table(self) -> pl.DataFrame:
        """One row per feature, without examples; the counts of the whole comparison repeat on every row."""
        rows = [{name: (vars(self) | vars(feature))[name] for name in EVIDENCE} for feature in self.features]
        return pl.DataFrame(rows, schema=EVIDENCE)

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> Self:
        """The inverse of `to_table`; a table without rows is a comparison of nothing."""
        if table.is_empty():
            return cls(0, 0, None, None, ())
        features = table.select(PER_FEATURE.keys()).iter_rows(named=True)
        return cls(**table.select(PER_TABLE.keys()).row(0, named=True), features=tuple(FeatureSkew(**row) for row in features))


def sample_answers(answers: pl.DataFrame, *, max_rows: int, seed: int) -> pl.DataFrame:
    """The `max_rows` answers whose id hashes lowest, in the order of their moments.

    The choice depends on ids and not on positions, so that a log which grows keeps its sample.
    """
    if len(answers) > max_rows:
        answers = answers.sort(pl.col(KEY).hash(seed)).head(max_rows)
    return answers.sort(MOMENT, KEY)


def compare_features(
    served: pl.DataFrame,
    recomputed: pl.DataFrame,
    *,
    features: Sequence[str],
    relative: float,
    absolute: float,
    max_examples: int = MAX_EXAMPLES,
) -> Parity:
    """Both frames hold `prediction_id` and `features`, row by row; `served` has `event_timestamp`. Raises NotTheSameRows.

    Numbers agree when |a - b| <= max(relative * max(|a|, |b|), absolute); missing (null or NaN) agrees with missing.
    """
    _require_same_rows(served, recomputed, features)
    pairs = [_pair(served, recomputed, name, relative=relative, absolute=absolute) for name in features]
    differing = pl.DataFrame([pair[DIFFERS].alias(str(at)) for at, pair in enumerate(pairs)])
    return Parity(
        rows=len(served),
        differing_rows=len(differing.filter(pl.any_horizontal(pl.all()))) if pairs else 0,
        since=cast("datetime | None", served[MOMENT].min()),
        until=cast("datetime | None", served[MOMENT].max()),
        features=tuple(_skew(name, pair, max_examples) for name, pair in zip(features, pairs, strict=True)),
    )


def _require_same_rows(served: pl.DataFrame, recomputed: pl.DataFrame, features: Sequence[str]) -> None:
    for side, frame in ((SERVED, served), (RECOMPUTED, recomputed)):
        if missing := [name for name in (KEY, *features) if name not in frame.columns]:
            columns = ", ".join(frame.columns)
            raise NotTheSameRows(f"skew · the {side} frame lacks {', '.join(missing)}; it has {columns}. Add them.")
    if not served[KEY].equals(recomputed[KEY]):
        raise NotTheSameRows(
            f"skew · {len(served)} served and {len(recomputed)} recomputed rows; legal: the same {KEY}s in the same order. "
            "Recompute the rows that were served."
        )


def _pair(served: pl.DataFrame, recomputed: pl.DataFrame, name: str, *, relative: float, absolute: float) -> pl.DataFrame:
    """Key, both values in one type, and whether they differ."""
    one, two = served[name], recomputed[name]
    numeric = _is_number(one.dtype) and _is_number(two.dtype)
    pair = pl.DataFrame({KEY: served[KEY], SERVED: _plain(one, numeric), RECOMPUTED: _plain(two, numeric)})
    a, b = pl.col(SERVED), pl.col(RECOMPUTED)
    agrees = a == b
    if numeric:
        bound = pl.max_horizontal(relative * pl.max_horizontal(a.abs(), b.abs()), pl.lit(absolute))
        agrees |= a.is_finite() & b.is_finite() & ((a - b).abs() <= bound)
    # Null when either is missing: both missing agree, one missing differs.
    return pair.with_columns((~agrees).fill_null(a.is_null() != b.is_null()).alias(DIFFERS))


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype in (pl.Boolean(), pl.Null())


def _plain(values: pl.Series, numeric: bool) -> pl.Series:
    """Numbers as Float64 without NaN; anything else as text."""
    return values.cast(pl.Float64).fill_nan(None) if numeric else values.cast(pl.String)


def _skew(name: str, pair: pl.DataFrame, max_examples: int) -> FeatureSkew:
    served, recomputed = pair[SERVED], pair[RECOMPUTED]
    wrong = pair.filter(DIFFERS)
    return FeatureSkew(
        feature=name,
        mismatches=len(wrong),
        largest_difference=_largest_difference(pair) if served.dtype.is_float() else None,
        missing_served=int((served.is_null() & recomputed.is_not_null()).sum()),
        missing_recomputed=int((served.is_not_null() & recomputed.is_null()).sum()),
        examples=tuple(wrong.select(KEY, SERVED, RECOMPUTED).head(max_examples).to_dicts()),
    )


def _largest_difference(pair: pl.DataFrame) -> float | None:
    a, b = pl.col(SERVED), pl.col(RECOMPUTED)
    # The difference of two equal infinities is 0 here, not NaN.
    return pair.select(pl.when(a == b).then(0.0).otherwise((a - b).abs()).max()).item()
