"""The compiler: one declaration in, one set of Dagster definitions out."""

import warnings
from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment
from mlops_assets.graph.alerts import build_alerts
from mlops_assets.graph.evaluation import build_evaluation
from mlops_assets.graph.features import build_features
from mlops_assets.graph.ingestion import build_ingestion
from mlops_assets.graph.jobs import build_jobs
from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.kernel.shared_sensors import share_sensors
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.graph.monitoring import build_monitoring, build_monitoring_sensors
from mlops_assets.graph.pulling import build_pulling
from mlops_assets.graph.refill import build_refill
from mlops_assets.graph.rollout import build_rollout
from mlops_assets.graph.serving import build_serving
from mlops_assets.graph.training import build_training
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.resources import build_resources
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase


def build_shared(environment: Environment, *, as_of: datetime | None = None) -> dg.Definitions:
    """The resources of all use cases, and their executor. `as_of`: as build_resources."""
    home = environment.home
    resources = {**build_resources(environment, as_of=as_of), **build_io_managers(str(home.tables), str(home.root / "values"))}
    # A step costs 0.04 s in one process, and 4.8 s in a process of its own.
    return dg.Definitions(resources=resources, executor=dg.in_process_executor)


def build_training_job(use_case: UseCase, environment: Environment) -> dg.JobDefinition:
    """The job that trains the use case, with its resources, to run in this process."""
    with warnings.catch_warnings(action="ignore"):
        definitions = dg.Definitions.merge(build_shared(environment), build_use_case(use_case))
        return definitions.resolve_job_def(names.job(use_case.name, "training"))


def build_use_cases(use_cases: Sequence[UseCase], not_loaded: Sequence[str]) -> list[dg.Definitions]:
    """The definitions of each use case that compiles, with shared sensors. All others are named, with `not_loaded`, by one sensor
    that fails.
    """
    compiled, uncompiled = compile_use_cases(use_cases)
    problems = [*not_loaded, *uncompiled]
    with warnings.catch_warnings(action="ignore"):
        sensors = [*share_sensors(compiled), *([_failing_sensor(problems)] if problems else [])]
    jobs = build_jobs([use_case for use_case in use_cases if use_case.name in compiled])
    return [*map(_without_sensors, compiled.values()), dg.Definitions(jobs=jobs, sensors=sensors)]


def compile_use_cases(use_cases: Sequence[UseCase]) -> tuple[dict[str, dg.Definitions], list[str]]:
    """The definitions of those that compile, by their names, and why the others do not, a line each."""
    compiled: dict[str, dg.Definitions] = {}
    problems: list[str] = []
    for use_case in use_cases:
        try:
            with warnings.catch_warnings(action="ignore"):  # Dagster's, about its own parameters
                compiled[use_case.name] = build_use_case(use_case)
        except Exception as error:  # noqa: BLE001 - whatever stops one use case, the others go on
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            problems.append(f"{use_case.name} · does not compile: {reason}. Correct its declaration.")
    return compiled, problems


def _without_sensors(own: dg.Definitions) -> dg.Definitions:
    return dg.Definitions(assets=own.assets, asset_checks=own.asset_checks, jobs=own.jobs)


def _failing_sensor(problems: Sequence[str]) -> dg.SensorDefinition:
    @dg.sensor(
        name="illegal_declarations",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
        description="Fails while a use case has no graph, because its declaration is illegal. Its last tick says what is wrong.",
    )
    def illegal_declarations() -> dg.SkipReason:
        raise IllegalDeclaration("\n".join([*problems, "Run `mlops check`, correct them, and reload the code location."]))

    return illegal_declarations


def build_use_case(use_case: UseCase) -> dg.Definitions:
    """Every asset, check, job and sensor of one use case; resources are bound by the caller."""
    parts = (build_ingestion, build_features, build_training, build_evaluation, build_serving, build_monitoring)
    triggers, rollout = build_triggers(use_case), build_rollout(use_case)
    pulling, refill = build_pulling(use_case), build_refill(use_case)
    automation = build_automation(names.job(use_case.name, "automation"), dg.AssetSelection.key_prefixes(use_case.name))
    assets = [*(asset for build in parts for asset in build(use_case)), *rollout["assets"], *pulling["assets"]]
    checks = [*triggers["checks"], *rollout["checks"]]
    checked = [key for one in (*assets, *checks) if isinstance(one, dg.AssetsDefinition) for key in one.check_keys]
    sensors = [sensor for part in (triggers, rollout, pulling, refill) for sensor in part["sensors"]]
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[*triggers["jobs"], *pulling["jobs"], *refill["jobs"]],
        sensors=[*sensors, *build_monitoring_sensors(use_case), build_alerts(use_case, checked), automation],
    )
