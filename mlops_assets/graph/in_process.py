"""The graph and the sensors of one use case in this process, each run at the time that the caller passes: without a daemon."""

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment
from mlops_assets.graph.compile import build_shared, build_use_case
from mlops_assets.graph.kernel.dagster_internals import RANGE_END, RANGE_START
from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.graph.kernel.run_clock import AS_OF
from mlops_assets.graph.training_triggers import Request, TrainingTriggers
from mlops_assets.graph.trainings import error_of
from mlops_assets.resources import Resources, build_resources
from mlops_assets.spec.use_case import UseCase

# What a run prints is not kept: for that, Dagster starts two processes a run.
INSTANCE = """
telemetry: {enabled: false}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # the event log has it all
INTERRUPTED = dg.DagsterExecutionInterruptedError.__name__
# Of the training job: no server of this process has an address, and the catalogue is for people.
NOT_HERE = ("service", "feature_catalog")


class Check(NamedTuple):
    """The result of one check: `figures` are the numbers of its metadata."""

    name: str
    asset: str
    passed: bool
    message: str
    figures: Mapping[str, float]


class Ran(NamedTuple):
    """What a run did: `metadata` by the name of the asset, `error` of the step that failed first, on one line."""

    run_id: str
    succeeded: bool
    checks: tuple[Check, ...]
    metadata: Mapping[str, Mapping[str, Any]]
    error: str


@dataclass
class InProcess:
    """Not for several threads. `environment` is that of a home which no platform uses."""

    use_case: UseCase
    environment: Environment
    instance: dg.DagsterInstance
    assets: dg.Definitions

    @classmethod
    @contextmanager
    def opened(cls, use_case: UseCase, environment: Environment) -> Generator[Self]:
        share_engines()
        folder = environment.home.dagster
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dagster.yaml").write_text(INSTANCE)
        with warnings.catch_warnings(action="ignore"), dg.DagsterInstance.from_config(str(folder)) as instance:
            yield cls(use_case, environment, instance, build_use_case(use_case))

    def materialize(self, paths: Sequence[names.AssetPath], *, at: datetime, keys: tuple[str, str] | None = None) -> Ran:
        """One run of these assets, over the partitions between the two `keys` where there are any."""
        bounds = dict(zip((RANGE_START, RANGE_END), keys, strict=True)) if keys else {}
        job = self._defined(at).resolve_implicit_global_asset_job_def()
        return self._run(job, [*map(dg.AssetKey, paths)], {AS_OF: at.isoformat(), **bounds})

    def train(self, request: Request, *, at: datetime) -> Ran:
        """One run of the training job, which starts the rollout of a blessed version."""
        job = self._defined(at).resolve_job_def(names.job(self.use_case.name, "training"))
        left_out = {dg.AssetKey(names.stage(self.use_case.name, name)) for name in NOT_HERE}
        selected = [key for key in job.asset_layer.executable_asset_keys if key not in left_out]
        return self._run(job, selected, {**request.run_tags(self.use_case), AS_OF: at.isoformat()})

    def due_training(self, *, at: datetime) -> Request | str:
        """The training that is due, or why none is: as the sensor of the triggers decides."""
        resources = self.resources(at)
        state = resources["ledger"].open().state(self.use_case.name)
        return TrainingTriggers(self.use_case, self.instance, state, resources["warehouse"], at).next()

    def advance_rollout(self, *, at: datetime) -> None:
        """As the rollout sensor does at each tick."""
        name = names.job(self.use_case.name, "rollout")
        sensor = next(one for one in self.assets.sensors or () if one.name == name)
        resources: dict[str, Any] = {**self.resources(at)}
        needed = {name: resources[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(self.instance, resources=needed) as context:
            for event in sensor.evaluate_tick(context).asset_events:
                self.instance.report_runless_asset_event(event)

    def resources(self, at: datetime) -> Resources:
        """Those of the runs of this moment."""
        return build_resources(self.environment, as_of=at)

    def _defined(self, at: datetime) -> dg.Definitions:
        with warnings.catch_warnings(action="ignore"):
            return dg.Definitions.merge(build_shared(self.environment, as_of=at), self.assets)

    def _run(self, job: dg.JobDefinition, keys: Sequence[dg.AssetKey], tags: Mapping[str, str]) -> Ran:
        ran = job.execute_in_process(QUIET, self.instance, asset_selection=keys, tags=tags, raise_on_error=False)
        failures = [event.step_failure_data.error for event in ran.all_events if event.is_step_failure]
        if any(INTERRUPTED in str(failure) for failure in failures):  # Ctrl-C, which Dagster makes the failure of a step
            raise KeyboardInterrupt
        checks = tuple(map(_check, ran.get_asset_check_evaluations()))
        made = [event for event in ran.all_events if event.is_step_materialization]
        metadata = {event.asset_key.path[-1]: _plain(event.materialization.metadata) for event in made if event.asset_key}
        error = error_of(self.instance, ran.run_id) if failures else ""
        return Ran(ran.run_id, ran.success, checks, metadata, error)


def _check(evaluation: dg.AssetCheckEvaluation) -> Check:
    numbers = _plain(evaluation.metadata)
    figures = {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}
    asset = evaluation.asset_key.path[-1]
    return Check(evaluation.check_name, asset, evaluation.passed, evaluation.description or "", figures)


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts and the rows of tables; pictures, links and JSON are left out."""
    plain: dict[str, Any] = {}
    for name, value in metadata.items():
        match value:
            case dg.TableMetadataValue():
                plain[name] = [dict(record.data) for record in value.records]
            case dg.IntMetadataValue() | dg.FloatMetadataValue() | dg.TextMetadataValue():
                plain[name] = value.value
            case _:
                pass
    return plain
