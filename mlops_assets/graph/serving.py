"""The assets around the live service: service, prediction_log (external), predictions, outcomes."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import counted
from mlops_assets.graph.kernel.asset_metadata import (
    ROW_COUNT,
    SCHEMA,
    UNREADABLE,
    asset_metadata,
    rows_as_table,
    same_columns,
    schema_of,
    spec_metadata,
)  # fmt: skip
from mlops_assets.graph.kernel.assets import ANY, asset
from mlops_assets.graph.kernel.conditions import LOOK_BACK_CASCADE
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.rollout import open_rollouts
from mlops_assets.resources import (
    LiveServicesResource,
    PredictionLogResource,
    RegistryResource,
    RolloutStoresResource,
    WarehouseResource,
)
from mlops_assets.spec.code_version import code_version
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotions import Promotions
    from mlops_assets.serving.client import LiveService

LOG_READABLE, MAX_FAULTS = "log_is_readable", 3
SERVING_THE_PLAN = "serves_the_plan"
ERRORS = ("last_load_error", "admission_error", "log_error")
REPORTED = ("use_case", "plan", "champion", "challenger", "share", "shadow", *ERRORS)
TAKE_OVER_SECONDS = 20.0


def build_serving(use_case: UseCase) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    return [_service(use_case), _prediction_log(use_case), _predictions(use_case), _outcomes(use_case)]


def _service(use_case: UseCase) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "service"))

    @asset(
        key=key,
        deps=[names.stage(use_case.name, "rollout")],
        description="The versions that the live servers report they serve.",
        check_specs=[dg.AssetCheckSpec(SERVING_THE_PLAN, asset=key, description="Every server serves the ledger's plan.")],
        automation_condition=LOOK_BACK_CASCADE,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=use_case.freshness.service),
        **asset_metadata(use_case, "service", "bentoml", "mlflow"),
    )
    def service(
        live_services: LiveServicesResource, rollout_stores: RolloutStoresResource, registry: RegistryResource
    ) -> dg.MaterializeResult:
        from mlops_assets.promotion.mlflow_aliases import mirror

        promotions = open_rollouts(use_case, rollout_stores).promotions
        passed, verdict, servers = _compare_servers(live_services.open(use_case.name), promotions)
        state = promotions.state()
        mirror(registry.open(), state)
        number = state.plan.number if state.plan else 0
        own = [server for server in servers if server["use_case"] == use_case.name]
        verdict = verdict or f"Every server of {use_case.name} serves plan {number}: {counted(len(own), 'server')}."
        warn = dg.AssetCheckSeverity.WARN
        check = dg.AssetCheckResult(passed=passed, asset_key=key, check_name=SERVING_THE_PLAN, severity=warn, description=verdict)
        page = live_services.status_url
        link = {"status": dg.MetadataValue.url(f"{page}/#{use_case.name}")} if page else {}
        metadata = {"verdict": verdict, **link, "plan": number, "servers": rows_as_table(servers)}
        return dg.MaterializeResult(metadata=metadata, check_results=[check])

    return service


def _compare_servers(services: "list[LiveService]", promotions: "Promotions") -> tuple[bool, str, list[dict[str, Any]]]:
    """Whether every server of the use case, of at least one, follows the ledger, in a few sentences, and what each reports."""
    from mlops_assets.serving.client import no_server

    name = promotions.use_case.name
    servers = [service.follows(name, lambda: promotions.state().plan, TAKE_OVER_SECONDS) for service in services]
    own = [server for server in servers if not server.is_of_another]
    problems = [*(server.problem for server in own or servers), no_server(name, servers), promotions.difference()]
    verdict = " ".join(filter(None, problems))
    rows = [{"server": one.url, **{name: one.reported.get(name) for name in REPORTED}} for one in servers if one.reported]
    return not verdict, verdict, rows


def _prediction_log(use_case: UseCase) -> dg.AssetSpec:
    return dg.AssetSpec(
        names.stage(use_case.name, "prediction_log"),
        description="The log that the live service writes before it responds.",
        **spec_metadata(use_case, "prediction_log", "bentoml", "json"),
    )


def _predictions(use_case: UseCase) -> dg.AssetsDefinition:
    log, key = names.stage(use_case.name, "prediction_log"), dg.AssetKey(names.stage(use_case.name, "predictions"))

    @asset(
        key=key,
        deps=[log],
        description="Every served request, exactly once: its features, the model version and the answer.",
        check_specs=[dg.AssetCheckSpec(LOG_READABLE, asset=key, description="Every line of the log is a row of this table.")],
        automation_condition=LOOK_BACK_CASCADE,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=use_case.freshness.predictions),
        dagster_type=ANY,  # the table is appended to here, and read by the IO manager
        io_manager_key="tables",
        **asset_metadata(use_case, "predictions", "polars", "deltalake"),
    )
    def predictions(prediction_log: PredictionLogResource, warehouse: WarehouseResource) -> dg.MaterializeResult:
        from mlops_assets.serving.log.predictions_table import report_predictions

        read_at, tables = dg.MetadataValue.timestamp(datetime.now(UTC)), warehouse.open()
        logged = report_predictions(tables.path([*key.path]), prediction_log.open(use_case))
        metadata = {"segments": len(logged.progress.segments), "read_at": read_at, UNREADABLE: logged.unreadable_share}
        metadata |= {"new_rows": len(logged.rows), ROW_COUNT: tables.rows([*key.path]), SCHEMA: schema_of(logged.rows)}
        warn = dg.AssetCheckSeverity.WARN
        check = dg.AssetCheckResult(
            passed=not logged.faults, asset_key=key, check_name=LOG_READABLE, severity=warn, description=_describe(logged.faults)
        )
        return dg.MaterializeResult(metadata=metadata | same_columns(log, logged.rows.columns), check_results=[check])

    return predictions


def _describe(faults: Sequence[str]) -> str:
    if not faults:
        return "Every line of the log is a row of this table."
    more = f", and {len(faults) - MAX_FAULTS:,} more" if len(faults) > MAX_FAULTS else ""
    return (
        f"{counted(len(faults), 'part')} of the log cannot be read: {'; '.join(faults[:MAX_FAULTS])}{more}. All others are read. "
        "A line was altered, or has a value that its column's declared type cannot hold: declare a wider type."
    )


def _outcomes(use_case: UseCase) -> dg.AssetsDefinition:
    label, served = use_case.label, names.stage(use_case.name, "predictions")

    table, truths_table = names.stage(use_case.name, "outcomes"), names.validated(use_case.name, label.table)

    @asset(
        key=table,
        ins={"predictions": served, "truths": truths_table},
        description="Predictions joined with their labels, as far as these are known; a repeated request counts once.",
        automation_condition=LOOK_BACK_CASCADE,
        dagster_type=ANY,  # days of the table are replaced here, and it is read by the IO manager
        io_manager_key="tables",
        **asset_metadata(use_case, "outcomes", "polars", "deltalake", code=code_version(label)),
    )
    def outcomes(
        context: dg.AssetExecutionContext, predictions: LazyFrame, truths: LazyFrame, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        from mlops_assets.monitoring.outcomes import OutcomesTable, Source

        tables, now = warehouse.open(), run_started(context)
        sources = Source(tables.path(served), predictions), Source(tables.path(truths_table), truths)
        days = OutcomesTable(use_case, tables.path(table), *sources).report(now=now).days.values()
        counts = {name: sum(getattr(day, name) for day in days) for name in ("known", "waiting", "repeated")}
        metadata = {**counts, ROW_COUNT: counts["known"], SCHEMA: schema_of(tables.scan(table).head(0).collect())}
        return dg.MaterializeResult(metadata=metadata | same_columns(served, predictions.collect_schema().names()))

    return outcomes
