"""What `mlops status` shows of daemon and trainings, on the event log of a real home."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat  # what the daemon writes

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.graph.history import readable_event_log
from mlops_assets.graph.operations import describe_operations
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotion_state import promotion_state_of
from tests.graph.kernel.switching import switch
from tests.graph.test_first_model import PLAIN, Trigger, applications
from tests.promotion.model_line import ModelLine

STOPPED = (
    "no trigger, monitor or rollout runs, and nothing that lands is read. Start it with `mlops up`; its log is logs/daemon.log."
)


@pytest.fixture
def trigger(tmp_path: Path) -> Iterator[Trigger]:
    home = Home(tmp_path / "home")
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        yield Trigger(home, instance)


def lines(trigger: Trigger) -> list[str]:
    records = Ledger(f"sqlite:///{trigger.home.ledger}").records(PLAIN.name)
    state = promotion_state_of(PLAIN.name, records)
    with readable_event_log(trigger.home) as (instance, _):
        return describe_operations(PLAIN, trigger.home, instance, state=state, now=datetime.now(UTC))


def beat(trigger: Trigger, at: datetime) -> None:
    trigger.instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), "SENSOR", "the daemon", []))


def test_a_home_without_a_platform_of_its_own_has_nothing_to_show(tmp_path: Path):
    home = Home(tmp_path / "home")
    with readable_event_log(home) as (instance, problems):
        state = promotion_state_of(PLAIN.name, [])
        assert describe_operations(PLAIN, home, instance, state=state, now=datetime.now(UTC)) == problems == []
    assert not home.root.exists()


def test_a_daemon_without_a_heartbeat_is_named_with_what_has_stopped(trigger: Trigger):
    assert lines(trigger)[0] == f"daemon: no heartbeat yet: {STOPPED}"
    ended = datetime.now(UTC) - timedelta(minutes=3)
    beat(trigger, ended)
    assert lines(trigger)[0] == f"daemon: no heartbeat since {ended:%Y-%m-%d %H:%M:%S} UTC: {STOPPED}"
    beat(trigger, datetime.now(UTC))
    assert not any(line.startswith("daemon") for line in lines(trigger))


def test_a_use_case_that_is_stopped_is_named_until_it_is_started_again(trigger: Trigger):
    beat(trigger, datetime.now(UTC))
    switch(trigger.instance, f"{PLAIN.name}_automation", on=False)
    reason = f"Nothing runs by itself for {PLAIN.name}, as the sensor {PLAIN.name}_automation is stopped: start it."
    assert lines(trigger)[0] == f"automation: {reason}"
    switch(trigger.instance, f"{PLAIN.name}_automation", on=True)
    assert not any(line.startswith("automation") for line in lines(trigger))


def test_a_run_of_a_monitor_that_failed_is_named(trigger: Trigger):
    @dg.asset(key=names.stage(PLAIN.name, "drift"))
    def drift() -> None:
        raise ValueError("no page can be drawn")

    job = dg.Definitions([drift]).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=trigger.instance, asset_selection=[drift.key], raise_on_error=False)
    assert any(line.startswith("failed: Run ") and "of drift failed: ValueError: no page" in line for line in lines(trigger))


def test_the_first_training_says_what_it_waits_for_then_that_it_is_due(trigger: Trigger):
    beat(trigger, datetime.now(UTC))
    assert lines(trigger) == ["training: the first one waits: No row has been accepted yet: validated_applications."]
    trigger.validate(applications(1, 2, 3))
    assert lines(trigger) == ["training: the first one is due: there is enough data"]


def test_a_failed_training_is_named_with_its_error_and_what_happens_next_also_while_a_version_serves(trigger: Trigger):
    beat(trigger, datetime.now(UTC))
    trigger.validate(applications(1, 2, 3))
    run = trigger.fail("the disk is\nfull").dagster_run.run_id[:8]
    (line,) = lines(trigger)
    assert line.startswith(f"training: Run {run} failed: ValueError: the disk is full. It is tried again from 20")
    line_of_models = ModelLine(trigger.home.root, name=PLAIN.name)
    line_of_models.bless(1)
    line_of_models.promote(1)
    (line,) = lines(trigger)
    assert line.endswith("earlier with newer data or by `mlops train loans --because …`; version 1 serves on.")


def test_a_candidate_that_its_gates_refused_is_no_failure(trigger: Trigger):
    beat(trigger, datetime.now(UTC))
    trigger.validate(applications(1, 2, 3))
    run = trigger.fail("a gate").dagster_run.run_id[:8]
    promotions = ModelLine(trigger.home.root, name=PLAIN.name).promotions
    promotions.refuse(1, reason="too weak", by=f"run {run}", at=datetime.now(UTC))
    by_hand = "or by `mlops train loans --because …` after a change of the declaration"
    waits = f"Run {run} trained no version that may serve; the next starts when new data has come, {by_hand}."
    assert lines(trigger) == [f"training: {waits}"]
    assert trigger.why_not() == waits
