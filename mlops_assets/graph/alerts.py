"""The sensor that alerts people to failed checks, runs and trainings, and to a ledger that does not answer."""

import base64
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation.moments import to_second
from mlops_assets.graph.failed_runs import find_failed_run, read_failed_runs
from mlops_assets.graph.kernel.check_verdict import CheckVerdict, check_keys
from mlops_assets.graph.kernel.dagster_internals import newest_checks, newest_event_id, until_next_event
from mlops_assets.graph.kernel.shared_sensors import shared_sensor
from mlops_assets.graph.monitors.investigation import read_top_cause, with_cause
from mlops_assets.graph.trainings import read_trainings
from mlops_assets.resources import ChannelsResource, LedgerResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.monitoring.alerts import Alarm

PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
TRAINING = "training"
NO_PICTURES = MappingProxyType[str, bytes]({})


def build_alerts(use_case: UseCase, checks: Sequence[dg.AssetCheckKey]) -> dg.SensorDefinition:
    """Of all `checks` of the use case."""

    @shared_sensor(
        use_case,
        "alerts",
        by_event=True,
        description="Sends alerts: each cause once, and when it is over. MLOPS_ALERTS has the addresses.",
    )
    def alerts(context: dg.SensorEvaluationContext, channels: ChannelsResource, ledger: LedgerResource) -> dg.SkipReason:
        from mlops_assets.monitoring.alerts import MAX_UNSENT, Sent, find_news

        sent, now = Sent.of_cursor(context.cursor), to_second(datetime.now(UTC))
        checked = _failed_checks(use_case, context.instance, checks, channels.dagster_url, known=sent.alarms)
        alarms = [*checked, *_failed_run(use_case, context.instance)]
        alarms += _failed_training(use_case, context.instance, ledger, is_known=TRAINING in sent.alarms)
        message, opened = find_news(use_case, alarms, sent, status_url=channels.status_url), channels.open()
        targets, unsent = opened.targets(), dict[str, Any]()  # before the log, which would get the message again after an error
        if message:
            opened.write(message, now)
        for address, target in targets.items():
            waiting = [*sent.unsent.get(address, ()), *([(message.title, message.body)] if message else [])]
            unsent[address] = _send_all(target, waiting, message.pictures if message else NO_PICTURES)[-MAX_UNSENT:]
        context.update_cursor(Sent(sent.after(alarms), {at: left for at, left in unsent.items() if left}).to_cursor())
        return dg.SkipReason(_describe(message, unsent))

    return alerts


def _send_all(target: Any, waiting: "Sequence[tuple[str, str]]", pictures: Mapping[str, bytes]) -> "list[tuple[str, str]]":
    """Oldest first; returns those from the first that is not taken on. The newest has the pictures."""
    from mlops_assets.foundation.channels import Message, send

    for number, (title, body) in enumerate(waiting):
        is_newest = number == len(waiting) - 1
        if not send(target, Message(title, body, pictures if is_newest else NO_PICTURES)):
            return [*waiting[number:]]
    return []


def _describe(message: Any, unsent: "dict[str, Any]") -> str:
    sent = f"Sent: {message.title}." if message else "Nothing new."
    left = [f"{address} takes no message; {len(waiting)} wait" for address, waiting in unsent.items() if waiting]
    return f"{sent} {'; '.join(left)}{'. They are sent again within a minute.' if left else ''}".strip()


def _failed_checks(
    use_case: UseCase,
    instance: dg.DagsterInstance,
    checks: Sequence[dg.AssetCheckKey],
    dagster_url: str | None,
    *,
    known: Container[str],
) -> "Iterator[Alarm]":
    """The alarm of a monitor names its cause: a new one waits for the investigation, which is part of the same run."""
    from mlops_assets.monitoring.alerts import Alarm

    monitors = {key: stage for stage, key in check_keys(use_case).items()}
    failed = {key: record for key, record in newest_checks(instance, checks).items() if _is_failed(record)}
    top = read_top_cause(instance, use_case.name) if failed.keys() & monitors.keys() else None
    for key, record in failed.items():
        path, verdict = "/".join(key.asset_key.path), CheckVerdict.of(record.event.asset_check_evaluation)
        name, message = f"{key.asset_key.path[-1]} · {key.name}", verdict.message
        if top and key in monitors:
            if name not in known and top.at < record.event.timestamp and _is_running(instance, record.run_id):
                continue
            message = with_cause(message, monitors[key], top)
        link = f"{dagster_url}/assets/{path}?view=checks&checkDetail={key.name}" if dagster_url else ""
        yield Alarm(name, message, verdict.symptoms, link, _picture(instance, key.asset_key))


def _is_failed(record: Any) -> bool:
    evaluation = record.event.asset_check_evaluation if record.event else None
    return evaluation is not None and not evaluation.passed


def _is_running(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and not run.is_finished


def _picture(instance: dg.DagsterInstance, key: dg.AssetKey) -> bytes | None:
    """The first one on the page of the asset."""
    event = instance.get_latest_materialization_event(key)
    made = event.asset_materialization if event else None
    entry = made.metadata.get("pictures") if made else None
    match = PICTURE.search(entry.md_str or "") if isinstance(entry, dg.MarkdownMetadataValue) else None
    return base64.b64decode(match[1]) if match else None


def _failed_run(use_case: UseCase, instance: dg.DagsterInstance) -> "Iterator[Alarm]":
    from mlops_assets.monitoring.alerts import Alarm

    # Read once for all use cases: 200 runs take 50 ms.
    newest = newest_event_id(instance) or 0
    failed = until_next_event(instance, "failed_runs", newest, lambda: read_failed_runs(instance))
    if run := find_failed_run(use_case.name, instance, failed):
        yield Alarm(f"run of {run.tables}", run.message)


def _failed_training(
    use_case: UseCase, instance: dg.DagsterInstance, ledger: LedgerResource, *, is_known: bool
) -> "Iterator[Alarm]":
    from mlops_assets.monitoring.alerts import Alarm
    from mlops_assets.promotion.ledger import LedgerDown

    try:
        state = ledger.open().state(use_case.name)
    except LedgerDown as error:
        yield Alarm("ledger", str(error))
        if is_known:  # whether it is over cannot be read now
            yield Alarm(TRAINING, "")
        return
    trainings = read_trainings(use_case, instance, state)
    if trainings.failure:
        yield Alarm(TRAINING, f"{trainings.failure} {trainings.outlook}")
