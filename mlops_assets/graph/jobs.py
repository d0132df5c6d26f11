"""What people do by hand in Dagster's UI: each job calls the function of the `mlops` command of the same name."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
from pydantic import Field

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import some
from mlops_assets.graph.kernel.failures import one_sentence
from mlops_assets.graph.rollout import in_force, newest_records, open_rollouts
from mlops_assets.graph.training_requests import ManualTraining
from mlops_assets.resources import LandingResource, LiveServicesResource, RolloutStoresResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotions import Promotions
    from mlops_assets.rollout.rollouts import Rollouts

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


class ReasonConfig(Decision):
    reason: str = Field(description="The reason, for the ledger.")


class ResumeConfig(Decision):
    why: str = Field(description="The reason, for the ledger.")


class PauseConfig(ResumeConfig):
    until: str = Field(description="When it ends by itself, such as 2026-12-01T06:00, in UTC.")


class WaiverConfig(Decision):
    table: str = Field(description="The table, such as outcomes.")
    partition: str = Field(description="The refused day, hour, week, month or snapshot, as `mlops status` shows it.")
    why: str = Field(description="The reason, for the ledger.")


@dataclass(frozen=True)
class Run:
    """One run of a job about a use case."""

    context: dg.OpExecutionContext
    use_case: UseCase
    stores: RolloutStoresResource
    live_services: LiveServicesResource
    landing: LandingResource
    at: datetime

    @contextmanager
    def replacing_plan(self) -> "Generator[Rollouts]":
        """The block writes a plan, which then is in the event log and on the servers."""
        from mlops_assets.promotion.replaced_plan import reporting_replaced

        rollouts = open_rollouts(self.use_case, self.stores)
        promotions = rollouts.promotions
        with self.followed(promotions):
            with reporting_replaced(promotions, self.context.log.warning):
                yield rollouts
            key = dg.AssetKey(names.stage(self.use_case.name, "rollout"))
            ledger = newest_records(promotions.ledger.records(self.use_case.name))
            self.context.log_event(dg.AssetMaterialization(key, metadata={**in_force(promotions.state()), "ledger": ledger}))

    @contextmanager
    def followed(self, promotions: "Promotions") -> Generator[None]:
        """Fails the run where servers do not follow what the block changes, which is recorded and is not made again."""
        from mlops_assets.serving.client import confirm

        before = promotions.state().head
        yield
        self.context.add_output_metadata(in_force(promotions.state()))
        _servers, problem = confirm(promotions, self.live_services.open(self.use_case.name), before=before)
        if problem:
            raise dg.Failure(problem, allow_retries=False)


def _train(run: Run, config: TrainConfig) -> str:
    stores = run.stores
    training = ManualTraining(run.use_case, run.context.instance, stores.ledger, stores.warehouse, config.by, config.because)
    training.require_possible(run.at)
    training.submit()
    return f"Requested: the sensor triggers starts {names.job(run.use_case.name, 'training')} within seconds."


def _approve(run: Run, config: ApprovalConfig) -> str:
    promotions = open_rollouts(run.use_case, run.stores).promotions
    with run.followed(promotions):
        promotions.approve(config.version, why=config.why, by=config.by, at=run.at)
    return f"Version {config.version} is approved by {config.by}."


def _promote(run: Run, config: PromotionConfig) -> str:
    with run.replacing_plan() as rollouts:
        plan = rollouts.promotions.promote(config.version, reason=config.why, by=config.by, at=run.at)
    return f"Version {plan.champion} serves all requests."


def _roll_back(run: Run, config: ReasonConfig) -> str:
    with run.replacing_plan() as rollouts:
        plan = rollouts.promotions.roll_back(by_hand=True, reason=config.reason, by=config.by, at=run.at)
    return f"Rolled back: version {plan.champion} serves all requests."


def _hand_over(run: Run, config: ReasonConfig) -> str:
    with run.replacing_plan() as rollouts:
        plan = rollouts.hand_over(by=config.by, at=run.at, why=config.reason)
    return f"Handed over: version {plan.champion} serves; {plan.rollout or 'no challenger, no shadow'}."


def _pause(run: Run, config: PauseConfig) -> str:
    from mlops_assets.promotion.pauses import parse_until, pause

    until, ledger = parse_until(config.until), run.stores.ledger.open()
    return str(pause(run.use_case.name, until=until, why=config.why, by=config.by, at=run.at, ledger=ledger))


def _resume(run: Run, config: ResumeConfig) -> str:
    from mlops_assets.promotion.pauses import ENDED, resume

    resume(run.use_case.name, why=config.why, by=config.by, at=run.at, ledger=run.stores.ledger.open())
    return f"{ENDED[0].upper()}{ENDED[1:]}"


def _waive(run: Run, config: WaiverConfig) -> str:
    from mlops_assets.ingestion.refusals import Waiver
    from mlops_assets.promotion.waivers import waive

    waiver, ledger = Waiver(config.why, config.by, run.at.isoformat()), run.stores.ledger.open()
    return waive(run.use_case, config.table, config.partition, waiver, landing=run.landing.open(), ledger=ledger, at=run.at)


class Job(NamedTuple):
    """`act` does what was decided, and returns the result in words."""

    name: str
    op: str
    config: type[Decision]
    act: Callable[[Run, Any], str]
    description: str


BY_HAND = (
    Job(
        "train_now", "request_training", TrainConfig, _train,
        "Trains a model now, also after a failure, then evaluates it and blesses it if it passes its gates.",
    ),
    Job(
        "approve", "approve_version", ApprovalConfig, _approve,
        "Approves a blessed version of a high-risk use case; its rollout then starts.",
    ),
    Job(
        "promote", "promote_version", PromotionConfig, _promote,
        "Lets a blessed version serve all requests now, without its rollout.",
    ),
    Job("rollback", "go_back", ReasonConfig, _roll_back, "Rolls back the challenger, or else the champion."),
    Job(
        "hand_over", "hand_over_rollout", ReasonConfig, _hand_over,
        "Lets the declared rollout start anew; after a rollback by hand, the triggers go on too.",
    ),
    Job(
        "pause", "pause_use_case", PauseConfig, _pause,
        "Lets nothing run by itself for a use case until a moment: no cascade, training or rollout step.",
    ),
    Job("resume", "resume_use_case", ResumeConfig, _resume, "Ends a pause now; what was missed follows by itself."),
    Job(
        "waive", "waive_partition", WaiverConfig, _waive,
        "Uses a landed file although its checks fail, or goes on without one that does not come, until it is delivered.",
    ),
)  # fmt: skip


def build_jobs(use_cases: Sequence[UseCase]) -> list[dg.JobDefinition]:
    """Of all use cases: eight jobs of each would take a third of the time in which 100 use cases load."""
    named = {use_case.name: use_case for use_case in use_cases}
    return [_build_job(job, named) for job in BY_HAND] if named else []


def _build_job(job: Job, use_cases: UseCases) -> dg.JobDefinition:
    """With every field of its configuration empty, so that the launchpad shows what to fill in, and which use cases there are."""
    name, op_name, config_type, act, description = job
    only = {"use_case": next(iter(use_cases)) if len(use_cases) == 1 else f"one of: {some(use_cases, SHOWN)}"}
    types = {field: int if info.annotation is int else str for field, info in config_type.model_fields.items()}
    fields = {
        field: dg.Field(kind, default_value=only.get(field, kind()), description=config_type.model_fields[field].description)
        for field, kind in types.items()
    }
    # Not these defaults alone: for them, Dagster builds the schema of all resources, which is a tenth of the loading time.
    ops: Any = {"ops": {op_name: {"config": fields}}}
    schema: Any = config_type.to_config_schema()

    @dg.op(name=op_name, config_schema=schema)
    def decide(
        context: dg.OpExecutionContext,
        rollout_stores: RolloutStoresResource,
        live_services: LiveServicesResource,
        landing: LandingResource,
    ) -> None:
        config = config_type(**context.op_config)
        run = Run(context, _chosen(config, use_cases), rollout_stores, live_services, landing, datetime.now(UTC))
        with _recorded(config):
            context.add_output_metadata({"result": act(run, config)})

    @dg.job(name=name, description=description, tags={"mlops/by_hand": name}, config=dg.ConfigMapping(dict, dg.Permissive(ops)))
    def by_hand() -> None:
        decide()

    return by_hand


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
