"""Drift, performance and skew of what is served, as assets with checks."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import inspect
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.kernel.asset_metadata import (
    MAX_ROWS,
    UNREADABLE,
    AssetMetadata,
    asset_metadata,
    pictures_as_metadata,
    readable,
    rows_as_table,
)  # fmt: skip
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.check_verdict import CheckVerdict
from mlops_assets.graph.kernel.conditions import LOOK_BACK_CASCADE
from mlops_assets.graph.kernel.dagster_internals import newest_check
from mlops_assets.graph.kernel.mlflow_run import publish
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import DataFrame, LazyFrame
from mlops_assets.resources import DeploymentResource, FeatureStoreResource, RegistryResource, ReportsResource
from mlops_assets.spec.monitor import Drift, Monitor, OwnMonitor, Performance, Skew
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.monitoring.drift import TrainingWindow
    from mlops_assets.monitoring.monitor_result import MonitorResult

MAX_UNREADABLE_SHARE = 0.01  # of the prediction log: above it no monitor passes


def build_monitoring(use_case: UseCase) -> list[dg.AssetsDefinition]:
    return [_monitor(use_case, stage, monitor) for stage, monitor in use_case.monitor_stages.items()]


def _monitor(use_case: UseCase, stage: str, monitor: Monitor) -> dg.AssetsDefinition:
    match monitor:
        case Drift():
            return _drift(use_case, stage, monitor)
        case Performance():
            return _performance(use_case, stage, monitor)
        case Skew():
            return _skew(use_case, stage, monitor)
        case OwnMonitor():
            return _own(use_case, stage, monitor)


class _Arguments(AssetMetadata):
    """The arguments of @asset that all monitors share."""

    key: names.AssetPath
    ins: dict[str, names.AssetPath]
    automation_condition: Any


def _asset(use_case: UseCase, stage: str, *kinds: str, kind: str, reads: str) -> _Arguments:
    return {
        "key": names.stage(use_case.name, stage),
        "ins": {reads: names.stage(use_case.name, reads)},
        "automation_condition": LOOK_BACK_CASCADE,
        **asset_metadata(use_case, kind, *kinds, made_from="monitor"),
    }


def _drift(use_case: UseCase, stage: str, spec: Drift) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))

    @asset(
        description=f"How far the inputs served in {in_words(spec.window)} are from those that the champion was trained on.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description="No input has drifted.")],
        **_asset(use_case, stage, "evidently", kind="drift", reads="predictions"),
    )
    def drift(
        context: dg.AssetExecutionContext,
        predictions: LazyFrame,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.monitoring.drift import monitor_drift
        from mlops_assets.monitoring.window import elsewhere, recent
        from mlops_assets.tasks import task_of

        plan = deployment.open(use_case.name).plan()
        read_window = partial(_training_window, use_case, registry, plan.champion) if plan else None
        now = run_started(context)
        rows = recent(predictions, spec, now=now)
        result = monitor_drift(spec, rows, read_window, task=task_of(use_case.task), seed=names.SEED)
        result = elsewhere(predictions, spec, now=now).added_to(result)
        files = {f"{stage}_report.html": result.page} if result.page else {}
        links = publish(registry, use_case, plan.champion, files) if plan else {}
        metadata = _metadata(result, links | _over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[_check(context, spec, result, use_case, now=now)])

    return drift


def _over_time(
    use_case: UseCase, stage: str, result: "MonitorResult", reports: ReportsResource, *, at: datetime
) -> dict[str, dg.MetadataValue]:
    """Adds the figures of the window to the monitor's dashboard; a link to it."""
    from mlops_assets.monitoring.dashboard import record

    project = record(reports.open() / names.EVIDENTLY, f"{use_case.name} · {stage}", result, at=at)
    return {"over_time": dg.MetadataValue.url(f"{reports.evidently_url}/projects/{project}")} if reports.evidently_url else {}


def _training_window(use_case: UseCase, registry: RegistryResource, version: int) -> "TrainingWindow":
    from mlops_assets.evaluation.evaluate import EVALUATION
    from mlops_assets.monitoring.drift import TrainingWindow
    from mlops_assets.training.train_and_track import PERIODS, PROFILES, SAMPLE

    model, opened = names.registered_model(use_case.name), registry.open()
    profiles, sample = (opened.artifact(model, version, artifact) for artifact in (PROFILES, SAMPLE))
    # Versions of earlier releases have only some of these.
    evaluation, periods = (opened.find_artifact(model, version, artifact) for artifact in (EVALUATION, PERIODS))
    return TrainingWindow.from_artifacts(version, profiles, sample, evaluation=evaluation, periods=periods)


