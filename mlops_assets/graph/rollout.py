"""The rollout of a blessed version: its asset, the sensor that advances it, the jobs to approve and to roll back.

The sensor advances the rollout itself instead of requesting a run: a run takes seconds to start, and a bad challenger
serves meanwhile.
"""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.asset_metadata import asset_metadata, rows_as_table
from mlops_assets.graph.training import Candidate
from mlops_assets.resources import LedgerResource, RegistryResource, RolloutStoresResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotion_state import PromotionState
    from mlops_assets.rollout.rollouts import Rollouts, Step

# The daemon evaluates every five seconds; while a challenger serves, a tick lasts until the next one.
LOOKS_A_TICK, LOOK_EVERY_S = 5, 1.0
SHOWN_OF_A_TEST = ("test", "breached", "evidence", "needed", "message")  # the ledger keeps the rest
MIRRORED = "mlflow_shows_what_the_ledger_says"
UNMIRRORED_FOR = timedelta(minutes=2)  # the asset `service` mirrors a new record, at most a tick and a run later


def build_rollout(use_case: UseCase) -> dict[str, list[Any]]:
    """The asset, its check, the sensor and the jobs, as keyword arguments of Definitions."""
    jobs = [_approve(use_case), _roll_back(use_case)]
    return {"assets": [_rollout(use_case)], "checks": [_mirrored(use_case)], "sensors": [_watch(use_case)], "jobs": jobs}


def _rollout(use_case: UseCase) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.stage(use_case.name, "rollout"),
        ins={name: dg.AssetIn(names.stage(use_case.name, name)) for name in ("candidate", "blessing")},
        description="Who answers which share of the requests since when and why: one materialization for each step.",
        **asset_metadata(use_case, "rollout", "onnx", "sqlalchemy"),
    )
    def rollout(
        context: dg.AssetExecutionContext,
        candidate: Candidate,
        blessing: str,
        rollout_stores: RolloutStoresResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult:
        rollouts, now = open_rollouts(use_case, rollout_stores), datetime.now(UTC)
        onnx = registry.open().load(names.registered_model(use_case.name), candidate.version)
        by, why = f"run {context.run.run_id[:8]}", context.run.tags.get("mlops/reason", "materialized by hand")
        rollouts.promotions.bless(candidate.version, onnx, blessing, by=by, at=now)
        return dg.MaterializeResult(metadata=_said(rollouts, rollouts.advance(by=by, at=now, why=why)))

    return rollout


def open_rollouts(use_case: UseCase, stores: RolloutStoresResource) -> "Rollouts":
    from mlops_assets.promotion.promotions import Promotions
    from mlops_assets.rollout.rollouts import Rollouts

    promotions = Promotions(use_case, stores.ledger.open(), stores.deployment.open(use_case.name), stores.signing_keys.open())
    log, shadow_log = stores.prediction_log.open(use_case), stores.shadow_log.open(use_case)
    return Rollouts(promotions, log, shadow_log, stores.warehouse.open(), Path(stores.folder))


def _said(rollouts: "Rollouts", step: "Step") -> dict[str, Any]:
    said = _in_force(rollouts.promotions.state())
    if step.message != said.get("reason"):
        said["said"] = step.message
    if step.decision:
        found = (each.to_dict() for each in step.decision.findings)
        said["tests"] = rows_as_table({name: each[name] for name in SHOWN_OF_A_TEST} for each in found)
    return said


def _in_force(standing: "PromotionState") -> dict[str, Any]:
    plan = standing.plan
    if plan is None:
        return {}
    said = {"champion": plan.champion, "previous": plan.previous, "challenger": standing.challenger_version, "share": plan.share}
    return {name: value for name, value in said.items() if value is not None} | {"plan": plan.number, "reason": plan.reason}


def _watch(use_case: UseCase) -> dg.SensorDefinition:
    @dg.sensor(
        name=names.job(use_case.name, "rollout"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=1,
        description="Advances a rollout or rolls it back as soon as its evidence decides; starts what was approved.",
    )
    def rollout(context: dg.SensorEvaluationContext, rollout_stores: RolloutStoresResource) -> dg.SensorResult | dg.SkipReason:
        from mlops_assets.promotion.ledger import ConcurrentWrite

        rollouts = open_rollouts(use_case, rollout_stores)
        try:
            step = _look(rollouts)
            for _ in range(LOOKS_A_TICK - 1):
                if step.decision is None or step.plan:
                    break
                time.sleep(LOOK_EVERY_S)
                step = _look(rollouts)
        except ConcurrentWrite as error:
            return dg.SkipReason(str(error))
        if step.plan is None:
            return dg.SkipReason(step.message)
        key = dg.AssetKey(names.stage(use_case.name, "rollout"))
        return dg.SensorResult(asset_events=[dg.AssetMaterialization(key, metadata=_said(rollouts, step))])

    return rollout


def _look(rollouts: "Rollouts") -> "Step":
    return rollouts.advance(by="the rollout sensor", at=datetime.now(UTC), why="it may begin now")


def _mirrored(use_case: UseCase) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=names.stage(use_case.name, "rollout"),
        name=MIRRORED,
        description="MLflow's aliases and stages are those of the ledger.",
        automation_condition=dg.AutomationCondition.on_cron("*/10 * * * *"),
    )
    def mirrored(ledger: LedgerResource, registry: RegistryResource) -> dg.AssetCheckResult:
        from mlops_assets.promotion.mlflow_aliases import differences
        from mlops_assets.promotion.promotion_state import promotion_state_of

        records = ledger.open().records(use_case.name)
        if records and datetime.now(UTC) - datetime.fromisoformat(records[-1].at) < UNMIRRORED_FOR:
            return dg.AssetCheckResult(passed=True, description=f"Record {records[-1].number} is being mirrored.")
        found = differences(registry.open(), promotion_state_of(use_case.name, records))
        message = f"{'; '.join(found)}. Run `mlops ledger mirror {use_case.name}`." if found else "They are the same."
        return dg.AssetCheckResult(passed=not found, severity=dg.AssetCheckSeverity.WARN, description=message)

    return mirrored


class ApprovalConfig(dg.Config):
    version: int
    by: str
    why: str


class RollbackConfig(dg.Config):
    by: str
    reason: str


def _approve(use_case: UseCase) -> dg.JobDefinition:
    @dg.op(name=names.job(use_case.name, "approve_version"))
    def approve(config: ApprovalConfig, rollout_stores: RolloutStoresResource) -> None:
        promotions = open_rollouts(use_case, rollout_stores).promotions
        promotions.approve(config.version, why=config.why, by=config.by, at=datetime.now(UTC))

    @dg.job(name=names.job(use_case.name, "approve"), description="Lets a blessed version of a high-risk use case answer.")
    def approval() -> None:
        approve()

    return approval


def _roll_back(use_case: UseCase) -> dg.JobDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "rollout"))

    @dg.op(name=names.job(use_case.name, "go_back"))
    def go_back(context: dg.OpExecutionContext, config: RollbackConfig, rollout_stores: RolloutStoresResource) -> None:
        promotions = open_rollouts(use_case, rollout_stores).promotions
        promotions.roll_back(reason=config.reason, by=config.by, at=datetime.now(UTC))
        context.log_event(dg.AssetMaterialization(key, metadata=_in_force(promotions.state())))

    @dg.job(name=names.job(use_case.name, "rollback"), description="Takes back what is on trial, or else the champion.")
    def rollback() -> None:
        go_back()

    return rollback
