"""Drift of the served inputs against the champion's training window. Opens matplotlib and Evidently.

Belongs here: fetching the reference and saying what moved. Not here: the statistics (stages/drift.py).
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets import names
from mlops_assets.graph.asset_metadata import rows_as_table
from mlops_assets.graph.seen import Seen
from mlops_assets.ports.deployment import Plan
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages import plots
from mlops_assets.stages.drift import ColumnDrift, compare_profiles, drift_share
from mlops_assets.stages.profile import profile_like, profiles_from_json
from mlops_assets.stages.report import drift_report
from mlops_assets.stages.train_and_track import PROFILES, SAMPLE


def watch_drift(use_case: UseCase, spec: Drift, recent: pl.DataFrame, plan: Plan | None, *, resources: Any, seed: int) -> Seen:
    """Compares profiles of `recent` with those logged when the champion was trained. Passes while there is too little to tell."""
    if plan is None or len(recent) < spec.min_rows:
        said = f"{len(recent)} answered requests in the window; {spec.min_rows} are needed to tell."
        return Seen(True, said, {"rows": len(recent)})
    registry, model = resources.registry, names.registered_model(use_case.name)
    reference = profiles_from_json(registry.artifact(model, plan.champion, PROFILES).decode())
    columns = compare_profiles(reference, profile_like(reference, recent), spec)
    sample = pl.read_parquet(BytesIO(registry.artifact(model, plan.champion, SAMPLE)))
    page = resources.reports / use_case.name / "drift.html"
    share = drift_share(columns)
    moved = sorted((column for column in columns if column.drifted), key=lambda column: -column.psi)
    drifted = [column.name for column in moved]
    features = use_case.features
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(
        drift_report(
            sample, recent, numeric=features.numeric, categorical=features.categorical,
            drifted=drifted, max_share=spec.max_share, seed=seed,
        )
    )  # fmt: skip
    message = f"{len(moved)} of {len(columns)} inputs have drifted from version {plan.champion}'s training window"
    named = f": {', '.join(drifted[:4])}" if moved else ""
    message = f"{message} (at most {spec.max_share:.0%} may){named}."
    return Seen(share <= spec.max_share, message, {"rows": len(recent)} | _said(columns, share, spec, page))


def _said(columns: list[ColumnDrift], share: float, spec: Drift, report: Path) -> dict[str, Any]:
    picture = plots.drift_bars(columns, spec.max_psi)
    return {
        "drifted_share": share,
        "max_psi": max(column.psi for column in columns),
        "columns": rows_as_table(vars(column) for column in sorted(columns, key=lambda column: -column.psi)),
        "plot_psi": dg.MetadataValue.md(plots.as_markdown(picture, "PSI by input")),
        "report": dg.MetadataValue.path(report),
    }
