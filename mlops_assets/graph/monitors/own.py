"""A monitor that is a function of the rows of one table, as an asset with a check."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import inspect

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.mlflow_run import publish
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.monitors.asset import check_result, monitor_arguments, monitor_metadata, over_time
from mlops_assets.resources import DeploymentResource, RegistryResource, ReportsResource
from mlops_assets.spec.monitor import OwnMonitor
from mlops_assets.spec.use_case import UseCase


def build_own(use_case: UseCase, stage: str, spec: OwnMonitor) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    arguments = monitor_arguments(use_case, stage, "polars", kind="monitor", reads=spec.READS)
    arguments["ins"] = {"rows": names.stage(use_case.name, spec.READS)}

    @asset(
        description=f"{inspect.getdoc(type(spec))} Over the {spec.READS} of {in_words(spec.window)}.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description=repr(spec))],
        **arguments,
    )
    def own(
        context: dg.AssetExecutionContext,
        rows: LazyFrame,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.foundation.implementation import call
        from mlops_assets.monitoring.monitor_result import MonitorResult
        from mlops_assets.monitoring.window import elsewhere, recent

        plan, now = deployment.open(use_case.name).plan(), run_started(context)
        window = recent(rows, spec, now=now)
        champion = plan.champion if plan else None
        result = call(spec, MonitorResult, window, use_case=use_case, champion=champion, seed=names.SEED)
        result = elsewhere(rows, spec, now=now).added_to(result)
        links = publish(registry, use_case, champion, {f"{stage}.html": result.page} if result.page else {})
        metadata = monitor_metadata(result, links | over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[check_result(context, spec, result, use_case, now=now)])

    return own
