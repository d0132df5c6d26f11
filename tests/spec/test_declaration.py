"""The declaration: frozen, closed, readable in its errors, and fingerprinted stage by stage."""

import re
import typing
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from mlops_assets.spec.contract import Column, Contract, MaxNullShare
from mlops_assets.spec.freshness import Freshness
from mlops_assets.spec.gate import BeatsChampion, Budget, EverySlice, Fair, Floor, Latency, NoLeak, NoPii
from mlops_assets.spec.grain import Daily, Hourly, Snapshot
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import IllegalDeclaration, Spec
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.training import HistGradientBoosting, Lightning, Search
from mlops_assets.spec.trigger import OnSchedule
from mlops_assets.spec.use_case import STAGE_FIELDS, Stage, UseCase
from mlops_assets.use_cases.flight_delay import PLANES, USE_CASE

STAGES: tuple[Stage, ...] = typing.get_args(Stage)
A_DAY = timedelta(days=1)


@pytest.mark.parametrize(
    "word",
    [USE_CASE, USE_CASE.features, USE_CASE.label, PLANES, PLANES.columns[0], *USE_CASE.gates, *USE_CASE.triggers],
    ids=lambda word: type(word).__name__,
)
def test_a_declaration_cannot_be_changed_once_it_is_built(word: Spec) -> None:
    field = next(iter(type(word).model_fields), "name")
    with pytest.raises(ValueError, match="frozen"):
        setattr(word, field, None)


def test_but_says_the_same_with_one_field_changed() -> None:
    other = USE_CASE.but(task=USE_CASE.task.but(threshold=0.6))
    assert (other.task.threshold, USE_CASE.task.threshold) == (0.6, 0.35)
    assert other.but(task=USE_CASE.task) == USE_CASE


def test_but_checks_what_it_changes() -> None:
    with pytest.raises(IllegalDeclaration, match="threshold"):
        USE_CASE.task.but(threshold=1.5)


def snapshots(table: str) -> UseCase:
    return USE_CASE.but(sources=tuple(one.but(grain=Snapshot()) if one.table == table else one for one in USE_CASE.sources))


