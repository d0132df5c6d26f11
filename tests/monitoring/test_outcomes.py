"""Outcomes by day are those of one join of everything, whatever was served, landed, corrected, retracted or erased in between."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mlops_assets.erasure.stores import erase_rows
from mlops_assets.foundation.delta_tables import Span, write_span
from mlops_assets.monitoring.outcome_index import DayCounts, MadeFrom
from mlops_assets.monitoring.outcomes import OutcomesTable, Source, join_outcomes
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.log.predictions_table import DAYS, report_predictions
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS, label
from tests.erasure.subjects import build_subject
from tests.serving.log.logged import row

FIRST, NUMBERS, LAST = datetime(2024, 3, 1, 12, tzinfo=UTC), 12, 5
STATES: list[float | None] = [0.0, 1.0, None]


def counted_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    """No label of one row: how many of the rows of its partition defaulted."""
    return rows.select("number", known_at="ended_at", defaulted=pl.col("defaulted").sum().over("day"))


BY_ROW, WHOLE = label(by_row=True), label(transform=counted_label)


class Line:
    """The tables of one use case; what landed is kept here as well."""

    def __init__(self, root: Path, use_case: UseCase = BY_ROW) -> None:
        self.root, self.use_case = root, use_case
        self.log, self.predictions = PredictionLog(root / "logs", LOANS), root / "predictions.delta"
        self.truths, self.path = root / "validated.delta", root / "outcomes.delta"
        self.served, self.now = 0, FIRST
        report_predictions(self.predictions, self.log)
        self.land(0, {})

    def serve(self, number: int, day: int, customer: str = "c1") -> None:
        self.served += 1
        moment = FIRST + timedelta(days=day)
        self.log.append([row(self.log, f"p-{self.served}", number=number, event_timestamp=moment, customer=customer)])
        report_predictions(self.predictions, self.log)

    def land(self, day: int, labels: dict[int, float | None], later: int = 0) -> None:
        """A file of the day, in place of an earlier one; its labels are known `later` days after it."""
        at = FIRST + timedelta(days=day)
        numbers = [*labels]
        rows = {"number": numbers, "defaulted": [labels[one] for one in numbers], "customer": ["c1"] * len(numbers)}
        frame = pl.DataFrame(rows, schema={"number": pl.Int64(), "defaulted": pl.Float64(), "customer": pl.String()})
        frame = frame.with_columns(pl.lit(at.date()).alias("day"), pl.lit(at + timedelta(days=later)).alias("ended_at"))
        start = datetime(at.year, at.month, at.day, tzinfo=UTC)
        write_span(self.truths, frame, Span("day", start, start + timedelta(days=1)))

    @property
    def table(self) -> OutcomesTable:
        sources = (Source(path, pl.scan_delta(str(path))) for path in (self.predictions, self.truths))
        return OutcomesTable(self.use_case, self.path, *sources)

    def report(self) -> MadeFrom:
        return self.table.report(now=self.now)

    def commits(self) -> list[dict[str, Any]]:
        return DeltaTable(self.path).history()

    def check(self) -> MadeFrom:
        """One join of everything is what the report has left, and a second report commits nothing."""
        report, version = self.report(), DeltaTable(self.path).version()
        table = self.table
        whole = join_outcomes(self.use_case, table.predictions.rows, table.truths.rows, now=self.now)
        stored, order = pl.read_delta(str(self.path)), ["prediction_id"]
        assert stored.sort(order).equals(whole.known.sort(order).select(stored.columns).cast(dict(stored.schema)))
        assert {day: counts for day, counts in report.days.items() if counts.known or counts.waiting or counts.repeated} == {
            day: counts for day, counts in whole.days.items()
        }
        assert self.report() == report and DeltaTable(self.path).version() == version
        return report


class Stories(RuleBasedStateMachine):
    @initialize(use_case=st.sampled_from([BY_ROW, BY_ROW, WHOLE]))
    def start(self, use_case: UseCase) -> None:
        self.line = Line(Path(self.folder.mktemp("outcomes")), use_case)  # type: ignore[attr-defined]

    @rule(number=st.integers(1, NUMBERS), day=st.integers(0, LAST), customer=st.sampled_from(["c1", "c2"]))
    def serve(self, number: int, day: int, customer: str) -> None:
        self.line.serve(number, day, customer)

    @rule(
        day=st.integers(0, LAST),
        labels=st.dictionaries(st.integers(1, NUMBERS), st.sampled_from(STATES), max_size=4),
        later=st.integers(0, 3),
    )
    def land(self, day: int, labels: dict[int, float | None], later: int) -> None:
        """Late, corrected, retracted, without a value, or dated later than the next report."""
        self.line.land(day, labels, later)

    @rule(days=st.integers(1, 3))
    def wait(self, days: int) -> None:
        self.line.now += timedelta(days=days)

    @rule()
    def report(self) -> None:
        self.line.check()

    @rule(customer=st.sampled_from(["c1", "c2"]))
    def forget(self, customer: str) -> None:
        subject = build_subject(customer, "customer")
        for path in (self.line.predictions, self.line.truths, self.line.path):
            if DeltaTable.is_deltatable(str(path)):
                erase_rows(path, subject, dry_run=False)

    @rule(lost=st.sampled_from(["predictions", "path", "file"]))
    def lose(self, lost: str) -> None:
        path = self.line.table.file if lost == "file" else getattr(self.line, lost)
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        report_predictions(self.line.predictions, self.line.log)

    def teardown(self) -> None:
        if hasattr(self, "line"):
            self.line.check()


@pytest.mark.slow
def test_outcomes_are_those_of_one_join_in_any_story(tmp_path_factory: pytest.TempPathFactory) -> None:
    Stories.folder = tmp_path_factory  # type: ignore[attr-defined]
    Stories.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
    Stories.TestCase().runTest()


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def changed(line: Line) -> list[date]:
    """The days that the newest commit replaced."""
    return [date.fromisoformat(day) for day in pl.Series([line.commits()[0][DAYS]]).str.json_decode(pl.List(pl.String()))[0]]


def day(number: int) -> date:
    return FIRST.date() + timedelta(days=number)


def test_only_the_days_of_new_corrected_and_retracted_labels_are_written(line: Line) -> None:
    for number in range(6):
        line.serve(number, number)
    line.land(0, {0: 1.0, 1: 0.0, 2: 1.0})
    line.check()
    line.land(3, {3: 1.0})
    line.now += timedelta(days=9)
    line.check()
    assert changed(line) == [day(3)]
    line.land(4, {1: 1.0, 9: 1.0})
    line.check()
    assert changed(line) == [day(1)], "a correction in a later file"
    line.land(0, {0: 1.0, 2: 1.0})
    line.check()
    assert changed(line) == [day(1)] or DAYS in line.commits()[0]
    line.land(4, {9: 1.0})
    line.check()
    assert changed(line) == [day(1)], "retracted altogether"
    assert pl.read_delta(str(line.path))["number"].sort().to_list() == [0, 2, 3]


def test_a_label_that_is_dated_later_than_the_run_counts_once_its_moment_is_past(line: Line) -> None:
    line.serve(1, 0)
    line.land(0, {1: 1.0}, later=2)
    assert line.check().days[day(0)].waiting == 1
    line.now += timedelta(days=2)
    assert line.check().days[day(0)].known == 1


def test_a_moved_row_takes_its_label_along(line: Line) -> None:
    """The newest version of a row, by what is unique, may have another key of the label."""
    unique = line.use_case.contract("applications").but(unique=("customer",))
    line.use_case = line.use_case.but(contracts=(unique, *line.use_case.contracts[1:]))
    line.serve(1, 0)
    line.serve(2, 1)
    line.land(0, {1: 1.0})
    assert line.check().days[day(0)].known == 1
    line.now += timedelta(days=1)
    line.land(1, {2: 1.0})
    report = line.check()
    assert (report.days[day(0)].known, report.days[day(1)].known) == (0, 1)


def test_new_predictions_without_a_label_write_nothing(line: Line) -> None:
    line.serve(1, 0)
    line.land(0, {1: 1.0})
    line.check()
    version = DeltaTable(line.path).version()
    line.serve(2, 1)
    assert line.check().days[day(1)].waiting == 1 and DeltaTable(line.path).version() == version


def test_the_table_of_an_earlier_release_is_replaced(line: Line) -> None:
    line.serve(1, 0)
    line.land(0, {1: 1.0})
    table = line.table
    join_outcomes(line.use_case, table.predictions.rows, table.truths.rows, now=line.now).known.drop("day").write_delta(line.path)
    line.check()


def test_a_label_by_groups_is_made_again_from_all_rows(line: Line) -> None:
    line.use_case = WHOLE
    line.serve(1, 0)
    line.land(0, {1: 1.0, 2: 1.0})
    line.check()
    assert pl.read_delta(str(line.path))["defaulted"].to_list() == [2.0]


NOON, UTC_US = datetime(2013, 7, 1, 12, tzinfo=UTC), pl.Datetime("us", "UTC")
FLIGHT = {"carrier": "UA", "flight": 1, "origin": "EWR", "sched_dep": NOON, "event_timestamp": NOON - 2 * timedelta(hours=1)}


def served(*rows: dict[str, object]) -> pl.LazyFrame:
    schema = {"sched_dep": UTC_US, "event_timestamp": UTC_US, "answered_at": UTC_US}
    return pl.LazyFrame([FLIGHT | row for row in rows], schema_overrides=schema)


def arrived(*rows: dict[str, object]) -> pl.LazyFrame:
    truth = {name: FLIGHT[name] for name in USE_CASE.label.key} | {"arr_time": NOON, "arr_delay": 60, "day": NOON.date()}
    return pl.LazyFrame([truth | row for row in rows], schema_overrides={"sched_dep": UTC_US, "arr_time": UTC_US})


def test_a_key_requested_again_for_the_same_moment_is_judged_once_with_its_first_answer() -> None:
    retried = served(
        {"prediction_id": "retry", "answered_at": NOON - timedelta(hours=1)},
        {"prediction_id": "first", "answered_at": NOON - 2 * timedelta(hours=1)},
        {
            "prediction_id": "earlier moment",
            "answered_at": NOON - timedelta(hours=1),
            "event_timestamp": NOON - 3 * timedelta(hours=1),
        },
    )
    outcomes = join_outcomes(USE_CASE, retried, arrived({}), now=NOON)
    assert sorted(outcomes.known["prediction_id"]) == ["earlier moment", "first"]
    assert outcomes.days[NOON.date()] == DayCounts(known=2, waiting=0, repeated=1)


def test_an_outcome_dated_after_the_run_is_not_known_yet() -> None:
    answered = served({"prediction_id": "a", "answered_at": NOON}, {"prediction_id": "b", "answered_at": NOON, "flight": 2})
    truths = arrived({}, {"flight": 2, "arr_time": datetime(2099, 1, 1, tzinfo=UTC)})
    outcomes = join_outcomes(USE_CASE, answered, truths, now=NOON)
    assert outcomes.known["prediction_id"].to_list() == ["a"] and outcomes.days[NOON.date()] == DayCounts(
        1, 1, 0, datetime(2099, 1, 1, tzinfo=UTC)
    )
