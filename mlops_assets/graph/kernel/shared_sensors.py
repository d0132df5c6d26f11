"""One sensor for all use cases in place of one for each: a tick costs the daemon 20 ms, whatever it does, and 600 are not done
in 5 s.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import dagster as dg

from mlops_assets.graph.kernel.automation import MAX_IDLE_SECONDS, TICK_SECONDS, build_automation
from mlops_assets.graph.kernel.dagster_internals import newest_event_id, share_engines

SHARED = "mlops/shared"  # the tag of a sensor that is evaluated as part of the one that it names
# The tag of those that need not look without a new event more often than once a minute.
BY_EVENT = "mlops/by_event"
MAX_ENTITIES = 250  # assets and checks of one automation sensor; Dagster allows 500, whose evaluation takes 3 s
# The rest follows in the next tick: Dagster gives up a tick after 60 s.
MAX_TICK_S, MAX_EVENTS = 20.0, 1000  # the daemon reports events one by one, in 17 ms each
MAX_NAMES = 3  # use cases named with a reason


class SensorsFailed(RuntimeError):
    """The evaluation of some use cases failed; the others have been evaluated."""


@dataclass
class _State:
    """What a shared sensor remembers of its last tick."""

    cursors: dict[str, str] | None = None  # those of a tick that failed, which Dagster does not store
    last: str = ""  # the sensor that was evaluated last
    problems: dict[str, Exception] = field(default_factory=dict[str, Exception])
    idle: tuple[int | None, float, str] | None = None  # the newest event, when all were evaluated, and why nothing was to do


# By instance and sensor.
_STATES: dict[tuple[str, str], _State] = {}


def share_sensors(definitions: Sequence[dg.Definitions]) -> Iterator[dg.SensorDefinition]:
    """One sensor for each value of the tag, few automation sensors, and all others as they are."""
    by_name: dict[str, dict[str, dg.SensorDefinition]] = {}
    automated: list[tuple[dg.AssetSelection, int]] = []
    for own in definitions:
        for sensor in own.sensors or ():
            if isinstance(sensor, dg.AutomationConditionSensorDefinition):
                automated.append((sensor.asset_selection, _count_entities(own)))
            elif SHARED in sensor.tags:
                by_name.setdefault(sensor.tags[SHARED], {})[sensor.name] = sensor
            else:
                yield sensor
    yield from (_shared(name, members) for name, members in by_name.items())
    for number, selection in enumerate(_packs(automated), start=1):
        yield build_automation(f"automation_{number}", selection)


def _count_entities(definitions: dg.Definitions) -> int:
    assets = [asset for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)]
    return sum(len([*asset.keys, *asset.check_specs]) for asset in assets) + len([*(definitions.asset_checks or ())])


def _packs(automated: Iterable[tuple[dg.AssetSelection, int]]) -> list[dg.AssetSelection]:
    packs, size = list[dg.AssetSelection](), MAX_ENTITIES
    for selection, count in automated:
        size += count
        if size > MAX_ENTITIES:
            packs.append(selection)
            size = count
        else:
            packs[-1] |= selection
    return packs


def _shared(name: str, members: Mapping[str, dg.SensorDefinition]) -> dg.SensorDefinition:
    by_event = all(BY_EVENT in sensor.tags for sensor in members.values())

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        share_engines()
        state = _STATES.setdefault((context.instance.root_directory, name), _State())
        newest, now = newest_event_id(context.instance), monotonic()
        if by_event and state.idle and state.idle[0] == newest and now - state.idle[1] < MAX_IDLE_SECONDS:
            return dg.SkipReason(state.idle[2])
        result = _evaluate(context, members, state)
        state.idle = (newest, now, result.skip_message or "") if isinstance(result, dg.SkipReason) else None
        return result

    return dg.SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        jobs=[sensor.job for sensor in members.values() if sensor.has_jobs] or None,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        required_resource_keys={key for sensor in members.values() for key in sensor.required_resource_keys},
        description=next(iter(members.values())).description,
    )


def _evaluate(
    context: dg.SensorEvaluationContext, members: Mapping[str, dg.SensorDefinition], state: _State
) -> dg.SensorResult | dg.SkipReason:
    """What all use cases report and request. Where some fail, the tick fails once the others have nothing to report."""
    started, reasons = monotonic(), dict[str, str]()
    cursors: dict[str, str] = state.cursors or json.loads(context.cursor or "{}")
    requests, events, state.cursors = list[dg.RunRequest](), list[Any](), None
    for name, sensor in _from(members, state.last):
        if monotonic() - started > MAX_TICK_S or len(events) >= MAX_EVENTS:
            break
        state.last = name  # first, so that the next tick goes on after one that hangs
        try:
            context.update_cursor(cursors.get(name))  # a context of its own would build all resources again, in 20 ms
            result = sensor.evaluate_tick(context)
        except Exception as error:  # noqa: BLE001 - whatever stops one use case, the others go on
            state.problems[name] = error
            continue
        state.problems.pop(name, None)
        requests += [_request(name, sensor, request) for request in result.run_requests or ()]
        events += result.asset_events
        reasons[name] = result.skip_message or ""
        cursors |= {name: result.cursor} if result.cursor else {}
    if state.problems and not (requests or events):
        state.cursors, state.idle = cursors, None
        raise SensorsFailed("\n".join(map(_describe, state.problems.items()))) from next(iter(state.problems.values()))
    context.update_cursor(json.dumps(cursors))
    return dg.SensorResult(run_requests=requests, asset_events=events) if requests or events else dg.SkipReason(_summary(reasons))


def _from(members: Mapping[str, dg.SensorDefinition], last: str) -> list[tuple[str, dg.SensorDefinition]]:
    """All of them, those after `last` first."""
    names = [*members]
    start = names.index(last) + 1 if last in members else 0
    return [(name, members[name]) for name in names[start:] + names[:start]]


def _request(name: str, sensor: dg.SensorDefinition, request: dg.RunRequest) -> dg.RunRequest:
    """Of the use case's job. Dagster starts no second run for a run key of the same sensor."""
    key = f"{name} {request.run_key}" if request.run_key else None
    return dg.RunRequest(key, run_config=request.run_config, tags=request.tags, job_name=sensor.job.name)


def _describe(problem: tuple[str, Exception]) -> str:
    name, error = problem
    return f"{name} · {type(error).__name__}: {' '.join(str(error).split())}"


def _summary(reasons: Mapping[str, str]) -> str:
    """Each reason for which nothing is done, with the sensors that it is of."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    shown = {reason: f"{', '.join(names[:MAX_NAMES])}{f' and {len(names) - MAX_NAMES} more' * (len(names) > MAX_NAMES)}"
             for reason, names in by_reason.items()}  # fmt: skip
    return "\n".join(f"{names}: {reason}" for reason, names in shown.items())
