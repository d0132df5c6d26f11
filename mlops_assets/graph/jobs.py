"""What people do by hand in Dagster's UI: each job calls the function of the `mlops` command of the same name."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import some
from mlops_assets.graph.kernel.failures import one_sentence
from mlops_assets.graph.rollout import in_force, newest_records, open_rollouts
from mlops_assets.graph.training_requests import ManualTraining
from mlops_assets.resources import LandingResource, LedgerResource, LiveServicesResource, RolloutStoresResource, WarehouseResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotions import Promotions


SHOWN = 20  # use cases that the launchpad names
UseCases = Mapping[str, UseCase]


class Decision(dg.Config):
    """What every job by hand is about, and records."""

    use_case: str = Field(description="The use case.")
    by: str = Field(description="Who decides: your name, for the ledger.")


class TrainConfig(Decision):
    because: str = Field(description="The reason, for the run and the model.")


class ApprovalConfig(Decision):
    version: int = Field(description="The blessed version.")
    why: str = Field(description="The reason, after reading its evaluation.")


class PromotionConfig(Decision):
    version: int = Field(description="The blessed version that serves all requests from now on.")
    why: str = Field(description="The reason why its rollout is not awaited.")


class RollbackConfig(Decision):
    reason: str = Field(description="The reason, for the ledger.")


class PauseConfig(Decision):
    until: str = Field(description="When it ends by itself, such as 2026-12-01T06:00, in UTC.")
    why: str = Field(description="The reason, for the ledger.")


class ResumeConfig(Decision):
    why: str = Field(description="The reason, for the ledger.")


class HandOverConfig(Decision):
    reason: str = Field(description="The reason, for the ledger.")


class WaiverConfig(Decision):
    table: str = Field(description="The table, such as outcomes.")
    partition: str = Field(description="The refused day, hour, week, month or snapshot, as `mlops status` shows it.")
    why: str = Field(description="The reason, for the ledger.")


def build_jobs(use_cases: Sequence[UseCase]) -> list[dg.JobDefinition]:
    """Of all use cases: eight jobs of each would take a third of the time in which 100 use cases load."""
    named = {use_case.name: use_case for use_case in use_cases}
    return [build(named) for build in BY_HAND] if named else []


@contextmanager
def _recorded(config: Decision) -> Generator[None]:
    """A decision as text on one line. A mistake of the person is not tried again."""
    for name, value in config:
        if isinstance(value, str) and not (value.strip() and value.isprintable()):
            problem = f"{name} = {value!r}; legal: text on one line, as it is recorded. Launch the job again with it"
            raise dg.Failure(f"{problem}.", allow_retries=False)
    with one_sentence():
        yield


def _chosen(config: Decision, use_cases: UseCases) -> UseCase:
    if config.use_case in use_cases:
        return use_cases[config.use_case]
    problem = f"use_case = {config.use_case!r}; legal: {', '.join(use_cases)}. Launch the job again with one of these"
    raise dg.Failure(f"{problem}.", allow_retries=False)


def _job(use_cases: UseCases, name: str, config: type[Decision], op: Any, description: str) -> dg.JobDefinition:
    """With every field of `config` empty, so that the launchpad shows what to fill in, and which use cases there are."""
    only = {"use_case": next(iter(use_cases)) if len(use_cases) == 1 else f"one of: {some(use_cases, SHOWN)}"}
    types = {field: int if info.annotation is int else str for field, info in config.model_fields.items()}
    fields = {
        field: dg.Field(kind, default_value=only.get(field, kind()), description=config.model_fields[field].description)
        for field, kind in types.items()
    }
    # Not these defaults alone: for them, Dagster builds the schema of all resources, which is a tenth of the loading time.
    ops: Any = {"ops": {op.name: {"config": fields}}}

    @dg.job(name=name, description=description, tags={"mlops/by_hand": name}, config=dg.ConfigMapping(dict, dg.Permissive(ops)))
    def by_hand() -> None:
        op()

    return by_hand


def _train(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="request_training")
    def request_training(
        context: dg.OpExecutionContext, config: TrainConfig, ledger: LedgerResource, warehouse: WarehouseResource
    ) -> None:
        use_case = _chosen(config, use_cases)
        training = ManualTraining(use_case, context.instance, ledger, warehouse, config.by, config.because)
        with _recorded(config):
            training.require_possible(datetime.now(UTC))
        training.submit()
        result = f"Requested: the sensor triggers starts {names.job(use_case.name, 'training')} within seconds."
        context.add_output_metadata({"result": result})

    description = "Trains a model now, also after a failure, then evaluates it and blesses it if it passes its gates."
    return _job(use_cases, "train_now", TrainConfig, request_training, description)


def _approve(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="approve_version")
    def approve(
        context: dg.OpExecutionContext,
        config: ApprovalConfig,
        rollout_stores: RolloutStoresResource,
        live_services: LiveServicesResource,
    ) -> None:
        promotions = open_rollouts(_chosen(config, use_cases), rollout_stores).promotions
        before = promotions.state().head
        with _recorded(config):
            promotions.approve(config.version, why=config.why, by=config.by, at=datetime.now(UTC))
        _conclude(
            context, promotions, f"Version {config.version} is approved by {config.by}.", services=live_services, before=before
        )

    description = "Approves a blessed version of a high-risk use case; its rollout then starts."
    return _job(use_cases, "approve", ApprovalConfig, approve, description)


def _promote(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="promote_version")
    def promote(
        context: dg.OpExecutionContext,
        config: PromotionConfig,
        rollout_stores: RolloutStoresResource,
        live_services: LiveServicesResource,
    ) -> None:
        from mlops_assets.promotion.replaced_plan import reporting_replaced

        promotions = open_rollouts(_chosen(config, use_cases), rollout_stores).promotions
        before = promotions.state().head
        with _recorded(config), reporting_replaced(promotions, context.log.warning):
            plan = promotions.promote(config.version, reason=config.why, by=config.by, at=datetime.now(UTC))
        _report_step(context, promotions)
        _conclude(context, promotions, f"Version {plan.champion} serves all requests.", services=live_services, before=before)

    description = "Lets a blessed version serve all requests now, without its rollout."
    return _job(use_cases, "promote", PromotionConfig, promote, description)


def _roll_back(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="go_back")
    def go_back(
        context: dg.OpExecutionContext,
        config: RollbackConfig,
        rollout_stores: RolloutStoresResource,
        live_services: LiveServicesResource,
    ) -> None:
        from mlops_assets.promotion.replaced_plan import reporting_replaced

        promotions = open_rollouts(_chosen(config, use_cases), rollout_stores).promotions
        before = promotions.state().head
        with _recorded(config), reporting_replaced(promotions, context.log.warning):
            plan = promotions.roll_back(by_hand=True, reason=config.reason, by=config.by, at=datetime.now(UTC))
        _report_step(context, promotions)
        _conclude(
            context,
            promotions,
            f"Rolled back: version {plan.champion} serves all requests.",
            services=live_services,
            before=before,
        )

    description = "Rolls back the challenger, or else the champion."
    return _job(use_cases, "rollback", RollbackConfig, go_back, description)


def _hand_over(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="hand_over_rollout")
    def hand_over(
        context: dg.OpExecutionContext,
        config: HandOverConfig,
        rollout_stores: RolloutStoresResource,
        live_services: LiveServicesResource,
    ) -> None:
        from mlops_assets.promotion.replaced_plan import reporting_replaced

        rollouts = open_rollouts(_chosen(config, use_cases), rollout_stores)
        before = rollouts.promotions.state().head
        with _recorded(config), reporting_replaced(rollouts.promotions, context.log.warning):
            plan = rollouts.hand_over(by=config.by, at=datetime.now(UTC), why=config.reason)
        _report_step(context, rollouts.promotions)
        serves = f"Handed over: version {plan.champion} serves; {plan.rollout or 'no challenger, no shadow'}."
        _conclude(context, rollouts.promotions, serves, services=live_services, before=before)

    description = "Lets the declared rollout start anew; after a rollback by hand, the triggers go on too."
    return _job(use_cases, "hand_over", HandOverConfig, hand_over, description)


def _pause(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="pause_use_case")
    def pause_use_case(context: dg.OpExecutionContext, config: PauseConfig, ledger: LedgerResource) -> None:
        from mlops_assets.promotion.pauses import parse_until, pause

        name, at = _chosen(config, use_cases).name, datetime.now(UTC)
        with _recorded(config):
            paused = pause(name, until=parse_until(config.until), why=config.why, by=config.by, at=at, ledger=ledger.open())
        context.add_output_metadata({"result": str(paused)})

    description = "Lets nothing run by itself for a use case until a moment: no cascade, training or rollout step."
    return _job(use_cases, "pause", PauseConfig, pause_use_case, description)


def _resume(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="resume_use_case")
    def resume_use_case(context: dg.OpExecutionContext, config: ResumeConfig, ledger: LedgerResource) -> None:
        from mlops_assets.promotion.pauses import ENDED, resume

        use_case = _chosen(config, use_cases)
        with _recorded(config):
            resume(use_case.name, why=config.why, by=config.by, at=datetime.now(UTC), ledger=ledger.open())
        context.add_output_metadata({"result": f"{ENDED[0].upper()}{ENDED[1:]}"})

    description = "Ends a pause now; what was missed follows by itself."
    return _job(use_cases, "resume", ResumeConfig, resume_use_case, description)


def _waive(use_cases: UseCases) -> dg.JobDefinition:
    @dg.op(name="waive_partition")
    def waive_partition(
        context: dg.OpExecutionContext, config: WaiverConfig, landing: LandingResource, ledger: LedgerResource
    ) -> None:
        from mlops_assets.ingestion.refusals import Waiver
        from mlops_assets.promotion.waivers import waive

        use_case, at = _chosen(config, use_cases), datetime.now(UTC)
        waiver = Waiver(config.why, config.by, at.isoformat())
        with _recorded(config):
            result = waive(use_case, config.table, config.partition, waiver, landing=landing.open(), ledger=ledger.open(), at=at)
        context.add_output_metadata({"result": result})

    description = "Uses a landed file although its checks fail, or goes on without one that does not come, until it is delivered."
    return _job(use_cases, "waive", WaiverConfig, waive_partition, description)


BY_HAND = (_train, _approve, _promote, _roll_back, _hand_over, _pause, _resume, _waive)


def _report_step(context: dg.OpExecutionContext, promotions: "Promotions") -> None:
    key = dg.AssetKey(names.stage(promotions.use_case.name, "rollout"))
    ledger = newest_records(promotions.ledger.records(promotions.use_case.name))
    context.log_event(dg.AssetMaterialization(key, metadata={**in_force(promotions.state()), "ledger": ledger}))


def _conclude(
    context: dg.OpExecutionContext, promotions: "Promotions", result: str, *, services: LiveServicesResource, before: int
) -> None:
    """Fails the run where servers do not follow the change, which is recorded after record `before` and is not made again."""
    from mlops_assets.serving.client import confirm

    context.add_output_metadata({"result": result, **in_force(promotions.state())})
    _servers, problem = confirm(promotions, services.open(promotions.use_case.name), before=before)
    if problem:
        raise dg.Failure(problem, allow_retries=False)
