"""How the live servers run, as an asset with a check, and the sensor that looks at them, whether or not anything else happens."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.graph.kernel.asset_metadata import asset_metadata
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.shared_sensors import shared_sensor
from mlops_assets.graph.monitors.asset import as_event, monitor_metadata, store_verdict
from mlops_assets.resources import DeploymentResource, LiveServicesResource, WarehouseResource
from mlops_assets.spec.code_version import code_version
from mlops_assets.spec.monitor import Operations
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.monitoring.operations import Look


def build_operations(use_case: UseCase, stage: str, spec: Operations) -> dg.AssetsDefinition:
    path = names.stage(use_case.name, stage)

    @asset(
        key=path,
        deps=[names.stage(use_case.name, "service")],
        description=f"Latency, throughput, errors, CPU, memory and cost of the live servers in {in_words(spec.window)}.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=dg.AssetKey(path), description=repr(spec))],
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=spec.window),
        **asset_metadata(use_case, "operations", "prometheus", "deltalake", code=code_version(spec)),
    )
    def operations(
        context: dg.AssetExecutionContext,
        live_services: LiveServicesResource,
        deployment: DeploymentResource,
        warehouse: WarehouseResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.monitoring.operations import pictures

        now = datetime.now(UTC)
        result, samples, _again_in = _look(
            use_case, spec, path, live=live_services, deployment=deployment, warehouse=warehouse, now=now
        )
        check = store_verdict(context.instance, dg.AssetCheckKey(context.asset_key, spec.CHECK), spec, result, now=now)
        drawn = result._replace(pictures=pictures(spec, samples, now=now))
        return dg.MaterializeResult(metadata=monitor_metadata(drawn, {}), check_results=[check])

    return operations


def build_operations_sensor(use_case: UseCase, stage: str, spec: Operations) -> dg.SensorDefinition:
    path = names.stage(use_case.name, stage)
    key = dg.AssetCheckKey(dg.AssetKey(path), spec.CHECK)

    # It looks itself instead of requesting a run, which imports the platform anew. It draws nothing: each event is kept.
    @shared_sensor(
        use_case,
        "operations",
        stage=stage,
        description="Reads what the live servers have counted, at the declared interval, and judges it.",
    )
    def operations(
        context: dg.SensorEvaluationContext,
        live_services: LiveServicesResource,
        deployment: DeploymentResource,
        warehouse: WarehouseResource,
    ) -> dg.SensorResult | dg.SkipReason:
        now = datetime.now(UTC)
        if context.cursor and now < datetime.fromisoformat(context.cursor):
            return dg.SkipReason(f"Servers are looked at every {in_words(spec.interval)}.")
        result, _samples, again_in = _look(
            use_case, spec, path, live=live_services, deployment=deployment, warehouse=warehouse, now=now
        )
        check = store_verdict(context.instance, key, spec, result, now=now)
        made = dg.AssetMaterialization(key.asset_key, metadata=monitor_metadata(result, {}))
        context.update_cursor((now + again_in).isoformat())
        return dg.SensorResult(asset_events=[made, as_event(check, key)])

    return operations


def _look(
    use_case: UseCase,
    spec: Operations,
    path: names.AssetPath,
    *,
    live: LiveServicesResource,
    deployment: DeploymentResource,
    warehouse: WarehouseResource,
    now: datetime,
) -> "Look":
    from mlops_assets.monitoring.operations import look

    is_served, table = deployment.open(use_case.name).plan() is not None, warehouse.open().path(path)
    return look(spec, live.open(use_case.name), use_case.name, table, is_served=is_served, now=now)
