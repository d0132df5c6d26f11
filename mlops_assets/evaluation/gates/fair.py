"""Judges Fair: decisions that do not depend on which group a row belongs to. Imports fairlearn in a function.

Quality within each group is in every_slice.py.
"""

from typing import Any, cast

import numpy as np
import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.spec.gate import Fair
from mlops_assets.statistics.metrics import Array, Interval

RATES = {"demographic_parity": ("selection_rate",), "equalized_odds": ("true_positive_rate", "false_positive_rate")}
"""The rates whose largest gap between two groups is the metric; see fairlearn.metrics.equalized_odds_difference."""
SHOWN = {
    "selection_rate": "share decided yes",
    "true_positive_rate": "share decided yes among the positive",
    "false_positive_rate": "share decided yes among the negative",
}
RESAMPLES = 1000
Rates = dict[str, dict[str, float]]


def judge(gate: Fair, case: Case) -> Measurement:
    """Measures the largest gap of a rate between two groups; fewer than two comparable groups are no pass.

    Raises ValueError when the rows lack the column.
    """
    counts = _decisions(gate, case)
    compared, skipped = _compared(gate, counts)
    if compared["group"].n_unique() < 2:
        return _incomparable(gate, counts["group"].n_unique())
    rates = group_rates(compared)
    rate, lowest, highest = _widest(rates, gate)
    gap = gap_interval(compared, gate.metric, seed=case.seed)
    passed = gap.value <= gate.max_gap
    message = f"{SHOWN[rate]} is {rates[highest][rate]:.3f} for {highest} and {rates[lowest][rate]:.3f} for {lowest}: "
    message += f"gap {gap} {'stays within' if passed else 'is above'} {gate.max_gap:.3f}. {skipped} skipped as too small"
    return Measurement(
        passed=passed,
        value=gap,
        bound=gate.max_gap,
        message=message,
        advice=f"Look at the rows of {highest} and {lowest}, and for inputs that stand in for {gate.column}.",
        evidence={"column": gate.column, "metric": gate.metric, "rate": rate, "skipped": skipped, "groups": rates},
    )


def group_rates(counts: pl.DataFrame) -> Rates:
    """fairlearn's rates of each group: selection_rate, true_positive_rate, false_positive_rate; and its `rows`.

    `counts` are `rows` by `group` (text), `truth` and `decision` (0 or 1). They go in as weights: fairlearn takes a second
    for each 70,000 single rows, and no time for their counts.
    """
    from fairlearn import metrics

    truth, decision, weight = (counts[name].to_numpy() for name in ("truth", "decision", "rows"))
    frame = metrics.MetricFrame(
        metrics={rate: getattr(metrics, rate) for rate in SHOWN},
        y_true=truth,
        y_pred=decision,
        sensitive_features=counts["group"].to_numpy(),
        sample_params={rate: {"sample_weight": weight} for rate in SHOWN},
    )
    by_group = cast(dict[str, dict[str, float]], cast(Any, frame.by_group).to_dict("index"))
    rows = dict(counts.group_by("group").agg(pl.col("rows").sum()).iter_rows())
    return {group: {"rows": rows[group], **of_group} for group, of_group in sorted(by_group.items())}


def gap_interval(counts: pl.DataFrame, metric: str, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The largest gap between two groups, with the percentile bootstrap's 95% interval; `counts` as for `group_rates`.

    The gaps depend on the rows only through these counts, so one multinomial draw of them is one resample of the rows.
    Resampling adds noise to each rate, which widens the gap by itself; the draws are therefore recentred.
    """
    cells = _cells(counts)
    value, total = float(_gaps(cells[None].astype(np.float64), metric)[0]), cells.sum()
    drawn = np.random.default_rng(seed).multinomial(total, cells.ravel() / total, size=resamples)
    gaps = _gaps(drawn.reshape(resamples, *cells.shape).astype(np.float64), metric)
    low, high = np.quantile(np.clip(gaps - gaps.mean() + value, 0, 1), (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _cells(counts: pl.DataFrame) -> Array:
    """The counts as an array of shape (groups, truth, decision)."""
    group = counts["group"].rank("dense").to_numpy().astype(np.int64) - 1
    cells = np.zeros((int(group.max()) + 1, 2, 2), dtype=np.int64)
    cells[group, counts["truth"].to_numpy(), counts["decision"].to_numpy()] = counts["rows"].to_numpy()
    return cells


def _gaps(cells: Array, metric: str) -> Array:
    """The widest gap in each draw of counts, shape (draws, groups, truth, decision); a group without rows has no rate."""
    counted = cells.sum(axis=2, keepdims=True) if metric == "demographic_parity" else cells
    with np.errstate(invalid="ignore"):
        rates = counted[..., 1] / counted.sum(axis=-1)
    return (np.nanmax(rates, axis=1) - np.nanmin(rates, axis=1)).max(axis=-1)


def _decisions(gate: Fair, case: Case) -> pl.DataFrame:
    """Counts of the test rows by group, truth and decision; rows without a group are left out."""
    if gate.column not in case.rows.columns:
        columns = ", ".join(case.rows.columns)
        raise ValueError(
            f"{gate.name} · the training rows have no column {gate.column!r}; they have: {columns}. Add it to a feature view."
        )
    rows = pl.DataFrame(
        {
            "group": case.rows[gate.column].cast(pl.String),
            "truth": case.truth.astype(np.int64),
            "decision": (case.candidate >= case.use_case.threshold).astype(np.int64),
        }
    )
    return rows.drop_nulls().group_by("group", "truth", "decision").agg(rows=pl.len()).sort("group", "truth", "decision")


def _compared(gate: Fair, counts: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The counts of the groups that are large enough, and how many groups are not; equalized odds need both classes."""
    rows, classes = pl.col("rows").sum().over("group"), pl.col("truth").n_unique().over("group")
    large = counts.filter(rows >= gate.min_rows, classes >= len(RATES[gate.metric]))
    return large, counts["group"].n_unique() - large["group"].n_unique()


def _widest(rates: Rates, gate: Fair) -> tuple[str, str, str]:
    """The rate with the largest gap, and the groups at its two ends."""
    ends = {rate: sorted(rates, key=lambda group: rates[group][rate]) for rate in RATES[gate.metric]}
    rate = max(ends, key=lambda one: rates[ends[one][-1]][one] - rates[ends[one][0]][one])
    return rate, ends[rate][0], ends[rate][-1]


def _incomparable(gate: Fair, values: int) -> Measurement:
    both = " of both classes" if gate.metric == "equalized_odds" else ""
    return Measurement(
        passed=False,
        bound=gate.max_gap,
        message=f"fewer than two of {values} values of {gate.column} have {gate.min_rows} rows{both}",
        advice="Widen split.test.",
        evidence={"column": gate.column, "metric": gate.metric, "groups": {}},
    )
