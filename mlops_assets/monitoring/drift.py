"""Drift of the served inputs against the champion's training window. Imports matplotlib, and Evidently for a page."""

from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple, Self

import polars as pl

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.monitor_result import MonitorResult, constant_answers, too_few
from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics import plots
from mlops_assets.statistics.drift import compare_profiles
from mlops_assets.statistics.profile import ColumnProfile, NumericProfile, profile_like, profiles_from_json
from mlops_assets.tasks.task import Task


class TrainingWindow(NamedTuple):
    """The log of the champion's training: profiles of its inputs, and a sample of its rows."""

    version: int
    profiles: dict[str, ColumnProfile]
    sample: pl.DataFrame

    @classmethod
    def from_artifacts(cls, version: int, profiles: bytes, sample: bytes) -> Self:
        return cls(version, profiles_from_json(profiles.decode()), pl.read_parquet(BytesIO(sample)))


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
    gone = some(sorted(window.profiles.keys() - profiles.keys()))
    left_out = "" if gone == "none" else f" Not compared, as the log no longer has them: {gone}."
    if not profiles:
        return MonitorResult(
            Verdict.ALARM, f"No input of version {window.version} can be compared.{left_out}", {"rows": len(recent)}
        )
    from mlops_assets.evaluation.report import drift_report  # here, as Evidently takes 3 s of CPU

    compared = compare_profiles(profiles, profile_like(profiles, recent), spec)
    columns = sorted(compared, key=lambda column: -column.psi)
    drifted = [column.name for column in columns if column.drifted]
    share, worst = len(drifted) / len(columns), f": {', '.join(drifted[:4])}" if drifted else ""
    found = f"{len(drifted)} of {len(columns)} inputs have drifted from version {window.version}'s training window"
    return MonitorResult(
        Verdict.healthy_if(share <= spec.max_share),
        f"{found} (at most {spec.max_share:.0%} may){worst}.{left_out}",
        {"rows": len(recent), "drifted_share": share, "max_psi": columns[0].psi},
        {"columns": [column._asdict() | {"changed": " and ".join(column.changed)} for column in columns]},
        {"psi": plots.drift_bars(columns, spec.max_psi)},
        drift_report(
            window.sample, recent, **_by_kind(profiles), drifted=drifted, max_share=spec.max_share, seed=seed,
        ),
    )  # fmt: skip


def _by_kind(profiles: dict[str, ColumnProfile]) -> dict[str, list[str]]:
    """As the version was trained, whatever is declared by now."""
    numeric = [name for name, profile in profiles.items() if isinstance(profile, NumericProfile)]
    return {"numeric": numeric, "categorical": [name for name in profiles if name not in numeric]}
