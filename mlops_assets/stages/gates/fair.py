"""Judging Fair: decisions that do not depend on which group a row belongs to. Opens fairlearn.

Belongs here: the gaps between groups and their interval. Not here: the word (spec/gate.py) and quality within each group
(every_slice.py).
"""

from typing import Any, cast

import numpy as np
import polars as pl

from mlops_assets.spec.gate import Fair
from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import sentence
from mlops_assets.stages.metrics import Array, Interval

RATES = {"demographic_parity": ("selection_rate",), "equalized_odds": ("true_positive_rate", "false_positive_rate")}
"""The rates whose largest gap between two groups is the metric; see fairlearn.metrics.equalized_odds_difference."""
SHOWN = {
    "selection_rate": "share decided yes",
    "true_positive_rate": "share decided yes among the positive",
    "false_positive_rate": "share decided yes among the negative",
}
RESAMPLES = 1000
Rates = dict[str, dict[str, float]]


def judge_fair(gate: Fair, name: str, case: Case) -> Verdict:
    """`measured` is the largest gap of a rate between two groups, nan where fewer than two can be compared.

    Raises ValueError when the rows lack the column.
    """
    counts = _decisions(gate, name, case)
    compared, skipped = _compared(gate, counts)
    if compared["group"].n_unique() < 2:
        return _incomparable(gate, name, counts)
    rates = group_rates(compared)
    rate, lowest, highest = _widest(rates, gate)
    found = gap_interval(compared, gate.metric, seed=case.seed)
    passed = found.value <= gate.max_gap
    said = f"{SHOWN[rate]} is {rates[highest][rate]:.3f} for {highest} and {rates[lowest][rate]:.3f} for {lowest}: "
    said += f"gap {found} {'stays within' if passed else 'is above'} {gate.max_gap:.3f}. {skipped} skipped as too small"
    advice = f"Look at the rows of {highest} and {lowest}, and for inputs that stand in for {gate.column}."
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        low=found.low,
        high=found.high,
        bound=gate.max_gap,
        message=sentence(name, said, passed=passed, advice=advice),
        evidence=plain({"column": gate.column, "metric": gate.metric, "rate": rate, "skipped": skipped, "groups": rates}),
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
    return {group: {"rows": rows[group], **found} for group, found in sorted(by_group.items())}


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


def _decisions(gate: Fair, name: str, case: Case) -> pl.DataFrame:
    """Counts of the test rows by group, truth and decision; those whose group is not known belong to none."""
    if gate.column not in case.rows.columns:
        held = ", ".join(case.rows.columns)
        raise ValueError(
            f"{name} · the training rows have no column {gate.column!r}; they have: {held}. Add it to a feature view."
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


def _incomparable(gate: Fair, name: str, counts: pl.DataFrame) -> Verdict:
    values = counts["group"].n_unique()
    both = " of both classes" if gate.metric == "equalized_odds" else ""
    said = f"fewer than two of {values} values of {gate.column} have {gate.min_rows} rows{both}"
    return Verdict(
        gate=name,
        passed=False,
        bound=gate.max_gap,
        message=sentence(name, said, passed=False, advice="Widen split.test."),
        evidence={"column": gate.column, "metric": gate.metric, "groups": {}},
    )
