"""Judges Fair: decisions that do not depend on the group of a row. Quality within each group is in every_slice.py."""

from typing import Any

import numpy as np
import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement, side
from mlops_assets.spec.gate import Fair
from mlops_assets.statistics.metrics import Array, Interval

# The rates whose largest gap between two groups is the metric; see fairlearn.metrics.equalized_odds_difference.
RATES = {"demographic_parity": ("selection_rate",), "equalized_odds": ("true_positive_rate", "false_positive_rate")}
SHOWN = {
    "selection_rate": "share decided yes",
    "true_positive_rate": "share decided yes among the positive",
    "false_positive_rate": "share decided yes among the negative",
}


def judge(gate: Fair, case: Case) -> Measurement:
    """Measures the largest gap of a rate between two groups; fewer than two comparable groups are no pass."""
    if gate.column not in case.rows.columns:
        has = ", ".join(case.rows.columns)
        raise ValueError(f"{gate.name} · the rows have no column {gate.column!r}; they have: {has}. Add it to a feature view.")
    names, every = count_decisions(case.rows[gate.column], case.truth, case.task.decisions(case.candidate))
    # Equalized odds need both classes.
    classes = (every.sum(axis=2) > 0).sum(axis=1)
    large = (every.sum(axis=(1, 2)) >= gate.min_rows) & (classes >= len(RATES[gate.metric]))
    names, cells, skipped = [str(name) for name in names[large]], every[large], int((~large).sum())
    evidence: dict[str, Any] = {"column": gate.column, "metric": gate.metric, "groups": {}}
    if len(names) < 2:
        both = " of both classes" if gate.metric == "equalized_odds" else ""
        message = f"fewer than two of {len(every)} values of {gate.column} have {gate.min_rows} rows{both}"
        advice = "Widen split.test."
        return Measurement(passed=False, bound=gate.max_gap, message=message, advice=advice, evidence=evidence, lacks_data=True)
    rates = group_rates(cells)
    rate = max(RATES[gate.metric], key=lambda name: np.ptp(rates[name]))
    lowest, highest = int(rates[rate].argmin()), int(rates[rate].argmax())
    gap = gap_interval(cells, gate.metric, seed=case.seed)
    ends = " and ".join(f"{rates[rate][place]:.3f} for {names[place]}" for place in (highest, lowest))
    inside = f"gap {gap} {side(gap.value, gate.max_gap)} {gate.max_gap:.3f}"
    columns = {"rows": cells.sum(axis=(1, 2)), **rates}
    groups = {name: {key: values[place].item() for key, values in columns.items()} for place, name in enumerate(names)}
    return Measurement(
        passed=gap.value <= gate.max_gap,
        value=gap,
        bound=gate.max_gap,
        message=f"{SHOWN[rate]} is {ends}: {inside}. {skipped} skipped as too small",
        advice=f"Look at the rows of {names[highest]} and {names[lowest]}, and for inputs that stand in for {gate.column}.",
        evidence=evidence | {"rate": rate, "skipped": skipped, "groups": groups},
    )


def count_decisions(groups: pl.Series, truth: Array, decision: Array) -> tuple[Array, Array]:
    """The names of the groups in order, and the rows of each as (groups, truth, decision); rows without a group are left out."""
    known = groups.is_not_null().to_numpy()
    names, group = np.unique(groups.cast(pl.String).drop_nulls().to_list(), return_inverse=True)
    cells = np.zeros((len(names), 2, 2), dtype=np.int64)
    np.add.at(cells, (group, truth[known].astype(np.int64), decision[known].astype(np.int64)), 1)
    return names, cells


def group_rates(cells: Array) -> dict[str, Array]:
    """Each rate of cells (..., groups, truth, decision), shape (..., groups); nan without rows to count."""
    yes, rows = cells[..., 1], cells.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        by_truth = yes / rows
        selected = yes.sum(axis=-1) / rows.sum(axis=-1)
    return {"selection_rate": selected, "true_positive_rate": by_truth[..., 1], "false_positive_rate": by_truth[..., 0]}


def gap_interval(cells: Array, metric: str, *, seed: int, resamples: int = 1000) -> Interval:
    """The largest gap between two groups, with the percentile bootstrap's 95% interval; `cells` as from `count_decisions`."""
    value, total = float(_gaps(cells[None], metric)[0]), cells.sum()
    # The gaps depend on the rows only through these counts, so one multinomial draw of them is one resample of the rows.
    drawn = np.random.default_rng(seed).multinomial(total, cells.ravel() / total, size=resamples)
    gaps = _gaps(drawn.reshape(resamples, *cells.shape), metric)
    # Resampling adds noise to each rate, which widens the gap: recentre the draws.
    low, high = np.quantile(np.clip(gaps - gaps.mean() + value, 0, 1), (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _gaps(cells: Array, metric: str) -> Array:
    """The widest gap in each draw of counts, shape (draws, groups, truth, decision)."""
    rates = group_rates(cells)
    return np.max([np.nanmax(rates[rate], axis=1) - np.nanmin(rates[rate], axis=1) for rate in RATES[metric]], axis=0)
