"""What would run for one use case now or next, why, what holds it up, and about what it costs."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import dagster as dg

from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.home import Environment
from mlops_assets.foundation.wording import some
from mlops_assets.graph.compile import build_shared, build_use_case
from mlops_assets.graph.kernel.conditions import MADE, UNFINISHED
from mlops_assets.graph.kernel.dagster_internals import keep_status_cache, newest_events, stopped_sensors
from mlops_assets.graph.kernel.dagster_runs import is_made_by_other_code
from mlops_assets.graph.kernel.dagster_storage import opened_to_read
from mlops_assets.graph.kernel.settled import SETTLE
from mlops_assets.graph.kernel.switch import why_stopped
from mlops_assets.graph.landing import describe_unread
from mlops_assets.graph.training_triggers import Request, TrainingTriggers
from mlops_assets.graph.trainings import ONE_AT_A_TIME, is_run_of
from mlops_assets.resources import Resources, build_resources
from mlops_assets.spec.use_case import UseCase

RECENT_RUNS = 300  # among which those like the planned ones are looked for
LIKE = 5  # of them, the newest, say what it costs
REASONS, RUNS = 3, 3  # parents and runs that are named


class NothingHasRun(LookupError):
    """A home on which no platform of its own has run."""


@dataclass(frozen=True)
class Stale:
    """A table that the next tick would make. `partitions` are in words, empty where it has none."""

    table: str
    partitions: str
    why: str


@dataclass(frozen=True)
class Cost:
    """Of the newest successful runs of a kind; None of each without one."""

    runs: int
    usual: timedelta | None

    def __str__(self) -> str:
        if self.usual is None:
            return "what it takes is not known yet: no such run has succeeded"
        runs = "the last such run" if self.runs == 1 else f"the last {self.runs} such runs"
        return f"about {in_words(self.usual)}, as {runs} took"


@dataclass(frozen=True)
class Plan:
    """`held_up` says why nothing runs by itself, and `running` which runs are in progress; `unread` are landed
    files that make more tables due. `training` is the reason of a training
    that is due, or `waiting` what the first one waits for. `triggers` are what each found. All may be empty.
    """

    use_case: str
    held_up: str
    running: str
    unread: Sequence[str]
    tables: Sequence[Stale]
    tables_cost: Cost
    training: str
    waiting: str
    triggers: Mapping[str, str]
    training_cost: Cost


def read_plan(use_case: UseCase, environment: Environment, *, now: datetime) -> Plan:
    """Starts and writes nothing. Raises NothingHasRun, EventLogDown."""
    folder = environment.home.dagster
    if not (folder / "dagster.yaml").exists():
        remedy = f"Start one: `mlops up`, or `mlops run {use_case.name}`"
        raise NothingHasRun(f"{folder} · no platform of its own has run on this home. {remedy}.")
    with warnings.catch_warnings(action="ignore"):  # Dagster's, about its own parameters
        definitions = dg.Definitions.merge(build_shared(environment), build_use_case(use_case))
        with opened_to_read(folder) as instance:
            keep_status_cache(instance)
            return plan_of(use_case, instance, build_resources(environment), definitions, now=now)


def plan_of(
    use_case: UseCase, instance: dg.DagsterInstance, resources: Resources, definitions: dg.Definitions, *, now: datetime
) -> Plan:
    """From the event log, the ledger and the declared conditions; `definitions` are those of the use case."""
    state = resources["ledger"].open().state(use_case.name)
    triggers, runs = TrainingTriggers(use_case, instance, state, resources["warehouse"], now), _runs(use_case, instance)
    tables, due, has_version = [*_stale(instance, definitions, now)], triggers.next(), state.plan is not None
    unfinished = [run.dagster_run.run_id[:8] for run in runs if run.dagster_run.status in UNFINISHED]
    return Plan(
        use_case=use_case.name,
        held_up=why_stopped(use_case.name, stopped_sensors(instance)) or state.held_up(now),
        running=some(unfinished, RUNS) if unfinished else "",
        unread=[*describe_unread(use_case, instance, resources["landing"].open(), resources["warehouse"].open())],
        tables=tables,
        tables_cost=_cost([run for run in runs if ONE_AT_A_TIME not in run.dagster_run.tags and _makes(run, tables)]),
        training=due.reason if isinstance(due, Request) else "",
        waiting=due if isinstance(due, str) and not has_version else "",
        triggers={name: outlook.message for name, outlook in triggers.outlooks().items()} if has_version else {},
        training_cost=_cost([run for run in runs if ONE_AT_A_TIME in run.dagster_run.tags]),
    )


def _runs(use_case: UseCase, instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The newest of the use case, the newest first."""
    return [one for one in instance.get_run_records(limit=RECENT_RUNS) if is_run_of(use_case.name, one.dagster_run)]


def _makes(record: dg.RunRecord, tables: Sequence[Stale]) -> bool:
    return not {key.path[-1] for key in record.dagster_run.asset_selection or ()}.isdisjoint(one.table for one in tables)


def _cost(records: Sequence[dg.RunRecord]) -> Cost:
    ended = [one for one in records if one.dagster_run.status is dg.DagsterRunStatus.SUCCESS and one.start_time and one.end_time]
    took = [(one.end_time or 0.0) - (one.start_time or 0.0) for one in ended[:LIKE]]
    return Cost(len(took), timedelta(seconds=max(1, round(median(took)))) if took else None)


def _stale(instance: dg.DagsterInstance, definitions: dg.Definitions, now: datetime) -> Iterator[Stale]:
    """Parents first; once no file arrives any more."""
    graph = definitions.resolve_asset_graph()
    evaluated = dg.evaluate_automation_conditions(definitions, instance, dg.AssetSelection.all(), evaluation_time=now + SETTLE)
    wanted = {key: evaluated.get_requested_partitions(key) for key in graph.toposorted_asset_keys}
    newest = {key: newest_events(instance, key, MADE, partitioned=False).get(None, 0) for key in wanted}
    for key, partitions in wanted.items():
        if partitions:
            parents = sorted(graph.get(key).parent_keys)
            follows = [parent.path[-1] for parent in parents if wanted[parent]]
            newer = [parent.path[-1] for parent in parents if newest[parent] > newest[key]]
            asset = graph.get(key)
            is_behind = is_made_by_other_code(instance, key, asset.code_version, partitioned=asset.is_partitioned)
            why = "its code has changed" if is_behind else _why(follows, newer, is_made=bool(newest[key]))
            yield Stale(key.path[-1], _in_words(partitions), why)


def _why(follows: Sequence[str], newer: Sequence[str], *, is_made: bool) -> str:
    newer_words = f"newer: {some(newer, REASONS)}" if newer else "some are missing"
    why = f"follows {some(follows, REASONS)}" if follows else newer_words
    return why if is_made else f"not made yet; {why}"


def _in_words(partitions: Collection[str | None]) -> str:
    keys = sorted(key for key in partitions if key is not None)
    return f"{len(keys):,} from {keys[0]} to {keys[-1]}" if len(keys) > 1 else "".join(keys)
