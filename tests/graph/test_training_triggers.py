"""The sensor that starts trainings, on a real event log and ledger: one training for a cause, and no endless useless ones."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.graph.training_requests import ManualTraining, describe_end
from mlops_assets.graph.training_triggers import Request
from mlops_assets.graph.trainings import SYMPTOMS, read_trainings
from mlops_assets.promotion.pauses import pause
from mlops_assets.resources import LedgerResource
from mlops_assets.spec.monitor import Drift, Performance
from mlops_assets.spec.trigger import MORE_LOSS, OnDrift, OnLoss, OnPerformance, OnSchedule, Trigger
from mlops_assets.triggers.memory import PAUSE
from tests.graph.test_first_model import PLAIN
from tests.graph.training_line import TrainingLine, tick

WATCHED = PLAIN.but(
    monitors=(Drift(), Performance()),
    triggers=(OnDrift(), OnPerformance(metric="auc", bound=0.7), OnPerformance(metric="brier", bound=0.2)),
)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[TrainingLine]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield TrainingLine(Home(tmp_path / "home"), instance, WATCHED)


def test_ten_failed_checks_with_one_cause_train_once(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    assert line.train(refused=True).reason == "drift: 3 of 9 inputs have drifted"
    for number in range(10):
        line.waited += DAY
        line.judge("drift", f"{number} of 9 inputs have drifted.")
        assert "did not help: version 2 was refused by beats_champion. Another training starts when newer data" in line.why_not()


FEW_LABELS = "The mean Brier score is 0.4 to 0.6 since it serves, by 40 labels."


@pytest.fixture
def with_few_labels(tmp_path: Path) -> Iterator[TrainingLine]:
    triggers = (OnLoss(), OnPerformance(metric="auc", bound=0.7))
    with dg.DagsterInstance.ephemeral() as instance:
        yield TrainingLine(Home(tmp_path / "home"), instance, PLAIN.but(monitors=(Performance(),), triggers=triggers))


def judge_few_labels(line: TrainingLine) -> None:
    line.judge("performance", FEW_LABELS, reason_to_train=1.0, symptoms=dg.MetadataValue.json([MORE_LOSS]))


def test_few_labels_train_once_where_on_loss_is_declared_and_again_with_newer_data(with_few_labels: TrainingLine) -> None:
    line = with_few_labels
    judge_few_labels(line)
    assert line.train(refused=True).reason == "performance: The mean Brier score is 0.4 to 0.6 since it serves, by 40 labels"
    for _ in range(3):
        line.waited += DAY
        judge_few_labels(line)
        assert "Another training starts when newer data has come" in line.why_not()
    line.land()
    assert line.train(promoted=True).tags[SYMPTOMS] == f'["performance: {MORE_LOSS}"]'


def test_the_plan_names_the_trigger_that_trains_on_few_labels(with_few_labels: TrainingLine) -> None:
    judge_few_labels(with_few_labels)
    outlooks = {name: outlook.message for name, outlook in with_few_labels.triggers().outlooks().items()}
    no_reason = "the alarm of performance is no reason to train: it is by few labels, on which OnLoss() trains."
    assert outlooks == {"on_loss": f"performance: {FEW_LABELS.rstrip('.')}", "on_performance": no_reason}


def test_enough_labels_below_the_bound_are_no_cause_of_on_loss(with_few_labels: TrainingLine) -> None:
    with_few_labels.judge("performance", "auc 0.6 of the window is below 0.7.", reason_to_train=1.0)
    outlooks = with_few_labels.triggers().outlooks()
    assert (outlooks["on_performance"].is_due, outlooks["on_loss"].is_due) == (True, False)


def test_status_says_that_training_did_not_help(line: TrainingLine) -> None:
    assert line.triggers().describe() == []
    line.judge("drift", "3 of 9 inputs have drifted.")
    assert line.triggers().describe() == ["on_drift: drift: 3 of 9 inputs have drifted"]
    line.train(refused=True)
    line.judge("drift", "3 of 9 inputs have drifted.")
    (sentence,) = line.triggers().describe()
    assert sentence.startswith("on_drift: drift: 3 of 9 inputs have drifted. A training since 20")


def test_a_version_that_is_refused_again_for_the_same_reason_has_not_failed_and_is_not_trained_once_more(
    line: TrainingLine,
) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(refused=True)
    line.refuse_again()
    trainings = read_trainings(line.use_case, line.instance, line.state)
    assert trainings.failure == ""
    assert [past.outcome for past in trainings.past] == ["version 2 was refused by beats_champion"] * 2
    line.waited += DAY
    assert "Run " not in line.why_not(), "no failure is tried again"


def test_an_error_in_a_training_of_a_refused_version_is_an_error(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(refused=True)
    line.refuse_again(error="the disk is full")
    (newest, *_), trainings = line.instance.get_run_records(limit=1), read_trainings(line.use_case, line.instance, line.state)
    assert "the disk is full" in trainings.failure
    assert "the disk is full" in describe_end(line.use_case, newest, line.instance, line.state).message


def test_another_alarm_trains_again_once(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(refused=True)
    line.judge("performance", "auc 0.6")
    assert line.train(refused=True).reason == "performance: auc 0.6"
    for monitor in ("drift", "performance"):
        line.judge(monitor, "still")
    line.waited += DAY
    assert line.why_not().count("starts when newer data has come") == 3


def test_newer_data_trains_again_after_a_pause_that_grows_with_every_training_that_did_not_help(line: TrainingLine) -> None:
    for attempt in range(4):
        line.judge("drift", "3 of 9 inputs have drifted.")
        if attempt:
            due = line.ended + PAUSE * 2 ** (attempt - 1)
            assert f"Another training starts from {due:%Y-%m-%d %H:%M} UTC." in line.why_not()
            line.waited += PAUSE * 2 ** (attempt - 1) + timedelta(minutes=1)
        assert ("did not help" in line.train(refused=True).reason) is bool(attempt)
        line.waited = timedelta(0)
        line.land()
    line.judge("drift", "3 of 9 inputs have drifted.")
    assert "4 trainings since 20" in line.why_not()


def test_a_monitor_that_was_healthy_meanwhile_ends_the_count(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(promoted=True)
    line.judge("drift", "12 requests in the window; a verdict needs 1000.", passed=True, verdict="not enough data")
    line.land()
    line.judge("drift", "3 of 9 inputs have drifted.")
    assert "A training since" in line.why_not(), "a lack of data is no health"
    line.judge("drift", "1 of 9 inputs has drifted.", passed=True)
    line.judge("drift", "4 of 9 inputs have drifted.")
    assert line.train().reason == "drift: 4 of 9 inputs have drifted"


def test_a_training_that_an_error_ended_is_tried_again_and_counts_as_one_that_did_not_help_only_once_it_has_ended(
    line: TrainingLine,
) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(error="the disk is full")
    assert "the disk is full. It is tried again from 20" in line.why_not()
    line.waited += timedelta(minutes=6)
    again = line.next()
    assert isinstance(again, Request) and again.reason.startswith("again: Run ")
    line.train(refused=True)
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.waited += DAY
    assert "A training since" in line.why_not()


def test_an_alarm_from_before_the_end_of_a_training_starts_none(line: TrainingLine) -> None:
    line.judge("performance", "auc 0.6")
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(refused=True)
    line.land()
    assert "on_drift: a model has been trained since the alarm of drift." in line.why_not()


def test_a_log_that_cannot_be_read_is_no_reason(line: TrainingLine) -> None:
    line.judge("drift", "36% of the log cannot be read.", reason_to_train=0.0)
    assert "on_drift: the alarm of drift is no reason to train." in line.why_not()


def test_no_training_starts_while_a_run_writes_the_tables_that_it_reads(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    table = dg.AssetKey(names.validated(PLAIN.name, PLAIN.label.table))
    job = dg.Definitions([dg.asset(key=table)(lambda: None)]).resolve_implicit_global_asset_job_def()
    run = line.instance.create_run_for_job(job, asset_selection=frozenset([table]), status=dg.DagsterRunStatus.STARTED)
    assert line.why_not() == "on_drift: drift: 3 of 9 inputs have drifted. A run writes the tables that a training reads."
    line.instance.delete_run(run.run_id)
    line.train()


def test_the_sensor_requests_it_with_its_reason_and_what_it_is_remembered_by(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    request = tick(WATCHED, line.instance, line.home.root)
    assert isinstance(request, dg.RunRequest) and request.run_key == "first_model"
    assert request.tags["mlops/reason"] == "drift: 3 of 9 inputs have drifted" and request.tags["mlops/training"] == PLAIN.name
    assert (request.tags["mlops/symptoms"], request.tags["mlops/champion"]) == ('["drift"]', "1")


def declare(line: TrainingLine, *triggers: Trigger) -> None:
    line.use_case = WATCHED.but(triggers=triggers)


def test_a_schedule_trains_once_at_each_of_its_times_also_at_one_that_was_missed(line: TrainingLine) -> None:
    declare(line, OnSchedule(cron="0 6 * * *"))
    line.judge("drift", "no trigger reads it")
    assert line.train().reason == "schedule: 0 6 * * *"
    assert "on_schedule: the next time is 20" in line.why_not()
    line.waited += 3 * DAY
    assert line.train(refused=True).reason == "schedule: 0 6 * * *"
    line.waited -= 10 * DAY
    due = line.next()
    assert isinstance(due, Request) and due.reason.startswith("schedule: 0 6 * * *"), "the clock was set back"


def test_a_trigger_waits_for_its_cool_down_after_any_training(line: TrainingLine) -> None:
    declare(line, OnSchedule(cron="0 6 * * *"), OnDrift(cool_down=3 * HOUR))
    line.train()
    line.judge("drift", "3 of 9 inputs have drifted.")
    until = line.ended + 3 * HOUR
    assert f"3 of 9 inputs have drifted. Another training starts from {until:%Y-%m-%d %H:%M} UTC." in line.why_not()
    line.waited += 3 * HOUR
    due = line.next()
    assert isinstance(due, Request) and due.reason.startswith(("drift: 3 of 9", "schedule"))


def test_without_a_trigger_nothing_trains_but_what_a_person_requests(line: TrainingLine) -> None:
    declare(line)
    line.judge("drift", "3 of 9 inputs have drifted.")
    assert line.why_not() == "Version 1 serves."


def test_a_pause_starts_nothing_and_what_was_due_follows_at_its_end(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    pause(PLAIN.name, until=line.now + DAY, why="a move", by="ana", at=line.now, ledger=line.models.ledger)
    assert line.why_not().startswith("Paused by ana until 20")
    line.waited += DAY
    assert line.train().reason == "drift: 3 of 9 inputs have drifted"


def test_a_person_trains_during_a_pause(line: TrainingLine) -> None:
    pause(PLAIN.name, until=line.now + DAY, why="a move", by="ana", at=line.now, ledger=line.models.ledger)
    resources = line.triggers().warehouse
    ledger = LedgerResource(url=f"sqlite:///{line.home.ledger}", heads=str(line.home.deployments))
    ManualTraining(PLAIN, line.instance, ledger, resources, "bob", "I want it").submit()
    due = line.next()
    assert isinstance(due, Request) and due.reason == "I want it (requested by bob)"


def test_after_a_rollback_by_hand_no_trigger_trains_until_it_is_handed_over(line: TrainingLine) -> None:
    line.judge("drift", "3 of 9 inputs have drifted.")
    line.train(promoted=True)
    line.models.promotions.roll_back(by_hand=True, **line.models.attribution(reason="Version 2 is slow."))
    line.judge("drift", "3 of 9 inputs have drifted.")
    assert line.why_not().startswith("Held since ana rolled back version 2 on 2013-07-01 12:")
    line.models.promotions.hand_over(reason="fast again", by="ana", at=line.models.now())
    line.waited += DAY
    assert "A training since" in line.why_not()
    line.land()
    assert isinstance(line.next(), Request)
