"""The sensor of the first training on real tables, ledger and event log: enough data, failures, and another platform."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from deltalake import write_deltalake

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.trainings import LONGEST_PAUSE, PAUSE, REQUEST, RequestedTraining, Trainings, end_of, read_trainings
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.promotion.promotion_state import promotion_state_of
from mlops_assets.resources import build_resources
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS
from tests.graph.conftest import FIRST, land
from tests.graph.line import Line
from tests.promotion.model_line import ModelLine

PLAIN = LOANS.but(
    features=LOANS.features.but(views=(), numeric=("amount",)), sources=(LOANS.sources[0],), contracts=(LOANS.contracts[0],)
)
TABLE = names.validated(PLAIN.name, "applications")
CLAIM = """
import sys
from pathlib import Path
from mlops_assets.foundation.home_lock import claim_home
claim_home(Path(sys.argv[1]), "another")
print("claimed", flush=True)
sys.stdin.read()
"""
CLAIMED = [sys.executable, "-c", CLAIM]


def applications(*days: int, defaulted: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    """Two loans a day of March 2024, which end on the day on which they began."""
    moments = [datetime(2024, 3, day, 12, tzinfo=UTC) for day in days for _ in defaulted]
    labels = [label for _ in days for label in defaulted]
    numbers = [day * 10 + number for day in days for number in range(len(defaulted))]
    rows = pl.DataFrame({"number": numbers, "applied_at": moments, "ended_at": moments, "defaulted": labels})
    return rows.with_columns(
        customer=pl.lit("c1"), amount=pl.lit(1.0), purpose=pl.lit("car"), insured=pl.lit(True), day=pl.col("ended_at").dt.date()
    )


@dataclass
class Trigger:
    """The sensor of one use case on a home, with an event log of its own."""

    home: Home
    instance: dg.DagsterInstance
    use_case: UseCase = PLAIN

    def validate(self, rows: pl.DataFrame) -> None:
        write_deltalake(self.home.tables / names.table_path(TABLE), rows.to_arrow(), mode="append")
        self.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(TABLE)))

    def tick(self) -> Any:
        environment = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(self.home.root)}, PROJECT)
        every: Any = build_resources(environment)
        resources = {name: every[name] for name in ("home_lock", "ledger", "warehouse")}
        (sensor,) = (one for one in build_triggers(self.use_case)["sensors"] if one.name.endswith("_triggers"))
        with dg.build_sensor_context(instance=self.instance, resources=resources) as context:
            return sensor.evaluate_tick(context)

    def why_not(self) -> str:
        evaluated = self.tick()
        assert not evaluated.run_requests
        return evaluated.skip_message

    def fail(self, problem: str) -> dg.RunRecord:
        """The requested training runs, and an error ends it."""

        @dg.op
        def fit() -> None:
            raise ValueError(problem)

        @dg.job
        def training() -> None:
            fit()

        (request,) = self.tick().run_requests
        training.execute_in_process(
            instance=self.instance, raise_on_error=False, tags={**request.tags, "run_key": request.run_key}
        )
        return self.instance.get_run_records(limit=1)[0]


@pytest.fixture
def trigger(tmp_path: Path) -> Iterator[Trigger]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Trigger(Home(tmp_path / "home"), instance)


def test_an_empty_instance_trains_nothing_and_names_what_is_missing(trigger: Trigger):
    assert trigger.why_not() == "The first training waits: No row has been accepted yet: validated_applications."


def test_the_first_training_starts_once_every_part_of_the_split_has_labels(trigger: Trigger):
    trigger.validate(applications(1))
    assert "train has no row" in (waits := trigger.why_not()) and waits.startswith(
        "The first training waits: about 2 days more must land."
    )
    trigger.validate(applications(2))
    assert "train has no row" in trigger.why_not()
    trigger.validate(applications(3))
    (request,) = trigger.tick().run_requests
    assert request.tags["mlops/training"] == PLAIN.name and request.run_key == "first_model"


def test_parts_with_one_label_only_are_not_enough(trigger: Trigger):
    trigger.validate(applications(1, 2, 3, defaulted=(0, 0)))
    for part in ("train", "validation"):
        assert (
            f"the 2 labelled requests of {part} have the labels [0.0] in 'defaulted'; needed: both 0 and 1." in trigger.why_not()
        )


def test_a_failed_training_is_tried_again_after_a_growing_pause_or_with_newer_data(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    state = promotion_state_of(PLAIN.name, [])
    ended = [trigger.fail("the disk is\nfull").end_time or 0.0]
    message = trigger.why_not()
    assert message.startswith(f"Run {trigger.instance.get_run_records(limit=1)[0].dagster_run.run_id[:8]} failed: ")
    assert "the disk is full. It is tried again from 20" in message
    trainings = read_trainings(PLAIN, trigger.instance, state)
    at = datetime.fromtimestamp(ended[0], UTC)
    assert trainings.retry_at == at + PAUSE
    assert not trainings.next(at + PAUSE - timedelta(seconds=1)).is_due
    due = trainings.next(at + PAUSE)
    assert due.is_due and due.message.startswith("again: Run ") and "the disk is full" in due.message
    (first,) = trainings.records
    for failures, pause in ((2, 2 * PAUSE), (3, 4 * PAUSE), (12, LONGEST_PAUSE)):
        repeated = Trainings(PLAIN, trigger.instance, state, [first] * failures)
        assert repeated.retry_at == at + pause
    trigger.validate(applications(4))
    newer = Trainings(PLAIN, trigger.instance, state, [first] * 12)
    assert newer.retry_at == at + PAUSE


def test_a_failed_training_is_tried_again_and_a_request_is_met_after_the_clock_was_set_back(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    ended = datetime.fromtimestamp(trigger.fail("the disk is full").end_time or 0.0, UTC)
    trainings = read_trainings(PLAIN, trigger.instance, promotion_state_of(PLAIN.name, []))
    assert not trainings.next(ended + timedelta(seconds=1)).is_due
    assert trainings.next(ended - timedelta(days=1)).is_due
    observed = dg.AssetObservation(names.stage(PLAIN.name, "training_set"), description="again", tags={REQUEST: "1"})
    later, request = trainings.records[0].create_timestamp + timedelta(days=1), RequestedTraining("1", "again")
    trigger.instance.report_runless_asset_event(observed)
    in_future = replace(trainings, records=[trainings.records[0]._replace(create_timestamp=later)])
    assert in_future.requested(ended) == request, "the training was created by a clock that was a day ahead"
    assert in_future.requested(later) is None
    assert trainings.requested(ended) == request
    trigger.validate(applications(4))
    (record,) = in_future.records
    with_newer_data = replace(trainings, records=[record] * 12)
    assert with_newer_data.retry_at == end_of(record) + PAUSE


def test_where_a_version_serves_no_first_model_is_trained_whatever_the_event_log_holds(trigger: Trigger):
    line = ModelLine(trigger.home.root, name=PLAIN.name)
    line.bless(1)
    trigger.validate(applications(1, 2, 3))
    assert trigger.why_not() == "Version 1 is blessed."
    line.promote(1)
    assert trigger.why_not() == "Version 1 serves."


@contextmanager
def another_platform(root: Path) -> Iterator[None]:
    """A process of another platform that writes to the home."""
    root.mkdir(exist_ok=True)
    with subprocess.Popen([*CLAIMED, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as other:
        assert other.stdout and other.stdout.readline() == "claimed\n"
        yield
        other.communicate()


def test_the_trigger_of_a_second_platform_on_the_home_is_refused_until_the_first_has_ended(trigger: Trigger):
    with another_platform(trigger.home.root), pytest.raises(dg.DagsterError) as refused:
        trigger.tick()
    problem = "another platform, with the event log another, writes to this home"
    assert str(refused.value.__cause__) == f"{trigger.home.root} · {problem}. Stop it, or set MLOPS_HOME to another folder."
    assert trigger.why_not().startswith("The first training waits")
    again = subprocess.run([*CLAIMED, str(trigger.home.root)], input="", capture_output=True, text=True, cwd=PROJECT, check=False)
    assert again.returncode == 1 and "HomeInUse" in again.stderr


def test_a_run_of_a_second_platform_on_the_home_writes_nothing(platform: Line, january: list[Any]):
    land(platform, january)
    with another_platform(platform.home):
        refused = platform.ingest("schedule", FIRST)
    assert not refused.success and platform.rows(names.validated("flight_delay", "schedule")).is_empty()
    assert platform.ingest("schedule", FIRST).success
