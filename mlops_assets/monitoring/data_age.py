"""How old the features were that the answers used. Imports matplotlib."""

from typing import Any

import polars as pl

from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.names import FEATURE_AGE_S
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.monitor_result import MonitorResult, too_few
from mlops_assets.spec.monitor import DataAge
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics import plots

SHOWN = (0.5, 0.9, 0.99)
HOUR_S = 3600


def monitor(spec: DataAge, rows: pl.DataFrame, *, use_case: UseCase, champion: int | None, seed: int) -> MonitorResult:
    """Answers whose features the caller sent do not count, and in a view not those for whose entity it has nothing."""
    looked_up, max_hours = rows.filter(pl.col("features_from") != "request"), spec.max_age.total_seconds() / HOUR_S
    if len(looked_up) < spec.min_rows:
        return too_few(len(looked_up), spec.min_rows, "answers with looked-up features")
    views = (view.name for view in use_case.features.views)
    hours = {view: looked_up[FEATURE_AGE_S].struct.field(view).drop_nulls() / HOUR_S for view in views}
    described = (_describe(view, ages, max_hours, len(looked_up)) for view, ages in hours.items())
    table = sorted(described, key=lambda row: row["in_time"])
    late, least = [row for row in table if row["in_time"] < spec.min_share], table[0]["in_time"]
    bound = f"values of at most {in_words(spec.max_age)} (at least {spec.min_share:.1%} must)"
    shares = ", ".join(f"{row['in_time']:.1%} of {row['view']}" for row in late) or f"{least:.1%} or more in every view"
    remedy = " Look whether files land (due_files_landed), and at the runs of these views." if late else ""
    return MonitorResult(
        Verdict.healthy_if(not late),
        f"Of the {len(looked_up):,} answers, {shares} used {bound}.{remedy}",
        {"rows": len(looked_up), "least_in_time": least, "max_age_hours": max_hours},
        {"views": table},
        {"ages": plots.age_curves({view: ages.to_numpy() for view, ages in hours.items()}, max_hours)},
        symptoms=[row["view"] for row in late],
        lines=("Answers in time, by view", {row["view"]: row["in_time"] for row in table}),
    )


def _describe(view: str, hours: pl.Series, max_hours: float, answers: int) -> dict[str, Any]:
    """A view without any value is in time: what it lacks is not old."""
    in_time = (hours <= max_hours).mean() if len(hours) else 1.0
    quantiles = {f"p{quantile * 100:g}_hours": hours.quantile(quantile) for quantile in SHOWN}
    return {"view": view, "in_time": in_time, "found": len(hours) / answers, **quantiles}
