"""Drift of the served inputs against the champion's training window. Imports matplotlib, and Evidently for a page."""

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import polars as pl

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.monitor_result import MonitorResult, constant_answers, too_few
from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics import plots
from mlops_assets.statistics.drift import ColumnDrift, compare_profiles
from mlops_assets.statistics.profile import ColumnProfile, NumericProfile, profile_like, profiles_from_json
from mlops_assets.statistics.variation import bounds_from
from mlops_assets.tasks.task import Task

SHOWN = 4  # drifted inputs in a sentence


class TrainingWindow(NamedTuple):
    """The log of the champion's training: profiles of its inputs, and a sample of its rows. `losses` are what its main metric
    loses when an input is shuffled; empty for a version whose evaluation is not stored. `periods` are the counts by which its
    windows are compared with one another; None for a version without them.
    """

    version: int
    profiles: dict[str, ColumnProfile]
    sample: pl.DataFrame
    losses: Mapping[str, float | None] = MappingProxyType({})
    periods: pl.DataFrame | None = None

    @classmethod
    def from_artifacts(
        cls, version: int, profiles: bytes, sample: bytes, *, evaluation: bytes | None, periods: bytes | None
    ) -> Self:
        importance: list[list[Any]] = json.loads(evaluation)["importance"] if evaluation else []
        losses = {name: loss for name, loss, *_bounds in importance}  # each is an Importance, of which JSON keeps the values
        counted = pl.read_parquet(BytesIO(periods)) if periods else None
        return cls(version, profiles_from_json(profiles.decode()), pl.read_parquet(BytesIO(sample)), losses, counted)

    def importance(self) -> dict[str, float]:
        """The share of each input in all losses; the same for all where none is known, or none is a loss."""
        losses = {name: max(self.losses.get(name) or 0.0, 0.0) for name in self.profiles}
        total = sum(losses.values())
        return {name: loss / total if total else 1 / len(losses) for name, loss in losses.items()}


def monitor_drift(
    spec: Drift, recent: pl.DataFrame, read_window: Callable[[], TrainingWindow] | None, *, task: Task[Any], seed: int
) -> MonitorResult:
    """Compares profiles of `recent` with those of the champion's training window."""
    if read_window is None or len(recent) < spec.min_rows:
        return too_few(len(recent), spec.min_rows, "served requests")
    if constant := constant_answers(task, recent):
        return constant
    window = read_window()
    profiles = {name: profile for name, profile in window.profiles.items() if name in recent.columns}
    gone = sorted(window.profiles.keys() - profiles.keys())
    left_out = f" Not compared, as the log no longer has them: {some(gone)}." if gone else ""
    if not profiles:
        nothing = f"No input of version {window.version} can be compared.{left_out}"
        return MonitorResult(Verdict.ALARM, nothing, {"rows": len(recent)})
    bounds = {} if window.periods is None else bounds_from(window.periods, profiles, spec)
    compared = compare_profiles(profiles, profile_like(profiles, recent), spec, bounds)
    return _result(spec, window, recent, compared, left_out=left_out, seed=seed)


def _result(
    spec: Drift, window: TrainingWindow, recent: pl.DataFrame, compared: Sequence[ColumnDrift], *, left_out: str, seed: int
) -> MonitorResult:
    from mlops_assets.evaluation.report import drift_report  # here, as Evidently takes 3 s of CPU

    importance, columns = window.importance(), sorted(compared, key=lambda one: (-one.drifted, -one.excess, one.name))
    drifted = [column.name for column in columns if column.drifted]
    carried = sum(importance[name] for name in drifted)
    worst = f": {some([_evidence(column, spec) for column in columns if column.drifted], SHOWN)}" if drifted else ""
    carry = f", which carry {carried:.0%} of the importance" if drifted and any(window.losses.values()) else ""
    found = f"{len(drifted)} of {len(columns)} inputs have drifted from version {window.version}'s training window"
    rows = [_row(column, importance[column.name]) for column in columns]
    figures = {"drifted_share": len(drifted) / len(columns), "drifted_importance": carried}
    inputs = _by_kind({column.name: window.profiles[column.name] for column in columns})
    return MonitorResult(
        Verdict.healthy_if(not drifted),
        f"{found}{carry}{worst}.{left_out}",
        {"rows": len(recent), **figures, "max_psi": max(column.psi for column in columns)},
        {"drifted": rows[: len(drifted)], "columns": rows},
        {"psi": plots.drift_bars(columns)},
        drift_report(window.sample, recent, **inputs, drifted=drifted, seed=seed),
        reason_to_train=carried,
        symptoms=drifted,
        lines=("PSI of each input", {column.name: column.psi for column in columns}),
    )


def _row(column: ColumnDrift, importance: float) -> dict[str, Any]:
    return column._asdict() | {"changed": " and ".join(column.changed), "importance": importance}


def _evidence(column: ColumnDrift, spec: Drift) -> str:
    """Such as `temp (values: PSI 6.45, at most 0.25)`."""
    texts = {
        "values": f"PSI {column.psi:.2f}, at most {column.max_psi:.4g}",
        "new values": f"{column.new_share:.1%}, at most {spec.max_new_share:.1%}",
        "missing values": f"{column.missing_change:+.1%}, at most {spec.max_missing_change:.1%}",
    }
    return f"{column.name} ({'; '.join(f'{subject}: {texts[subject]}' for subject in column.changed)})"


def _by_kind(profiles: dict[str, ColumnProfile]) -> dict[str, list[str]]:
    """As the version was trained, whatever is declared by now."""
    numeric = [name for name, profile in profiles.items() if isinstance(profile, NumericProfile)]
    return {"numeric": numeric, "categorical": [name for name in profiles if name not in numeric]}