def _check(
    context: dg.AssetExecutionContext, spec: Monitor, result: "MonitorResult", use_case: UseCase, *, now: datetime
) -> dg.AssetCheckResult:
    unreadable, key = _unreadable_share(context.instance, use_case), dg.AssetCheckKey(context.asset_key, spec.CHECK)
    reason = result.reason_to_train if result.verdict is Verdict.ALARM else 0.0
    verdict = CheckVerdict(Verdict(result.verdict), result.message, reason, tuple(result.symptoms))
    if unreadable > MAX_UNREADABLE_SHARE:  # which training does not change
        lost = f"{unreadable:.1%} of the prediction log cannot be read; see the check of predictions. "
        verdict = CheckVerdict(Verdict.ALARM, lost + result.message, reason_to_train=0.0)
    if verdict.verdict is Verdict.NOT_ENOUGH_DATA:
        before = CheckVerdict.of_record(newest_check(context.instance, key))
        verdict = verdict._replace(since=before.since if before and before.since else now)
    return verdict.result(spec, now=now, key=key)


def _unreadable_share(instance: dg.DagsterInstance, use_case: UseCase) -> float:
    event = instance.get_latest_materialization_event(dg.AssetKey(names.stage(use_case.name, "predictions")))
    value = event.asset_materialization.metadata.get(UNREADABLE) if event and event.asset_materialization else None
    return cast(float, value.value) if value else 0.0


def _metadata(result: "MonitorResult", links: dict[str, dg.MetadataValue]) -> dict[str, Any]:
    """In the order in which people read: verdict, pictures, links, numbers, short tables."""
    figures = {name: readable(value) for name, value in result.figures.items()}
    tables = {name: rows_as_table(rows) for name, rows in result.tables.items() if len(rows) <= MAX_ROWS or name not in links}
    return {
        "verdict": f"{result.verdict}: {result.message}",
        **pictures_as_metadata(result.pictures),
        **links,
        **figures,
        **tables,
    }


def _performance(use_case: UseCase, stage: str, spec: Performance) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    bounds = [trigger for trigger in use_case.triggers_of(stage) if isinstance(trigger, OnPerformance)]

    @asset(
        description=f"The realised quality of the predictions by month and day, and of the last {in_words(spec.window)}.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description="; ".join(map(repr, bounds)) or "No bound.")],
        **_asset(use_case, stage, "polars", kind="performance", reads="outcomes"),
    )
    def performance(
        context: dg.AssetExecutionContext,
        outcomes: LazyFrame,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.monitoring.performance import monitor_performance
        from mlops_assets.monitoring.window import elsewhere, recent
        from mlops_assets.tasks import task_of

        plan = deployment.open(use_case.name).plan()
        # Only the champion's own predictions: those of earlier versions have had their consequence.
        champions = outcomes.filter(pl.col("model_version") == (plan.champion if plan else None))
        now = run_started(context)
        rows = recent(champions, spec, now=now)
        result = monitor_performance(
            spec,
            bounds,
            task=task_of(use_case.task),
            label=use_case.label.name,
            known=outcomes.collect(),
            recent=rows,
            seed=names.SEED,
        )  # fmt: skip
        result = elsewhere(champions, spec, now=now).added_to(result)
        folder = "" if stage == "performance" else f"{stage}/"  # the files of every monitor are stored with the champion
        cut = {name: rows for name, rows in result.tables.items() if len(rows) > MAX_ROWS}
        long = {f"{folder}{name}.csv": pl.DataFrame(rows).write_csv() for name, rows in cut.items()}
        links = publish(registry, use_case, plan.champion, long) if plan else {}
        metadata = _metadata(result, links | _over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[_check(context, spec, result, use_case, now=now)])

    return performance


def _skew(use_case: UseCase, stage: str, spec: Skew) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    bound = f"At most {spec.max_mismatch_rate:.2%} of the predictions used features that are recomputed differently."

    @asset(
        description=f"Features served in {in_words(spec.window)}, next to what the feature tables return now for those moments.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description=bound)],
        dagster_type=cast(dg.DagsterType, DataFrame),  # which it is when Dagster reads it
        io_manager_key="tables",
        **_asset(use_case, stage, "feast", "polars", "deltalake", kind="skew", reads="predictions"),
    )
    def skew(
        context: dg.AssetExecutionContext, predictions: LazyFrame, feature_store: FeatureStoreResource, reports: ReportsResource
    ) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.monitoring.skew import monitor_skew, recompute
        from mlops_assets.monitoring.window import elsewhere, recent

        # Features that the caller sent are the caller's own.
        now = run_started(context)
        looked_up = predictions.filter(pl.col("features_from") != "request")
        parity = recompute(use_case, spec, recent(looked_up, spec, now=now), open_store=feature_store.open, seed=names.SEED)
        result = elsewhere(looked_up, spec, now=now).added_to(monitor_skew(spec, parity))
        metadata = _metadata(result, _over_time(use_case, stage, result, reports, at=now))
        check = _check(context, spec, result, use_case, now=now)
        return dg.MaterializeResult(value=parity.to_table(), metadata=metadata, check_results=[check])

    return skew


def _own(use_case: UseCase, stage: str, spec: OwnMonitor) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    arguments = _asset(use_case, stage, "polars", kind="monitor", reads=spec.READS)
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
        metadata = _metadata(result, links | _over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[_check(context, spec, result, use_case, now=now)])

    return own
