"""Realised quality of the answers, as an asset with a check."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.graph.kernel.asset_metadata import MAX_ROWS  # fmt: skip
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.mlflow_run import publish
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.monitors.asset import check_result, monitor_arguments, monitor_metadata, over_time, read_evaluation
from mlops_assets.graph.monitors.estimation import read_evaluated
from mlops_assets.resources import DeploymentResource, RegistryResource, ReportsResource, WarehouseResource
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    import polars as pl

    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.monitoring.risk import Risk


def build_performance(use_case: UseCase, stage: str, spec: Performance) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    bounds = [trigger for trigger in use_case.triggers_of(stage) if isinstance(trigger, OnPerformance)]

    @asset(
        description=f"The realised quality of the predictions by month and day, and of the last {in_words(spec.window)}.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description="; ".join(map(repr, bounds)) or "No bound.")],
        **monitor_arguments(use_case, stage, "polars", kind="performance", reads="outcomes"),
    )
    def performance(
        context: dg.AssetExecutionContext,
        outcomes: LazyFrame,
        *,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: ReportsResource,
        warehouse: WarehouseResource,
    ) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.monitoring.performance import monitor_performance
        from mlops_assets.monitoring.stored_periods import StoredPeriods
        from mlops_assets.monitoring.window import elsewhere, recent
        from mlops_assets.tasks import task_of

        plan = deployment.open(use_case.name).plan()
        # Only the champion's own predictions: those of earlier versions have had their consequence.
        champions = outcomes.filter(pl.col("model_version") == (plan.champion if plan else None))
        now = run_started(context)
        rows = recent(champions, spec, now=now)
        task, label, tables = task_of(use_case.task), use_case.label.name, warehouse.open()
        file = tables.path([*key.path]).with_suffix(".periods.parquet")
        risk = _risk(use_case, registry, plan.champion, tables, champions) if plan and len(rows) < spec.min_rows else None
        periods = StoredPeriods(file, spec, task, label).refresh(tables.path(names.stage(use_case.name, "outcomes")))
        result = monitor_performance(
            spec,
            bounds,
            task=task,
            label=label,
            periods=periods,
            recent=rows,
            evaluation=read_evaluation(use_case, registry, plan.champion if plan else None),
            risk=risk,
            seed=names.SEED,
        )  # fmt: skip
        result = elsewhere(champions, spec, now=now).added_to(result)
        folder = "" if stage == "performance" else f"{stage}/"  # the files of every monitor are stored with the champion
        cut = {name: rows for name, rows in result.tables.items() if len(rows) > MAX_ROWS}
        long = {f"{folder}{name}.csv": pl.DataFrame(rows).write_csv() for name, rows in cut.items()}
        links = publish(registry, use_case, plan.champion, long) if plan else {}
        metadata = monitor_metadata(result, links | over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[check_result(context, spec, result, use_case, now=now)])

    return performance


def _risk(
    use_case: UseCase, registry: RegistryResource, champion: int, tables: "DeltaTables", outcomes: "pl.LazyFrame"
) -> "Risk | None":
    import polars as pl

    from mlops_assets.monitoring.risk import find_risk
    from mlops_assets.tasks import task_of

    evaluated = read_evaluated(use_case, registry, champion)
    answers = pl.scan_delta(str(tables.path(names.stage(use_case.name, "predictions")))).filter(model_version=champion)
    return evaluated and find_risk(
        evaluated, task=task_of(use_case.task), label=use_case.label.name, answers=answers, outcomes=outcomes
    )
