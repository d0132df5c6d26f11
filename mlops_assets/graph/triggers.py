"""Sensors and schedules of one use case: the prediction log and the triggers of a training."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.kernel.automation import BY_EVENT, TICK_SECONDS
from mlops_assets.graph.kernel.check_verdict import CheckVerdict
from mlops_assets.graph.kernel.conditions import MADE, UNFINISHED
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION, newest_check, newest_events
from mlops_assets.graph.kernel.shared_sensors import SHARED
from mlops_assets.graph.landing import landed_checks, landing_sensor
from mlops_assets.graph.training_requests import describe_version
from mlops_assets.graph.trainings import ONE_AT_A_TIME, REQUEST, read_trainings, training_tables
from mlops_assets.resources import HomeLock, LedgerResource, PredictionLogResource, WarehouseResource
from mlops_assets.spec.suffixed import endings
from mlops_assets.spec.trigger import OnSchedule
from mlops_assets.spec.use_case import UseCase

RUNNING = dg.DefaultSensorStatus.RUNNING
# Under steady traffic the log is reported every five minutes, so that monitors do not run back to back.
TICKS_TO_A_PAUSE = 60  # five minutes
TRAINED = ("training_set", "candidate", "evaluation", "blessing", "rollout", "service")
Requests = dg.SensorResult | dg.SkipReason
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def build_triggers(use_case: UseCase) -> dict[str, list[Any]]:
    """Sensors, schedules and the training job, as keyword arguments of Definitions."""
    training = _training_job(use_case)
    sensors = [landing_sensor(use_case), _log_sensor(use_case), _first_model(use_case, training)]
    # One sensor for every bound on the performance: its check fails when any of them is broken.
    for stage, monitor in use_case.monitor_stages.items():
        sensors += [_on_failed_check(use_case, training, stage, monitor.CHECK)] if use_case.triggers_of(stage) else []
    declared = [trigger for trigger in use_case.triggers if isinstance(trigger, OnSchedule)]
    schedules = [_schedule(use_case, training, *one) for one in zip(declared, endings(declared), strict=True)]
    return {"jobs": [training], "checks": landed_checks(use_case), "sensors": sensors, "schedules": schedules}


def _training_job(use_case: UseCase) -> Any:
    stages = (*TRAINED, *(["feature_catalog"] if use_case.features.views else []))
    return dg.define_asset_job(
        names.job(use_case.name, "training"),
        selection=dg.AssetSelection.assets(*(names.stage(use_case.name, name) for name in stages)),
        tags={ONE_AT_A_TIME: use_case.name},
        description="Train a candidate, evaluate it against the champion on the same rows, and roll it out if it is blessed.",
    )


def _log_sensor(use_case: UseCase) -> dg.SensorDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "prediction_log"))

    @dg.sensor(
        name=names.job(use_case.name, "prediction_log"),
        tags={SHARED: "prediction_log"},
        default_status=RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        description="Reports new rows of the prediction log, at the next pause in traffic or after five minutes without one.",
    )
    def report(context: dg.SensorEvaluationContext, prediction_log: PredictionLogResource) -> Requests:
        written = sum(prediction_log.open(use_case).segments().values())
        reported, previous, ticks = map(int, (context.cursor or "0 0 0").split())
        if written == reported:
            return dg.SkipReason("No request has been served since the last report.")
        if written != previous and ticks < TICKS_TO_A_PAUSE:
            context.update_cursor(f"{reported} {written} {ticks + 1}")
            return dg.SkipReason("Requests are being served; waiting for a pause.")
        event = dg.AssetMaterialization(key, metadata={"bytes": written}, tags={DATA_VERSION: str(written)})
        context.update_cursor(f"{written} {written} 0")
        return dg.SensorResult(asset_events=[event])

    return report


def _first_model(use_case: UseCase, training: Any) -> dg.SensorDefinition:
    @dg.sensor(
        name=names.job(use_case.name, "first_model"),
        tags={SHARED: "first_model", BY_EVENT: "0"},
        job=training,
        default_status=RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        description="Trains the first model once there is enough data, tries a failed training again, and starts requested ones.",
    )
    def first_model(
        context: dg.SensorEvaluationContext, ledger: LedgerResource, warehouse: WarehouseResource, home_lock: HomeLock
    ) -> Requests:
        from mlops_assets.promotion.promotion_state import promotion_state_of

        state = promotion_state_of(use_case.name, ledger.open().records(use_case.name))
        trainings = read_trainings(use_case, context.instance, state)
        if requested := trainings.requested:
            return _train(use_case, requested.reason, f"request {requested.at}", **{REQUEST: requested.at})
        is_due, message = trainings.next(datetime.now(UTC))
        if is_due and not state.plan and (missing := _missing(context, use_case, warehouse)):
            return dg.SkipReason(f"The first training waits: {missing}")
        if not is_due:
            return dg.SkipReason(message)
        newest = trainings.records[0].dagster_run.run_id if trainings.records else ""
        return _train(use_case, message, f"after {newest}" if newest else "first_model")

    return first_model


def _missing(context: dg.SensorEvaluationContext, use_case: UseCase, warehouse: WarehouseResource) -> str:
    """What the first training waits for; empty when nothing. The tables are read again only after they were written."""
    instance, views = context.instance, use_case.features.views
    online = {view.name: dg.AssetKey(names.online(use_case.name, view.name)) for view in views}
    if unfilled := [name for name, key in online.items() if not instance.get_latest_materialization_event(key)]:
        return f"not every feature view has been filled yet: {', '.join(unfilled)}."
    read = {*training_tables(use_case), *(dg.AssetKey(names.feature(use_case.name, view.name)) for view in views)}
    if any(read & (run.asset_selection or set()) for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))):
        return "a run writes the tables that it reads."
    newest = [newest_events(instance, key, MADE, partitioned=False).get(None, 0) for key in sorted(read)]
    at = "-".join(map(str, newest))
    if not (context.cursor or "").startswith(f"{at} "):
        from mlops_assets.features.enough_data import describe_missing

        context.update_cursor(f"{at} {describe_missing(use_case, warehouse.open(), now=datetime.now(UTC))}")
    return (context.cursor or "").partition(" ")[2]


def _on_failed_check(use_case: UseCase, training: Any, monitor: str, check: str) -> dg.SensorDefinition:
    key = dg.AssetCheckKey(dg.AssetKey(names.stage(use_case.name, monitor)), check)

    @dg.sensor(
        name=names.job(use_case.name, f"on_{monitor}"),
        tags={SHARED: "on_failed_check", BY_EVENT: "0"},
        job=training,
        default_status=RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        description="Trains again when a monitor's check has failed since the last training; not while a version is to follow.",
    )
    def on_failed_check(context: dg.SensorEvaluationContext, ledger: LedgerResource) -> Requests:
        from mlops_assets.promotion.promotion_state import promotion_state_of

        record = newest_check(context.instance, key)
        verdict = CheckVerdict.of_record(record)
        if verdict is None or verdict.verdict is not Verdict.ALARM:
            return dg.SkipReason(f"{check} raises no alarm.")
        if not any(trigger.is_reason(verdict.reason_to_train) for trigger in use_case.triggers_of(monitor)):
            return dg.SkipReason(f"{verdict.message} This is reported, and no reason to train.")
        if _trained_since(context, use_case, record.create_timestamp):
            return dg.SkipReason("A model has been trained, or is being trained, since the check failed.")
        state = promotion_state_of(use_case.name, ledger.open().records(use_case.name))
        if state.upcoming is not None:  # the monitors judge the champion, as long as it serves
            upcoming = describe_version(use_case, state, state.upcoming)
            return dg.SkipReason(f"{upcoming} Another training starts if the check still fails after its rollout.")
        return _train(use_case, f"{monitor}: {verdict.message}", f"{monitor}-{record.id}")

    return on_failed_check


def _trained_since(context: dg.SensorEvaluationContext, use_case: UseCase, moment: float) -> bool:
    """Whether a training runs, or ended after `moment`."""
    # One failed check causes one training, however many monitors failed before or during it: they judged the model before.
    tags = {ONE_AT_A_TIME: use_case.name}
    latest = context.instance.get_run_records(dg.RunsFilter(tags=tags), limit=1)
    return bool(latest) and (latest[0].dagster_run.status not in FINISHED or (latest[0].end_time or 0.0) > moment)


def _train(use_case: UseCase, reason: str, run_key: str, **tags: str) -> dg.SensorResult:
    tags |= {"mlops/reason": reason, ONE_AT_A_TIME: use_case.name}
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key, tags=tags)])


def _schedule(use_case: UseCase, training: Any, at: OnSchedule, ending: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        # Dagster keeps a schedule's state by its name.
        name=names.job(use_case.name, f"on_schedule{ending}"),
        job=training,
        cron_schedule=at.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        tags={"mlops/reason": f"schedule: {at.cron}", ONE_AT_A_TIME: use_case.name},
    )
