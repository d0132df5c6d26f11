"""What the assets of all monitors share: arguments, metadata, check, dashboard."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import ONE_DAY
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
from mlops_assets.graph.kernel.check_verdict import CheckVerdict
from mlops_assets.graph.kernel.conditions import build_watch
from mlops_assets.graph.kernel.dagster_internals import newest_check
from mlops_assets.resources import RegistryResource, ReportsResource
from mlops_assets.spec.code_version import code_version
from mlops_assets.spec.monitor import Monitor
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.monitoring.monitor_result import MonitorResult

MAX_UNREADABLE_SHARE = 0.01  # of the prediction log: above it no monitor passes


class MonitorArguments(AssetMetadata):
    """The arguments of @asset that all monitors share."""

    key: names.AssetPath
    ins: dict[str, names.AssetPath]
    automation_condition: Any


def monitor_arguments(use_case: UseCase, stage: str, *kinds: str, kind: str, reads: str) -> MonitorArguments:
    """It runs again once a window has passed since its newest run: where nothing is served any more, no parent changes."""
    window = use_case.monitor_stages[stage].window
    return {
        "key": names.stage(use_case.name, stage),
        "ins": {reads: names.stage(use_case.name, reads)},
        "automation_condition": build_watch(min(window, ONE_DAY)),
        **asset_metadata(use_case, kind, *kinds, code=code_version(use_case.monitor_stages[stage])),
    }


def over_time(
    use_case: UseCase, stage: str, result: "MonitorResult", reports: ReportsResource, *, at: datetime
) -> dict[str, dg.MetadataValue]:
    """Adds the figures of the window to the monitor's dashboard, where there are enough data for any; a link to it."""
    if result.verdict is Verdict.NOT_ENOUGH_DATA:  # importing Evidently for an empty point takes 5 s of CPU
        return {}
    from mlops_assets.monitoring.dashboard import record

    project = record(reports.open() / names.EVIDENTLY, f"{use_case.name} · {stage}", result, at=at)
    return {"over_time": dg.MetadataValue.url(f"{reports.evidently_url}/projects/{project}")} if reports.evidently_url else {}


def read_evaluation(use_case: UseCase, registry: RegistryResource, version: int | None) -> dict[str, Any] | None:
    """As plain JSON; None for a version of an earlier release, which stored none."""
    from mlops_assets.evaluation.evaluate import EVALUATION

    name = names.registered_model(use_case.name)
    stored = registry.open().find_artifact(name, version, EVALUATION) if version is not None else None
    return json.loads(stored) if stored else None


def check_result(
    context: dg.AssetExecutionContext, spec: Monitor, result: "MonitorResult", use_case: UseCase, *, now: datetime
) -> dg.AssetCheckResult:
    """Of a monitor that judges rows of the prediction log."""
    unreadable, key = _unreadable_share(context.instance, use_case), dg.AssetCheckKey(context.asset_key, spec.CHECK)
    if unreadable > MAX_UNREADABLE_SHARE:  # which training does not change
        lost = f"{unreadable:.1%} of the prediction log cannot be read; see the check of predictions. "
        result = result._replace(verdict=Verdict.ALARM, message=lost + result.message, reason_to_train=0.0, symptoms=())
    return store_verdict(context.instance, key, spec, result, now=now)


def store_verdict(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, spec: Monitor, result: "MonitorResult", *, now: datetime
) -> dg.AssetCheckResult:
    """The result of the check; since when there is not enough data is read from the one before."""
    reason = result.reason_to_train if result.verdict is Verdict.ALARM else 0.0
    verdict = CheckVerdict(Verdict(result.verdict), result.message, reason, tuple(result.symptoms))
    if verdict.verdict is Verdict.NOT_ENOUGH_DATA:
        before = CheckVerdict.of_record(newest_check(instance, key))
        verdict = verdict._replace(since=before.since if before and before.since else now)
    return verdict.result(spec, now=now, key=key)


def as_event(check: dg.AssetCheckResult, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    """The result of a check outside a run, as sensors report it."""
    return dg.AssetCheckEvaluation(
        key.asset_key,
        key.name,
        passed=check.passed,
        metadata=check.metadata,
        severity=check.severity,
        description=check.description,
    )


def _unreadable_share(instance: dg.DagsterInstance, use_case: UseCase) -> float:
    event = instance.get_latest_materialization_event(dg.AssetKey(names.stage(use_case.name, "predictions")))
    value = event.asset_materialization.metadata.get(UNREADABLE) if event and event.asset_materialization else None
    return cast(float, value.value) if value else 0.0


def monitor_metadata(result: "MonitorResult", links: dict[str, dg.MetadataValue]) -> dict[str, Any]:
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
