"""Judges Fair: decisions that do not depend on the group of a row. Quality within each group is in every_slice.py."""

from typing import Any

import numpy as np
import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement
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
    """Measures the largest gap of a rate between two groups; fewer than two comparable groups are no pass.

    Raises ValueError when the rows lack the column.
    """
    counts = _decisions(gate, case)
    compared, skipped = _compared(gate, counts)
    evidence: dict[str, Any] = {"column": gate.column, "metric": gate.metric, "groups": {}}
    if compared["group"].n_unique() < 2:
        both = " of both classes" if gate.metric == "equalized_odds" else ""
        values = f"{counts['group'].n_unique()} values of {gate.column}"
        message = f"fewer than two of {values} have {gate.min_rows} rows{both}"
        return Measurement(passed=False, bound=gate.max_gap, message=message, advice="Widen split.test.", evidence=evidence)
    groups = group_rates(compared)
    ends = {rate: sorted(groups, key=lambda group: groups[group][rate]) for rate in RATES[gate.metric]}
    rate = max(ends, key=lambda one: groups[ends[one][-1]][one] - groups[ends[one][0]][one])
    lowest, highest = ends[rate][0], ends[rate][-1]
    gap = gap_interval(compared, gate.metric, seed=case.seed)
    passed = gap.value <= gate.max_gap
    message = f"{SHOWN[rate]} is {groups[highest][rate]:.3f} for {highest} and {groups[lowest][rate]:.3f} for {lowest}: "
    message += f"gap {gap} {'stays within' if passed else 'is above'} {gate.max_gap:.3f}. {skipped} skipped as too small"
    return Measurement(
        passed=passed,
        value=gap,
        bound=gate.max_gap,
        message=message,
        advice=f"Look at the rows of {highest} and {lowest}, and for inputs that stand in for {gate.column}.",
        evidence=evidence | {"rate": rate, "skipped": skipped, "groups": groups},
    )


def group_rates(counts: pl.DataFrame) -> dict[str, dict[str, float]]:
    """The `rows` of each group and its selection_rate, true_positive_rate, false_positive_rate.

    `counts` are `rows` by `group` (text), `truth` and `decision` (0 or 1).
    """
    names, cells = sorted(counts["group"].unique()), _cells(counts)
    columns = {"rows": cells.sum(axis=(1, 2))} | _rates(cells)
    return {group: {name: values[place].item() for name, values in columns.items()} for place, group in enumerate(names)}


def gap_interval(counts: pl.DataFrame, metric: str, *, seed: int, resamples: int = 1000) -> Interval:
    """The largest gap between two groups, with the percentile bootstrap's 95% interval; `counts` as for `group_rates`."""
    cells = _cells(counts)
    value, total = float(_gaps(cells[None], metric)[0]), cells.sum()
    # The gaps depend on the rows only through these counts, so one multinomial draw of them is one resample of the rows.
    drawn = np.random.default_rng(seed).multinomial(total, cells.ravel() / total, size=resamples)
    gaps = _gaps(drawn.reshape(resamples, *cells.shape), metric)
    # Resampling adds noise to each rate, which widens the gap: recentre the draws.
    low, high = np.quantile(np.clip(gaps - gaps.mean() + value, 0, 1), (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _cells(counts: pl.DataFrame) -> Array:
    """The counts as an array of shape (groups, truth, decision), groups in the order of their names."""
    group = counts["group"].rank("dense").to_numpy().astype(np.int64) - 1
    cells = np.zeros((int(group.max()) + 1, 2, 2), dtype=np.int64)
    cells[group, counts["truth"].to_numpy(), counts["decision"].to_numpy()] = counts["rows"].to_numpy()
    return cells


def _rates(cells: Array) -> dict[str, Array]:
    """Each rate of cells (..., groups, truth, decision), shape (..., groups); nan without rows to count."""
    yes, rows = cells[..., 1], cells.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        by_truth = yes / rows
        selected = yes.sum(axis=-1) / rows.sum(axis=-1)
    return {"selection_rate": selected, "true_positive_rate": by_truth[..., 1], "false_positive_rate": by_truth[..., 0]}


def _gaps(cells: Array, metric: str) -> Array:
    """The widest gap in each draw of counts, shape (draws, groups, truth, decision)."""
    rates = _rates(cells)
    return np.max([np.nanmax(rates[rate], axis=1) - np.nanmin(rates[rate], axis=1) for rate in RATES[metric]], axis=0)


def _decisions(gate: Fair, case: Case) -> pl.DataFrame:
    """Counts of the test rows by group, truth and decision; rows without a group are left out."""
    if gate.column not in case.rows.columns:
        columns = ", ".join(case.rows.columns)
        raise ValueError(
            f"{gate.name} · the training rows have no column {gate.column!r}; they have: {columns}. Add it to a feature view."
        )
    decision = (case.candidate >= case.use_case.threshold).astype(np.int64)
    group = case.rows[gate.column].cast(pl.String)
    rows = pl.DataFrame({"group": group, "truth": case.truth.astype(np.int64), "decision": decision})
    return rows.drop_nulls().group_by("group", "truth", "decision").agg(rows=pl.len()).sort("group", "truth", "decision")


def _compared(gate: Fair, counts: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The counts of the groups that are large enough, and how many groups are not; equalized odds need both classes."""
    rows, classes = pl.col("rows").sum().over("group"), pl.col("truth").n_unique().over("group")
    large = counts.filter(rows >= gate.min_rows, classes >= len(RATES[gate.metric]))
    return large, counts["group"].n_unique() - large["group"].n_unique()
