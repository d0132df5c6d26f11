"""Every use case at a glance: what serves, how good it is, what comes next, and what failed last and what to do about it."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.moments import to_minute, to_second
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.foundation.wording import some
from mlops_assets.graph.failed_runs import find_failed_run
from mlops_assets.graph.first_champion import refused_files
from mlops_assets.graph.history import THREADS, History, read_servers, readable_event_log
from mlops_assets.graph.kernel.check_verdict import Judged, read_verdicts
from mlops_assets.graph.kernel.dagster_internals import next_cron_time
from mlops_assets.graph.kernel.switch import why_stopped
from mlops_assets.graph.landing import describe_unread, has_landed, landing_check_keys, read_misplaced
from mlops_assets.graph.monitors.investigation import TopCause, read_top_cause, with_cause
from mlops_assets.graph.operations import describe_daemon
from mlops_assets.graph.training_triggers import TrainingTriggers
from mlops_assets.graph.trainings import Trainings, read_trainings
from mlops_assets.resources import Resources
from mlops_assets.spec.monitor import Drift, Monitor, Performance
from mlops_assets.spec.trigger import OnSchedule, trigger_names
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotion_state import PromotionState

NONE, NOT_YET = "–", "not yet"
RECENT = timedelta(days=1)
SHOWN, SHOWN_CHANGED = 15, 3  # problems of a use case; names in one of them
VERDICTS = {  # the worst first
    Verdict.ALARM: "ALARM", NOT_YET: NOT_YET, Verdict.NOT_ENOUGH_DATA: "not enough data", Verdict.HEALTHY: "healthy",
}  # fmt: skip


@dataclass(frozen=True)
class Overview:
    """One use case. `problems` are sentences, the most urgent first: what is wrong and what to do. `recent` are the decisions of
    the last day, the newest first.
    """

    use_case: str
    champion: int | None
    age: str
    rollout: str
    drift: str
    performance: str
    data: str  # how long ago the newest file was accepted
    last_decision: str
    next_trigger: str
    problems: tuple[str, ...]
    recent: tuple[str, ...] = ()

    @property
    def cells(self) -> list[object]:
        """Of the columns HEADS."""
        shown = asdict(self) | {"champion": NONE if self.champion is None else self.champion}
        return [shown[name.replace(" ", "_")] for name in HEADS]


HEADS = tuple(one.name.replace("_", " ") for one in fields(Overview) if one.name not in ("problems", "recent"))


@dataclass(frozen=True)
class Platform:
    """The overviews of all use cases, and what concerns all: what does not load, a daemon that does not run."""

    use_cases: Sequence[Overview]
    problems: Sequence[str]


def read_overview(
    use_cases: Sequence[UseCase], home: Home, resources: Resources, *, not_loaded: Sequence[str], now: datetime
) -> Platform:
    """Reads the ledger, the event log and, all at once, what servers report; writes nothing."""
    with readable_event_log(home) as (instance, unreadable), ThreadPoolExecutor(THREADS) as threads:
        served = {use_case.name: threads.submit(read_servers, use_case, resources) for use_case in use_cases}
        history = History.read(instance, use_cases)
        problems_of = {name: one.result().problems for name, one in served.items()}
        common = _common([*problems_of.values()])
        own = {name: [one for one in problems if one not in common] for name, problems in problems_of.items()}
        rows = [_overview(use_case, history, resources, own[use_case.name], now) for use_case in use_cases]
        daemon = describe_daemon(instance, now) if instance else ()
        return Platform(rows, [*(f"not loaded: {problem}" for problem in not_loaded), *unreadable, *daemon, *common])


def _common(problems: Sequence[Collection[str]]) -> list[str]:
    """What several use cases have, such as a server that does not answer, is stated once."""
    counts = Counter(one for of_one in problems for one in {*of_one})
    return [problem for problem, count in counts.items() if count > 1]


def _overview(
    use_case: UseCase, history: History, resources: Resources, server_problems: Iterable[str], now: datetime
) -> Overview:
    from mlops_assets.promotion.promotion_state import promotion_state_of

    records = resources["ledger"].open().records(use_case.name)
    state, name = promotion_state_of(use_case.name, records), use_case.name
    plan, trainings = state.plan, read_trainings(use_case, history.instance, state) if history.instance else None
    newest = records[-1] if records else None
    accepted = history.newest_accepted(name)
    waits = state.waiting is not None and use_case.risk == "high" and state.waiting not in state.approvals
    problems = [*_without_version(trainings, state, now)] if trainings else []
    problems += map(str, filter(None, [why_stopped(name, history.stopped), state.held_up(now)]))
    if waits:
        problems.append(f"Version {state.waiting} waits for `mlops approve {name} {state.waiting} --why …`.")
    judged = [*read_verdicts(use_case, history.checks, now=now)]
    problems += _changed_code(use_case, state)
    problems += _alarms(judged, now, read_top_cause(history.instance, name) if history.instance else None)
    if history.instance and any(one.verdict and one.verdict.verdict is Verdict.ALARM for one in judged):
        problems += TrainingTriggers(use_case, history.instance, state, resources["warehouse"], now).describe()
    problems += _landing_alarms(use_case, history, resources)
    problems += filter(None, [_placed_alarm(use_case, resources)])
    if history.instance and (failed := find_failed_run(name, history.instance, history.failed)):
        problems.append(failed.message)
    problems += [*refused_files(use_case, resources), *server_problems]
    return Overview(
        use_case=name,
        champion=plan.champion if plan else None,
        age=_age(datetime.fromisoformat(plan.at), now) if plan else NONE,
        rollout=plan.rollout or NONE if plan else f"version {state.waiting} waits" if state.waiting else NONE,
        drift=_worst(judged, Drift),
        performance=_worst(judged, Performance),
        data=_age(datetime.fromtimestamp(accepted, UTC), now) if accepted else NOT_YET,
        last_decision=_decision(newest, now) if newest else NONE,
        next_trigger="a training runs" if trainings and trainings.is_running else _next_trigger(use_case, state, trainings, now),
        problems=tuple(problems),
        recent=tuple(_recent(records, now)),
    )


def _recent(records: Sequence[Any], now: datetime) -> Iterator[str]:
    for record in reversed(records):
        at = datetime.fromisoformat(record.at)
        if now - at > RECENT:
            return
        yield f"{to_minute(at)} · {record}{f': {record.reason}' * bool(record.reason)}"


def _decision(record: Any, now: datetime) -> str:
    return f"{record}, {_age(datetime.fromisoformat(record.at), now)} ago"


def _age(at: datetime, now: datetime) -> str:
    """With one unit: days, hours or minutes."""
    passed = max(now - at, timedelta(0))
    unit = next((unit for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)) if passed >= unit), None)
    return in_words(passed // unit * unit) if unit else "0 min"


def _worst(judged: Iterable[Judged], kind: type[Monitor]) -> str:
    """Of all monitors of the kind; a lack of data is never healthy."""
    verdicts = [one.verdict.verdict if one.verdict else NOT_YET for one in judged if isinstance(one.monitor, kind)]
    return next((text for verdict, text in VERDICTS.items() if verdict in verdicts), NONE)


def _alarms(judged: Iterable[Judged], now: datetime, top: TopCause | None) -> Iterator[str]:
    for stage, monitor, verdict in judged:
        if verdict and verdict.is_failure(monitor, now=now):
            yield f"Monitor {stage}: {with_cause(verdict.message, stage, top) if top else verdict.message}"


def _landing_alarms(use_case: UseCase, history: History, resources: Resources) -> list[str]:
    """Files that do not come or have not been read yet, entries that cannot be read, and those that no table reads, also before
    the sensor has run.
    """
    records = filter(None, map(history.checks.get, landing_check_keys(use_case)))
    results = [record.event.asset_check_evaluation for record in records]
    alarms = [result.description for result in results if not result.passed]
    folder = Path(resources["landing"].folder)
    misplaced = (f"{one.sentence}." for one in read_misplaced(use_case, folder))
    alarms += [one for one in misplaced if not any(one in alarm for alarm in alarms)]
    if history.instance and has_landed(use_case, folder):
        landing, tables = resources["landing"].open(), resources["warehouse"].open()
        alarms += describe_unread(use_case, history.instance, landing, tables)
    return alarms


def _placed_alarm(use_case: UseCase, resources: Resources) -> str:
    from mlops_assets.promotion.placed_versions import PlacedVersions

    deployment, keys = resources["deployment"].open(use_case.name), resources["signing_keys"].open()
    return PlacedVersions(use_case.name, resources["ledger"].open(), deployment, keys).alarm()


def _changed_code(use_case: UseCase, state: "PromotionState") -> Iterator[str]:
    """That the code of features has changed since the champion was trained."""
    from mlops_assets.promotion.blessing import Blessing
    from mlops_assets.training.feature_code import changed_features

    blessed = state.blessings.get(state.plan.champion) if state.plan else None
    training = Blessing.from_json(blessed.body["blessing"]).training if blessed else {}
    if changed := [*changed_features(use_case, training, use_case.features.inputs)]:
        found = f"The code of {some(changed, SHOWN_CHANGED)} has changed since the champion was trained, as its answers warn"
        yield f"{found}. `mlops train {use_case.name} --because …` trains a version with the present code."


def _without_version(trainings: Trainings, state: "PromotionState", now: datetime) -> Iterator[str]:
    """Why the newest training ended without a version, and what to do; of a refused one, only while no version is blessed."""
    if trainings.failure:
        yield f"{trainings.failure} {trainings.outlook}"
    elif trainings.records and not (trainings.is_running or state.plan or state.waiting is not None):
        refused = [f"Version {version} is refused: {state.refusals[version].reason}" for version in sorted(state.refusals)]
        yield " ".join([*refused[-1:], trainings.next(now).message])


def _next_trigger(use_case: UseCase, state: "PromotionState", trainings: Trainings | None, now: datetime) -> str:
    if pause := state.pause_at(now):
        return f"paused until {to_minute(pause.until)}"
    if state.hold:
        return "held after a rollback by hand"
    if state.plan is None and state.waiting is None:
        return "new data, or mlops train" if trainings and trainings.records else "first model, with enough data"
    times = [next_cron_time(trigger.cron, now) for trigger in use_case.triggers if isinstance(trigger, OnSchedule)]
    named = zip(trigger_names(use_case.triggers), use_case.triggers, strict=True)
    others = [name.replace("_", " ") for name, trigger in named if not isinstance(trigger, OnSchedule)]
    parts = [to_minute(time) for time in sorted(times)[:1]] + others
    return ", ".join(parts) or "none: by hand"


def as_html(platform: Platform, *, now: datetime, dagster_url: str | None) -> str:
    from mlops_assets.foundation.page import render

    at = to_second(now)
    return render("status", title="Status", platform=platform, heads=HEADS, at=at, shown=SHOWN, dagster_url=dagster_url)
