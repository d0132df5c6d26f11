"""The rollout of a blessed version: its asset with its checks, and the sensor that advances it."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import is_over
from mlops_assets.graph.kernel.asset_metadata import MAX_ROWS, asset_metadata, rows_as_table
from mlops_assets.graph.kernel.assets import asset, asset_check
from mlops_assets.graph.kernel.shared_sensors import shared_sensor
from mlops_assets.graph.training import Candidate
from mlops_assets.resources import LedgerResource, RegistryResource, RolloutStoresResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_assets.promotion.ledger_chain import Record
    from mlops_assets.promotion.promotion_state import PromotionState
    from mlops_assets.rollout.rollouts import Rollouts, Step

TEST_COLUMNS = ("test", "breached", "evidence", "needed", "message")  # the ledger keeps the rest
RECORD_COLUMNS = ("number", "at", "kind", "version", "by", "reason")
MIRRORED = "mlflow_shows_what_the_ledger_says"
WHOLE = "the_ledger_is_intact"
PUBLISHED = "servers_read_what_the_ledger_says"
# Dagster's on_cron waits for a new materialization of the asset, and a rollout that has ended makes none. Every hour, as a run of
# checks starts a process: 8 s of CPU.
COMPARED_ON = dg.AutomationCondition.cron_tick_passed("0 * * * *").since_last_handled()
# The asset `service` copies a new record to MLflow, at most a tick and a run later.
COPIED_WITHIN = timedelta(minutes=2)


def build_rollout(use_case: UseCase) -> dict[str, list[Any]]:
    """The asset, its checks and the sensor, as keyword arguments of Definitions."""
    checks = [_mirrored(use_case), _published(use_case), _whole(use_case)]
    return {"assets": [_rollout(use_case)], "checks": checks, "sensors": [_watch(use_case)]}


def _rollout(use_case: UseCase) -> dg.AssetsDefinition:
    @asset(
        key=names.stage(use_case.name, "rollout"),
        ins={name: names.stage(use_case.name, name) for name in ("candidate", "blessing")},
        description="Which version serves which share of the requests, since when and why: one materialization per step.",
        **asset_metadata(use_case, "rollout", "onnx", "sqlalchemy"),
    )
    def rollout(
        context: dg.AssetExecutionContext,
        candidate: Candidate,
        blessing: str,
        rollout_stores: RolloutStoresResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.promotion.promotions import decide_again

        rollouts, now = open_rollouts(use_case, rollout_stores), rollout_stores.ledger.now()
        onnx = registry.open().load(names.registered_model(use_case.name), candidate.version)
        by, why = f"run {context.run.run_id[:8]}", context.run.tags.get("mlops/reason", "materialized by hand")
        rollouts.promotions.bless(candidate.version, onnx, blessing, by=by, at=now)
        # The rollout sensor and people write to the same ledger: that must not fail a training that has ended well.
        step = decide_again(lambda: rollouts.advance(by=by, at=now, why=why))
        return dg.MaterializeResult(metadata=_metadata(rollouts, step))

    return rollout


def open_rollouts(use_case: UseCase, stores: RolloutStoresResource) -> "Rollouts":
    from mlops_assets.promotion.promotions import Promotions
    from mlops_assets.rollout.rollouts import Rollouts

    promotions = Promotions(use_case, stores.ledger.open(), stores.deployment.open(use_case.name), stores.signing_keys.open())
    log, shadow_log = stores.prediction_log.open(use_case), stores.shadow_log.open(use_case)
    return Rollouts(promotions, log, shadow_log, stores.warehouse.open(), Path(stores.folder))


def _metadata(rollouts: "Rollouts", step: "Step") -> dict[str, Any]:
    findings = [vars(finding) for finding in step.decision.findings] if step.decision else []
    tests = rows_as_table({name: finding[name] for name in TEST_COLUMNS} for finding in findings)
    promotions = rollouts.promotions
    in_ledger = {"ledger": newest_records(promotions.ledger.records(promotions.use_case.name))}
    return {"verdict": step.message, **in_force(promotions.state()), **({"tests": tests} if findings else {}), **in_ledger}


def newest_records(records: "Sequence[Record]") -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Who decided what and why, the newest record first."""
    newest = reversed(records[-MAX_ROWS:])
    return rows_as_table({name: getattr(record, name) for name in RECORD_COLUMNS} for record in newest)


