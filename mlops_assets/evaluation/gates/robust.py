"""Judges Robust: how much the metric falls on rows perturbed as faulty sources would."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement, side
from mlops_assets.spec.gate import LOWER_IS_BETTER, Robust
from mlops_assets.statistics.metrics import Array, Interval, compare, measure
from mlops_assets.training.fitted import TEST
from mlops_assets.training.signature import Signature

MOST_ROWS = 5000  # for the worst input, which takes one scoring per input
SIDE_CONFIDENCE = 0.975  # two one-sided bounds of it make an interval of 95%
UNSEEN = "never seen before"
SPANS_AWAY = 10  # an out-of-range number is this many widths of the known range outside of it: a wrong unit, a broken sensor
Draws = np.random.Generator


def judge(gate: Robust, case: Case) -> Measurement:
    """Measures the largest fall of the metric under a perturbation; inf where scores are illegal, nan where it is undefined."""
    metric = gate.metric or case.task.main_metric
    known, size = case.training_rows.filter(pl.col("split") != TEST), {"noise": gate.noise, "share": gate.missing}
    perturbed = perturb(case.rows, known, case.model.signature, seed=case.seed, **size)
    measured = {kind: _measure(metric, case, case.model.predict(rows)) for kind, rows in perturbed.items()}
    worst = max(measured, key=lambda kind: measured[kind]["drop"].value)
    drop: Interval = measured[worst]["drop"]
    culprit, alone = _worst_input(metric, case, perturbed[worst])
    return Measurement(
        passed=drop.value <= gate.max_drop,
        value=drop,
        bound=gate.max_drop,
        message=_message(metric, gate.max_drop, worst=worst, drop=drop, culprit=culprit),
        advice=f"Look at {culprit} under {worst}: bound it in its transform, train with such rows, or leave it out.",
        evidence={
            "metric": metric,
            "unperturbed": measure(metric, case.sample(case.candidate)),
            "perturbations": {kind: numbers | {"drop": vars(numbers["drop"])} for kind, numbers in measured.items()},
            "worst": worst,
            "worst_input": culprit,
            "worst_input_drop": alone,
        },
    )


def _measure(metric: str, case: Case, after: Array) -> dict[str, Any]:
    """The metric of the scores `after` a perturbation, its `drop` with interval, and how many scores are no probabilities."""
    if invalid := int((~case.task.are_legal(after)).sum()):
        return {metric: math.nan, "drop": Interval(math.inf, math.inf, math.inf), "illegal": invalid}
    gain = compare(
        metric, case.sample(after), case.sample(case.candidate), seed=case.seed, resamples=200, confidence=SIDE_CONFIDENCE
    )
    drop = Interval(-gain.difference, -gain.high, -gain.low)
    return {metric: measure(metric, case.sample(after)), "drop": drop, "illegal": 0}


def _worst_input(metric: str, case: Case, perturbed: pl.DataFrame) -> tuple[str, float]:
    """The input with the largest fall when it alone is perturbed as in `perturbed`, and that fall."""
    sample = np.random.default_rng(case.seed).permutation(len(case.rows))[:MOST_ROWS]
    rows, worse, truth = case.rows[sample], perturbed[sample], case.truth[sample]
    sign, before = -1 if metric in LOWER_IS_BETTER else 1, measure(metric, case.sample(case.candidate, sample))
    falls: dict[str, float] = {}
    for name in case.model.signature.inputs:
        if not worse[name].equals(rows[name]):
            after = case.model.predict(rows.with_columns(worse[name]))
            legal = case.task.are_legal(after).all()
            falls[name] = sign * (before - measure(metric, case.task.sample(truth, after))) if legal else math.inf
    return max(falls.items(), key=lambda fall: fall[1], default=("none", 0.0))


def _message(metric: str, max_drop: float, *, worst: str, drop: Interval, culprit: str) -> str:
    if math.isinf(drop.value):
        return f"under {worst} some scores are illegal"
    if math.isnan(drop.value):
        return f"{metric} is undefined on these rows (one class only)"
    which = f"which {side(drop.value, max_drop)} {max_drop:.3f}"
    return f"{metric} falls most under {worst}, by {drop}, {which}; most of it by {culprit}"


def perturb(
    rows: pl.DataFrame, known: pl.DataFrame, signature: Signature, *, noise: float, share: float, seed: int
) -> dict[str, pl.DataFrame]:
    """The rows under each of four perturbations of the inputs, with numbers as Float64 and categories as String.
    `noise` is in standard deviations of the `known` rows, `share` the part of each column's values that change.
    """
    numeric, categorical, count = signature.numeric, signature.categories, len(rows)
    spread = spread_of(known, numeric)
    rows = rows.cast(dict.fromkeys(numeric, pl.Float64) | dict.fromkeys(categorical, pl.String))  # pyright: ignore[reportArgumentType]

    def change(columns: Iterable[str], changed: Callable[[str, Draws], pl.Expr]) -> pl.DataFrame:
        # Each column has its own random stream, so that adding a column does not change the others.
        return rows.with_columns(changed(name, np.random.default_rng([seed, *name.encode()])) for name in columns)

    def noisy(name: str, draws: Draws) -> pl.Expr:
        return pl.col(name) + pl.Series(draws.normal(scale=noise * spread[name][0], size=count))

    def out_of_range(name: str, draws: Draws) -> pl.Expr:
        _, low, high = spread[name]
        away = SPANS_AWAY * ((high - low) or 1.0)
        return hit(name, draws, pl.Series(np.where(draws.random(count) < 0.5, high + away, low - away)))

    def hit(name: str, draws: Draws, value: pl.Series | str | None) -> pl.Expr:
        return pl.when(pl.Series(draws.random(count) < share)).then(pl.lit(value)).otherwise(name).alias(name)

    return {
        "noise": change(spread, noisy),
        "missing values": change(signature.inputs, partial(hit, value=None)),
        "unseen categories": change(categorical, partial(hit, value=UNSEEN)),
        "out of range": change(spread, out_of_range),
    }


def spread_of(known: pl.DataFrame, numeric: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Standard deviation, lowest and highest of the finite values of each column that has any."""
    columns = (known[name].cast(pl.Float64) for name in numeric)
    values = {column.name: column.filter(column.is_finite()).to_numpy() for column in columns}
    return {name: (float(some.std()), float(some.min()), float(some.max())) for name, some in values.items() if len(some)}
