"""One sensor for many use cases in place of one for each: a tick costs the daemon 20 ms, whatever it does, and 600 are not done
in 5 s. Each use case has a sensor that does nothing but stop the part of the others that is its own.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import some
from mlops_assets.graph.kernel.automation import BY_EVENT, MUTED, TICK_SECONDS
from mlops_assets.graph.kernel.changes import Change, read_changes
from mlops_assets.graph.kernel.dagster_internals import set_cursor, stopped_sensors
from mlops_assets.graph.kernel.dagster_storage import report_events, share_engines
from mlops_assets.graph.kernel.switch import build_switch, why_stopped
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.pauses import Pause

SHARED = "mlops/shared"  # the tag of a sensor that is evaluated as part of the one that it names
MAX_ENTITIES = 250  # assets and checks of one automation sensor: other sensors evaluate the other use cases meanwhile
# The rest follows in the next tick: Dagster gives up a tick after 60 s.
MAX_TICK_S, MAX_EVENTS = 20.0, 10_000  # which take 4 s to report, and most of a tick on a busy machine
# Without a new event, what depends on the time is evaluated once a minute, less often where that takes more than this share of
# the time, and with this many seconds in a tick: the conditions of a use case take 0.1 s.
MAX_IDLE_S, MAX_IDLE_LOAD, IDLE_TICK_S = 60.0, 0.05, 0.1
MAX_NAMES = 3  # use cases named with a reason


def shared_sensor(
    use_case: UseCase, kind: str, *, description: str, stage: str = "", by_event: bool = False, job: Any = None
) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """As @dg.sensor, of one use case. `by_event`: it looks after an event, or once a minute, and not at each tick."""
    return dg.sensor(
        name=names.job(use_case.name, stage or kind),
        job=job,
        tags={SHARED: kind, **({BY_EVENT: "0"} if by_event else {})},
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        description=description,
    )


class SensorsFailed(RuntimeError):
    """The evaluation of some use cases failed; the others have been evaluated."""


class Member(NamedTuple):
    """The sensor of one use case, and how long after an event its result begins to hold; None: it looks at each tick."""

    use_case: str
    sensor: dg.SensorDefinition

    @property
    def settle_s(self) -> float | None:
        return float(self.sensor.tags[BY_EVENT]) if BY_EVENT in self.sensor.tags else None


class Idle(NamedTuple):
    """An evaluation that found nothing to do, and the newest event before it."""

    change: Change
    cursor: str | None
    at: float
    took: float
    reason: str

    def holds(self, change: Change, cursor: str | None, settle_s: float) -> bool:
        return (change.event, cursor) == (self.change.event, self.cursor) and self.at - self.change.noticed >= settle_s

    def is_recent(self, now: float, members: int) -> bool:
        return now - self.at < max(MAX_IDLE_S, self.took * members / MAX_IDLE_LOAD)


@dataclass
class _State:
    """What a shared sensor remembers of its last tick."""

    cursors: dict[str, str] | None = None  # those of a tick that failed, which Dagster does not store
    last: str = ""  # the sensor that was evaluated last
    problems: dict[str, Exception] = field(default_factory=dict[str, Exception])
    idle: dict[str, Idle] = field(default_factory=dict[str, Idle])
    pauses: Sequence["Pause"] = ()

    def forget(self, name: str) -> None:
        self.problems.pop(name, None)
        self.idle.pop(name, None)


# By instance and sensor.
_STATES: dict[tuple[str, str], _State] = {}


@dataclass
class _Tick:
    """What the use cases report and request in one tick."""

    cursors: dict[str, str]
    requests: list[dg.RunRequest] = field(default_factory=list[dg.RunRequest])
    events: list[Any] = field(default_factory=list[Any])
    evaluations: list[Any] = field(default_factory=list[Any])
    reasons: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def is_empty(self) -> bool:
        return not (self.requests or self.events or self.evaluations)

    def add(self, name: str, member: Member, result: Any) -> None:
        self.requests += [_request(name, member.sensor, request) for request in result.run_requests or ()]
        self.events += result.asset_events
        self.evaluations += result.automation_condition_evaluations
        self.reasons[name] = f"{len(result.asset_events):,} reported." if result.asset_events else result.skip_message or ""
        self.cursors |= {name: result.cursor} if result.cursor else {}


def share_sensors(definitions: Mapping[str, dg.Definitions]) -> Iterator[dg.SensorDefinition]:
    """One sensor for each value of the tag, few automation sensors, and all others as they are; of each use case, its switch."""
    by_name: dict[str, dict[str, Member]] = {}
    automated: list[tuple[Member, dg.Definitions]] = []
    for use_case, own in definitions.items():
        yield build_switch(use_case)
        for sensor in own.sensors or ():
            if isinstance(sensor, dg.AutomationConditionSensorDefinition):
                automated.append((Member(use_case, sensor), own))
            elif SHARED in sensor.tags:
                by_name.setdefault(sensor.tags[SHARED], {})[sensor.name] = Member(use_case, sensor)
            else:
                yield sensor
    yield from (_shared(name, members, use_cases=len(definitions)) for name, members in by_name.items())
    for number, (members, keys) in enumerate(_packs(automated), start=1):
        yield SharedAutomation(f"automation_{number}", members, keys, use_cases=len(definitions))


class SharedAutomation(dg.AutomationConditionSensorDefinition):
    """The automation sensors of some use cases, evaluated one by one."""

    def __init__(self, name: str, members: Mapping[str, Member], keys: Sequence[dg.AssetKey], *, use_cases: int) -> None:
        # Not by their prefixes, with each of which Dagster compares every asset, three times for a sensor.
        target = dg.AssetSelection.assets(*keys)
        self._shared = _shared(name, members, use_cases=use_cases, selection=target)
        used = [member.use_case for member in members.values()]
        super().__init__(
            name,
            target=target,
            use_user_code_server=True,
            default_status=self._shared.default_status,
            minimum_interval_seconds=TICK_SECONDS,
            description=f"Requests the runs that make what is missing or behind its parents, of {some(used, 3)}.",
        )

    @property
    def required_resource_keys(self) -> set[str]:
        return self._shared.required_resource_keys

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        return self._shared.evaluate_tick(context)


def _packs(automated: Iterable[tuple[Member, dg.Definitions]]) -> list[tuple[dict[str, Member], list[dg.AssetKey]]]:
    """The members of each sensor, and their assets."""
    packs, size = list[tuple[dict[str, Member], list[dg.AssetKey]]](), MAX_ENTITIES
    for member, own in automated:
        assets = [asset for asset in own.assets or () if isinstance(asset, dg.AssetsDefinition)]
        count = sum(len([*asset.keys, *asset.check_specs]) for asset in assets) + len([*(own.asset_checks or ())])
        size += count
        if size > MAX_ENTITIES:
            packs.append(({}, []))
            size = count
        packs[-1][0][member.sensor.name] = member
        packs[-1][1].extend(key for asset in assets for key in asset.keys)
    return packs


def _shared(
    name: str, members: Mapping[str, Member], *, use_cases: int, selection: dg.AssetSelection | None = None
) -> dg.SensorDefinition:
    sensors = [member.sensor for member in members.values()]

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        share_engines()
        state = _STATES.setdefault((context.instance.root_directory, name), _State())
        return _evaluate(context, members=members, state=state, use_cases=use_cases)

    return dg.SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        jobs=[sensor.job for sensor in sensors if sensor.has_jobs] or None,
        asset_selection=selection,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        required_resource_keys={key for sensor in sensors for key in _required_keys(sensor)},
        description=sensors[0].description,
    )


def _required_keys(sensor: dg.SensorDefinition) -> set[str]:
    return {*sensor.required_resource_keys, *(["ledger"] if MUTED in sensor.tags else [])}


def _pauses(context: dg.SensorEvaluationContext, members: Mapping[str, Member], state: _State) -> dict[str, str]:
    """Those that stop sensors of these use cases, in words. While the ledger does not answer, those that were read before."""
    if not any(MUTED in member.sensor.tags for member in members.values()):
        return {}
    from mlops_assets.promotion.ledger import LedgerDown
    from mlops_assets.promotion.pauses import pauses_in_force

    now = datetime.now(UTC)
    with suppress(LedgerDown):
        state.pauses = [*pauses_in_force(context.resources.ledger.open(), now).values()]
    return {pause.use_case: str(pause) for pause in state.pauses if now < pause.until}


def _evaluate(
    context: dg.SensorEvaluationContext, *, members: Mapping[str, Member], state: _State, use_cases: int
) -> dg.SensorResult | dg.SkipReason:
    """What all use cases report and request. Where some fail, the tick fails once the others have nothing to report."""
    started, idle_s, cursor = monotonic(), 0.0, context.cursor or ""
    tick = _Tick(state.cursors or (json.loads(cursor) if cursor.startswith("{") else {}))
    changes, stopped, state.cursors = read_changes(context.instance), stopped_sensors(context.instance), None
    paused = _pauses(context, members, state)
    for name, member in _from(members, state.last):
        if monotonic() - started > MAX_TICK_S or len(tick.events) >= MAX_EVENTS:
            break
        if reason := why_stopped(member.use_case, stopped) or (MUTED in member.sensor.tags and paused.get(member.use_case)):
            tick.reasons[name] = reason
            state.forget(name)
            continue
        change, now, idle = changes.newest(member.use_case), monotonic(), state.idle.get(name)
        holds = idle is not None and idle.holds(change, tick.cursors.get(name), member.settle_s or 0.0)
        if idle and holds and (idle.is_recent(now, use_cases) or idle_s > IDLE_TICK_S):
            tick.reasons[name] = idle.reason
            continue
        state.last = name  # first, so that the next tick goes on after one that hangs
        _evaluate_one(context, name, member, tick=tick, state=state, change=change)
        idle_s += monotonic() - now if holds else 0.0
    if state.problems and tick.is_empty:
        state.cursors = tick.cursors
        raise SensorsFailed("\n".join(map(_describe, state.problems.items()))) from next(iter(state.problems.values()))
    report_events(context.instance, tick.events)  # here, as the daemon reports them one by one, in 4 ms each
    context.update_cursor(json.dumps(tick.cursors))
    if not tick.requests and not tick.evaluations:
        return dg.SkipReason(_summary(tick.reasons))
    return dg.SensorResult(tick.requests, automation_condition_evaluations=tick.evaluations)


def _evaluate_one(
    context: dg.SensorEvaluationContext, name: str, member: Member, *, tick: _Tick, state: _State, change: Change
) -> None:
    started = monotonic()
    state.idle.pop(name, None)
    try:
        set_cursor(context, tick.cursors.get(name))  # a context of its own would build all resources again, in 20 ms
        result = member.sensor.evaluate_tick(context)
    except Exception as error:  # noqa: BLE001 - whatever stops one use case, the others go on
        state.problems[name] = error
        return
    state.problems.pop(name, None)
    tick.add(name, member, result)
    if member.settle_s is not None and not (result.run_requests or result.asset_events):
        took, cursor = monotonic() - started, tick.cursors.get(name)
        state.idle[name] = Idle(change, cursor, at=started, took=took, reason=tick.reasons[name])


def _from(members: Mapping[str, Member], last: str) -> list[tuple[str, Member]]:
    """All of them, those after `last` first."""
    order = [*members]
    start = order.index(last) + 1 if last in members else 0
    return [(name, members[name]) for name in order[start:] + order[:start]]


def _request(name: str, sensor: dg.SensorDefinition, request: dg.RunRequest) -> dg.RunRequest:
    """Of the use case's job. Dagster starts no second run for a run key of the same sensor."""
    if not sensor.has_jobs:
        return request
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
    shown = {reason: f"{', '.join(of[:MAX_NAMES])}{f' and {len(of) - MAX_NAMES} more' * (len(of) > MAX_NAMES)}"
             for reason, of in by_reason.items()}  # fmt: skip
    return "\n".join(f"{of}: {reason}" for reason, of in shown.items())