ILLEGAL: list[tuple[Callable[[], Any], tuple[str, ...]]] = [
    (lambda: USE_CASE.but(slices=("airport",)), ("flight_delay", "slices", "'airport'", "minute_of_day, distance", "Use one of these")),
    (lambda: USE_CASE.but(gates=(EverySlice(column="dest", metric="auc", bound=0.5),)), ("flight_delay", "gates[0].column", "'dest'", "carrier, origin", "Use one")),
    (lambda: USE_CASE.but(monitors=USE_CASE.monitors[:2]), ("flight_delay", "gates[5]", "NoSkew", "Drift, Performance", "Declare Skew()")),
    (lambda: USE_CASE.but(contracts=USE_CASE.contracts[:-1]), ("flight_delay", "sources", "'airlines'", "schedule, outcomes", "declare it")),
    (lambda: USE_CASE.but(sources=USE_CASE.sources[1:]), ("flight_delay", "contracts", "'schedule'", "outcomes, weather", "declare it")),
    (lambda: USE_CASE.but(contracts=(*USE_CASE.contracts, PLANES)), ("flight_delay", "contracts", "'planes'", "twice", "Keep one")),
    (lambda: USE_CASE.but(task=USE_CASE.task.but(label=USE_CASE.label.but(table="arrivals"))), ("flight_delay", "label.table", "'arrivals'", "outcomes", "Use one")),
    (lambda: USE_CASE.but(features=USE_CASE.features.but(request_table="bookings")), ("flight_delay", "features.request_table", "'bookings'", "schedule")),
    (lambda: USE_CASE.features.but(numeric=("distance", "distance")), ("flight_delay_v1", "Features", "numeric", "'distance'", "twice")),
    (lambda: USE_CASE.but(name="Flight Delay"), ("Flight Delay", "name", "'Flight Delay'", "pattern")),
    (lambda: USE_CASE.but(owner="somebody"), ("flight_delay", "owner", "'somebody'", "pattern")),
    (lambda: USE_CASE.but(risk="none"), ("flight_delay", "risk", "'none'", "'low', 'medium' or 'high'")),
    (lambda: USE_CASE.but(gate=()), ("flight_delay", "'gate'", "does not exist", "gates", "Remove or rename")),
    (lambda: UseCase(name="empty"), ("empty", "'owner'", "missing", "required", "Add it")),
    (lambda: Floor(metric="auc_roc", bound=0.7), ("Floor", "metric", "'auc_roc'", "'average_precision'")),  # pyright: ignore[reportArgumentType]
    (Budget, ("Budget", "no bound is declared", "max_train_seconds, max_megabytes", "Declare at least one")),
    (lambda: Latency(p99_ms=0), ("Latency", "p99_ms", "0", "greater than 0")),
    (lambda: Fair(column="sex", max_gap=0.1, metric="parity"), ("Fair", "metric", "'parity'", "'demographic_parity' or 'equalized_odds'")),  # pyright: ignore[reportArgumentType]
    (lambda: TimeSplit(test=0 * A_DAY, validation=A_DAY), ("TimeSplit", "test", "greater than")),
    (lambda: Lightning(dropout=1.0), ("Lightning", "dropout", "1.0", "less than 1")),
    (lambda: Lightning(hidden=()), ("Lightning", "hidden", "at least 1")),
    (lambda: OnSchedule(cron="weekly"), ("OnSchedule", "cron", "'weekly'", "pattern")),
    (lambda: PLANES.but(unique=("tail",)), ("planes", "'tail'", "tailnum, built", "Use one of these")),
    (lambda: PLANES.but(day="landed"), ("planes", "'landed'", "tailnum, built")),
    (lambda: PLANES.but(expectations=(MaxNullShare(column="age", share=0.1),)), ("planes", "'age'", "tailnum, built")),
    (lambda: PLANES.but(columns=(*PLANES.columns, Column(name="day", dtype="int", description="."))), ("planes", "'day'", "Rename yours")),
    (lambda: Daily(tz="Europe/Berlyn"), ("Daily", "tz = 'Europe/Berlyn'", "should be a time zone", "such as UTC or Europe/Berlin")),
    (lambda: Hourly(tz=""), ("Hourly", "tz = ''", "should be a time zone")),
    (lambda: Hourly(tz="Australia/Lord_Howe"), ("Hourly", "Australia/Lord_Howe", "by a part of an hour", "whole hours", "Use UTC")),
    (lambda: Files(table="t", grain=Snapshot(), only_when_changed=True), ("t", "only_when_changed", "Snapshot", "Leave it out")),
    (lambda: Files(table="t", grain="daily"), ("t", "Files", "grain")),  # pyright: ignore[reportArgumentType]
    (lambda: snapshots("schedule"), ("flight_delay", "contracts[schedule].day", "no day that a row could miss", "another grain")),
    (lambda: snapshots("schedule"), ("flight_delay", "contracts[schedule].expectations", "nothing to compare with")),
    (lambda: snapshots("outcomes"), ("flight_delay", "features.views[origin_delays].lookback", "snapshots", "read whole")),
    (lambda: USE_CASE.but(sources=(*USE_CASE.sources[:3], USE_CASE.sources[3].but(grain=Daily(tz="Asia/Tokyo")), *USE_CASE.sources[4:]), features=USE_CASE.features.but(views=(USE_CASE.features.views[0].but(tables=("weather", "planes")),))), ("features.views[origin_weather].tables", "UTC (weather), Asia/Tokyo (planes)", "one view for each")),
    (lambda: USE_CASE.but(first_day=None), ("flight_delay", "first_day is missing", "schedule, outcomes", "Declare it")),
    (lambda: PLANES.but(columns=(*PLANES.columns, Column(name="hour_start", dtype="int", description="."))), ("planes", "'hour_start'")),
    (lambda: Column(name="Seats", dtype="int", description="."), ("Seats", "name", "pattern")),
    (lambda: Contract(table="t", description=".", columns=(), unique=("a",)), ("t", "columns", "at least 1")),
]  # fmt: skip


@pytest.mark.parametrize(("build", "parts"), ILLEGAL, ids=[f"{case[1][0]}-{case[1][1]}" for case in ILLEGAL])
def test_an_illegal_declaration_says_where_what_and_what_next(build: Callable[[], Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(IllegalDeclaration) as error:
        build()
    for part in parts:
        assert part in str(error.value)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(IllegalDeclaration) as error:
        USE_CASE.but(owner="somebody", risk="none", first_day=7)
    assert len(str(error.value).splitlines()) == 3


def test_every_contradiction_is_named_at_once() -> None:
    with pytest.raises(IllegalDeclaration) as error:
        USE_CASE.but(slices=("airport",), monitors=(), last_day=date(2012, 1, 1))
    fields = [line.split(" · ")[2].split()[0] for line in str(error.value).splitlines()]
    assert (
        fields
        == ["last_day", "gates[5]", "triggers[1]", "triggers[2]", "slices", "gates[3].column", "gates[4].column"][: len(fields)]
    )


def test_without_gates_a_candidate_must_beat_the_champion_and_not_leak() -> None:
    declared = {name: getattr(USE_CASE, name) for name in UseCase.model_fields if name != "gates"}
    assert UseCase(**declared).gates == (BeatsChampion(metric="auc"), NoLeak())


@pytest.mark.parametrize(
    "cron",
    ["* * * * *", "*/5 0-6,22 1,15 * mon-fri", "0 0 29 2 *", "0 0 31 feb mon", "0 22-2 * JAN-mar 0,7", "0 0 31 2-4 *", "0 0 l * *",
     "30 6 * * 5#2", "0 0 */31 2 *", "5/20 * * * *", "0 0 31 */6 *", "0 0 31 2/2 *"],
)  # fmt: skip
def test_a_schedule_that_fires_is_legal(cron: str) -> None:
    assert OnSchedule(cron=cron).cron == cron


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("60 * * * *", "the minute of '60 * * * *' is illegal; legal: *, 0 to 59, a-b, a,b and */n"),
        ("* 24 * * *", "the hour of"),
        ("* * 0 * *", "the day of month of"),
        ("* * * 13 *", "the month of"),
        ("* * * january *", "the month of '* * * january *' is illegal; legal: *, 1 to 12 or jan to dec"),
        ("* * * * 8", "the day of week of"),
        ("*/0 * * * *", "the minute of"),
        ("1-60 * * * *", "the minute of"),
        ("1,,2 * * * *", "the minute of"),
        ("-1 * * * *", "the minute of"),
        ("0 0 30 2 *", "'0 0 30 2 *' never fires: these months have at most 29 days"),
        ("0 0 31 apr,jun *", "never fires: these months have at most 30 days"),
    ],
)
def test_a_schedule_that_cannot_fire_is_refused(cron: str, problem: str) -> None:
    with pytest.raises(IllegalDeclaration) as error:
        OnSchedule(cron=cron)
    assert problem in str(error.value)