def in_force(state: "PromotionState") -> dict[str, Any]:
    plan = state.plan
    if plan is None:
        return {}
    routing = {"champion": plan.champion, "previous": plan.previous, "challenger": state.challenger_version, "share": plan.share}
    routing |= {"by_hand": state.by_hand or None}
    return {name: value for name, value in routing.items() if value is not None} | {"plan": plan.number, "reason": plan.reason}


def _watch(use_case: UseCase) -> dg.SensorDefinition:
    # The sensor advances the rollout itself instead of requesting a run: a run takes seconds to start, and a bad challenger
    # serves meanwhile.
    @shared_sensor(
        use_case,
        "rollout",
        description="Advances a rollout or rolls it back as soon as its evidence decides; starts approved ones.",
    )
    def rollout(context: dg.SensorEvaluationContext, rollout_stores: RolloutStoresResource) -> dg.SensorResult | dg.SkipReason:
        from mlops_assets.promotion.ledger import ConcurrentWrite

        rollouts = open_rollouts(use_case, rollout_stores)
        rollouts.promotions.ledger.create()
        try:
            step = rollouts.advance(by="the rollout sensor", at=rollout_stores.ledger.now(), why="it may begin now")
        except ConcurrentWrite as error:
            return dg.SkipReason(str(error))
        if step.plan is None:
            return dg.SkipReason(step.message)
        key = dg.AssetKey(names.stage(use_case.name, "rollout"))
        return dg.SensorResult(asset_events=[dg.AssetMaterialization(key, metadata=_metadata(rollouts, step))])

    return rollout


def _mirrored(use_case: UseCase) -> dg.AssetChecksDefinition:
    @asset_check(
        asset=names.stage(use_case.name, "rollout"),
        name=MIRRORED,
        description="MLflow's aliases and stages are those of the ledger.",
        automation_condition=COMPARED_ON,
    )
    def mirrored(ledger: LedgerResource, registry: RegistryResource) -> dg.AssetCheckResult:
        from mlops_assets.promotion.mlflow_aliases import differences
        from mlops_assets.promotion.promotion_state import promotion_state_of

        records = ledger.open().records(use_case.name)
        if records and not is_over(datetime.now(UTC) - datetime.fromisoformat(records[-1].at), COPIED_WITHIN):
            return dg.AssetCheckResult(passed=True, description=f"Record {records[-1].number} is being copied to MLflow.")
        wrong = differences(registry.open(), promotion_state_of(use_case.name, records))
        message = f"{'; '.join(wrong)}. Run `mlops ledger mirror {use_case.name}`." if wrong else "They are the same."
        return dg.AssetCheckResult(passed=not wrong, severity=dg.AssetCheckSeverity.WARN, description=message)

    return mirrored


def _published(use_case: UseCase) -> dg.AssetChecksDefinition:
    @asset_check(
        asset=names.stage(use_case.name, "rollout"),
        name=PUBLISHED,
        description="The plan that servers read is that of the ledger.",
        automation_condition=COMPARED_ON,
    )
    def published(rollout_stores: RolloutStoresResource) -> dg.AssetCheckResult:
        difference = open_rollouts(use_case, rollout_stores).promotions.difference()
        return dg.AssetCheckResult(passed=not difference, description=difference or "They are the same.")

    return published


def _whole(use_case: UseCase) -> dg.AssetChecksDefinition:
    @asset_check(
        asset=names.stage(use_case.name, "rollout"),
        name=WHOLE,
        description="No record of the ledger was altered or removed, and each placed model is the one that it blessed.",
        automation_condition=COMPARED_ON,
    )
    def whole(rollout_stores: RolloutStoresResource) -> dg.AssetCheckResult:
        from mlops_assets.promotion.placed_versions import PlacedVersions

        promotions = open_rollouts(use_case, rollout_stores).promotions
        promotions.ledger.remember(use_case.name)
        alarm = PlacedVersions(use_case.name, promotions.ledger, promotions.deployment, promotions.keys).alarm()
        return dg.AssetCheckResult(passed=not alarm, description=alarm or "The ledger is intact.")

    return whole
