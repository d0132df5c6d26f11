"""Sources that are read into the landing folder: an asset before the landed files, its job, and the sensor that runs it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.asset_metadata import asset_metadata
from mlops_assets.graph.kernel.conditions import UNFINISHED
from mlops_assets.graph.kernel.dagster_internals import stopped_sensors
from mlops_assets.graph.kernel.outages import tried_again
from mlops_assets.graph.kernel.switch import why_stopped
from mlops_assets.home_claim import HomeLock
from mlops_assets.resources import PullingResource
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.use_case import UseCase

MISSED, MIN_WINDOW = 3, timedelta(minutes=10)  # runs that may fail before the asset is stale
MAX_SHOWN = 20  # changed files in the metadata of a run


class PullConfig(dg.Config):
    """`anew`: read the source from the start, for example after a column was added to its contract."""

    anew: bool = False


def build_pulling(use_case: UseCase) -> dict[str, list[Any]]:
    """Assets, jobs and sensors of the pulled sources, as keyword arguments of Definitions."""
    sources = [source for source in use_case.sources if isinstance(source, PulledSource)]
    assets = [_pulled(use_case, source) for source in sources]
    jobs = [_job(use_case, source) for source in sources]
    return {
        "assets": assets,
        "jobs": jobs,
        "sensors": [_sensor(use_case, source, job) for source, job in zip(sources, jobs, strict=True)],
    }


def _pulled(use_case: UseCase, source: PulledSource) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.pulled(use_case.name, source.table),
        description=f"New rows of {source.table}, read from {type(source).__name__} into the landing folder.",
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=max(MISSED * source.every, MIN_WINDOW)),
        **asset_metadata(use_case, "pulled", source.LOGO),
    )
    def pulled(
        context: dg.AssetExecutionContext, config: PullConfig, pulling: PullingResource, home_lock: HomeLock
    ) -> dg.MaterializeResult[Any]:
        with tried_again(context):
            result = pulling.pull(source, use_case, now=datetime.now(UTC), anew=config.anew)
        if result.outside:
            context.log.warning(f"{result.outside:,} rows are of days that are not declared; they have not landed.")
        counts = {"rows_read": result.read, "rows_outside": result.outside, "files_changed": len(result.files)}
        return dg.MaterializeResult(metadata={**counts, "files": _shown(result.files)})

    return pulled


def _shown(files: Sequence[object]) -> str:
    more = f" and {len(files) - MAX_SHOWN} more" if len(files) > MAX_SHOWN else ""
    return ", ".join(map(str, files[:MAX_SHOWN])) + more or "none"


def _job(use_case: UseCase, source: PulledSource) -> Any:
    return dg.define_asset_job(
        names.job(use_case.name, f"pull_{source.table}"),
        selection=dg.AssetSelection.assets(names.pulled(use_case.name, source.table)),
        description=f"Read the new rows of {source.table} into the landing folder.",
    )


def _sensor(use_case: UseCase, source: PulledSource, job: Any) -> dg.SensorDefinition:
    @dg.sensor(
        name=job.name,
        job=job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=int(source.every.total_seconds()),
        description=f"Reads the new rows of {source.table} at its declared interval, one run at a time.",
    )
    def due(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if reason := why_stopped(use_case.name, stopped_sensors(context.instance)):
            return dg.SkipReason(reason)
        if context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED), limit=1):
            return dg.SkipReason("The run before has not ended.")
        return dg.RunRequest()

    return due