OUTCOMES_LOOSER = tuple(
    contract.but(max_bad_share=0.5) if contract.table == "outcomes" else contract for contract in USE_CASE.contracts
)
EDITS: list[tuple[str, dict[str, Any], set[Stage]]] = [
    ("a bound of a gate", {"gates": (Floor(metric="auc", bound=0.69), *USE_CASE.gates[1:])}, {"evaluation"}),
    ("a gate more", {"gates": (*USE_CASE.gates, Floor(metric="brier", bound=0.3))}, {"evaluation"}),
    ("slices", {"slices": ("carrier", "origin", "dest")}, {"evaluation"}),
    ("threshold", {"task": USE_CASE.task.but(threshold=0.4)}, {"evaluation"}),
    ("reference", {"reference": HistGradientBoosting(seed=1)}, {"evaluation"}),
    ("trainer", {"trainer": Lightning(max_epochs=9)}, {"candidate"}),
    ("search", {"search": Search(trials=3)}, {"candidate"}),
    ("split", {"split": TimeSplit(test=20 * A_DAY, validation=14 * A_DAY)}, {"training_set"}),
    ("label", {"task": USE_CASE.task.but(label=USE_CASE.label.but(name="tardy"))}, {"training_set", "evaluation"}),
    ("features", {"features": USE_CASE.features.but(numeric=USE_CASE.features.numeric[1:])}, {"training_set"}),
    ("contracts", {"contracts": OUTCOMES_LOOSER}, set()),
    ("monitors", {"monitors": (Drift(window=A_DAY), *USE_CASE.monitors[1:])}, set()),
    ("triggers", {"triggers": ()}, set()),
    ("owner", {"owner": "team:somebody-else"}, set()),
    ("freshness", {"freshness": Freshness(raw=A_DAY)}, set()),
    ("last_day", {"last_day": date(2013, 6, 30)}, set()),
]


@pytest.mark.parametrize(("fields", "changed"), [case[1:] for case in EDITS], ids=[case[0] for case in EDITS])
def test_an_edit_changes_the_code_version_of_just_the_stages_made_from_it(fields: dict[str, Any], changed: set[Stage]) -> None:
    edited = USE_CASE.but(**fields)
    assert {stage for stage in STAGES if edited.fingerprint(stage) != USE_CASE.fingerprint(stage)} == changed


def test_a_fingerprint_is_the_same_for_the_same_words() -> None:
    again = USE_CASE.but(gates=tuple(gate.but() for gate in USE_CASE.gates))
    assert [again.fingerprint(stage) for stage in STAGES] == [USE_CASE.fingerprint(stage) for stage in STAGES]


def test_every_stage_is_made_from_fields_that_exist() -> None:
    assert set(STAGE_FIELDS) == set(STAGES)
    assert {field for fields in STAGE_FIELDS.values() for field in fields} <= {*UseCase.model_fields, "label"}


def _other_transform(tables: Any, start: Any, end: Any) -> Any:
    return tables["planes"]


def test_another_transform_makes_another_training_set() -> None:
    views = tuple(view.but(transform=_other_transform) if view.name == "plane" else view for view in USE_CASE.features.views)
    edited = USE_CASE.but(features=USE_CASE.features.but(views=views))
    assert edited.fingerprint("training_set") != USE_CASE.fingerprint("training_set")
    assert edited.fingerprint("candidate") == USE_CASE.fingerprint("candidate")


def test_values_without_names_are_those_of_the_first_fields() -> None:
    assert Column("late", "bool", "Whether it is late.") == Column(name="late", dtype="bool", description="Whether it is late.")
    with pytest.raises(IllegalDeclaration, match=re.escape("NoPii · 1 values; its fields: none. Remove the others.")):
        NoPii("UTC")
    with pytest.raises(IllegalDeclaration, match=re.escape("Column · name: a value with the name and one without. Keep one.")):
        Column("late", name="early", dtype="bool", description="Whether it is early.")
