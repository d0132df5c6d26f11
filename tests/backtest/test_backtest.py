"""A whole backtest of five weeks in which the relation is reversed, and what it must never do."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from mlops_assets.backtest.kept_home import KeptHome
from mlops_assets.backtest.report import to_html
from mlops_assets.backtest.results import FROZEN, RETRAINED, SERVED, Results
from mlops_assets.backtest.run import Backtest
from mlops_assets.backtest.schedules import Cost
from mlops_assets.backtest.settings import IllegalBacktest, Settings
from mlops_assets.backtest.timeline import timeline
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment
from mlops_assets.serving.log.prediction_log import PredictionLog
from tests.backtest.past_loans import DAY, PAST_LOANS, TURNED, day_of, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FIRST, LAST, EVERY = 12, 32, 3 * DAY
SETTINGS = Settings(PAST_LOANS, day_of(FIRST), day_of(LAST), EVERY, Cost(training=2.0, point=1.0))


@dataclass(frozen=True)
class Done:
    """A backtest that has ended, and its folder."""

    results: Results
    folder: Path

    @cached_property
    def answers(self) -> pl.DataFrame:
        """The output without the parts that differ from run to run."""
        log = PredictionLog(KeptHome(self.folder).home / "prediction_log", PAST_LOANS).read()[0]
        kept = ("answered_at", "event_timestamp", "number", "model_version", "probability", "amount", "last_paid")
        return log.select(kept).sort("number")

    @property
    def decisions(self) -> list[tuple[str, str, str]]:
        decisions = timeline(self.results.replay, self.results.records)
        return [(one.anchor, one.title, one.reason.partition("run ")[0]) for one in decisions]


def run(where: Environment, folder: Path | None = None, settings: Settings = SETTINGS) -> Done:
    return Done(Backtest(settings, where, lambda _text, _done: None).run(folder), folder or Path())


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def done(where: Environment, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return run(where, tmp_path_factory.mktemp("kept"))


def test_a_changed_relation_raises_an_alarm_and_the_next_model_recovers(done: Done) -> None:
    replay = done.results.replay
    turned = dt.datetime.combine(day_of(TURNED), dt.time(), dt.UTC)
    trained = [one for one in replay.trainings[1:] if one.blessed]
    assert trained, "no candidate was blessed"
    assert all(one.at > turned and "performance" in one.reason for one in trained)
    assert min(alarm.at for alarm in replay.alarms if alarm.monitor == "performance") <= trained[0].at
    last = done.results.steps[-1].metrics
    assert last[SERVED]["auc"] > 0.75
    assert last[FROZEN]["auc"] < 0.6
    assert done.results.gains[FROZEN]["auc"].low > 0


def test_each_alarm_is_investigated_as_of_its_time(done: Done) -> None:
    for alarm in done.results.replay.alarms:
        causes = alarm.tables["investigation: causes"]
        assert causes and all(cause["remedy"] for cause in causes), alarm.message
        assert causes[0]["where"] in alarm.message or "No cause stands out." in alarm.message
        assert [
            cause["since"]
            for cause in causes
            if str(cause["since"])[:4].isdecimal() and str(cause["since"])[:10] > f"{alarm.at:%Y-%m-%d}"
        ] == []
    assert to_html(done.results).count("<h3>investigation: causes</h3>") >= 1


def test_everything_is_dated_by_the_past(done: Done) -> None:
    answers, ends = done.answers, [end for _start, end in SETTINGS.steps]
    assert len(answers) == sum(step.requests for step in done.results.replay.steps) == 60 * (LAST - FIRST + 1)
    assert (answers["answered_at"] - answers["event_timestamp"]).dt.total_days().max() == 0
    assert (answers["answered_at"] >= answers["event_timestamp"]).all()
    moments = [SETTINGS.start, *answers["answered_at"], *ends]
    assert {dt.datetime.fromisoformat(record.at) for record in done.results.records} <= {*moments}


def test_the_metrics_are_those_of_the_same_rows_by_hand(done: Done) -> None:
    known = DeltaTables(KeptHome(done.folder).home / "tables").scan(names.stage("loans", "outcomes")).collect()
    truth, served = known["defaulted"].to_numpy(), known["probability"].to_numpy()
    whole = done.results.whole.metrics[SERVED]
    np.testing.assert_allclose(whole["auc"], roc_auc_score(truth, served))
    np.testing.assert_allclose(whole["brier"], brier_score_loss(truth, served))
    by_day = known.with_columns(step=(pl.col("event_timestamp") - SETTINGS.start).dt.total_days() // EVERY.days)
    for number, part in enumerate(done.results.steps):
        own = by_day.filter(step=number)
        assert part.rows == len(own)
        np.testing.assert_allclose(part.metrics[SERVED]["auc"], roc_auc_score(own["defaulted"], own["probability"]))


def test_until_the_second_champion_served_and_frozen_are_the_same(done: Done) -> None:
    assert done.results.rescored < 1e-6
    champions = [record for record in done.results.records if record.kind == "promotion"]
    changed = dt.datetime.fromisoformat(champions[1].at)
    for part in done.results.steps:
        if part.start < changed.date():
            assert part.metrics[SERVED] == pytest.approx(part.metrics[FROZEN], nan_ok=True)
    assert done.results.steps[0].metrics[RETRAINED] == pytest.approx(done.results.steps[0].metrics[FROZEN], nan_ok=True)


def test_no_schedule_is_cheaper_than_the_best_one(done: Done) -> None:
    costs = done.results.costs
    assert costs.best.cost <= min(costs.policy.cost, costs.frozen.cost, costs.retrained.cost) + 1e-9
    assert len(costs.retrained.trained) == len(SETTINGS.steps) - 1
    assert len(costs.policy.trained) == sum(step.training is not None for step in done.results.replay.steps)
    assert costs.frozen.lost_points > costs.policy.lost_points


def test_every_decision_on_the_page_leads_to_its_evidence(done: Done) -> None:
    page = to_html(done.results)
    decisions = timeline(done.results.replay, done.results.records)
    for one in decisions:
        assert page.count(f'id="{one.anchor}"') == 1
        assert page.count(f'href="#{one.anchor}"') >= 2, "in the chart and in the list"
    for training in done.results.replay.trainings:
        assert all(gate.message.split(" ")[0] in page for gate in training.gates)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_the_home_of_the_user_is_only_read(done: Done, where: Environment) -> None:
    assert [path.name for path in where.home.root.iterdir()] == ["landing"]


def test_no_label_of_the_future_changes_anything_before_it(done: Done, tmp_path: Path) -> None:
    poisoned, since = environment(tmp_path), FIRST + 12
    for number in range(since, 35):
        file = poisoned.home.landing / "loans/applications" / f"{day_of(number)}.csv"
        header, *lines = file.read_text().splitlines()
        file.write_text("\n".join([header, *(f"{line[:-1]}{1 - int(line[-1])}" for line in lines), ""]))
    again = run(poisoned, tmp_path / "kept")
    steps = [number for number, (_start, end) in enumerate(SETTINGS.steps) if end.date() <= day_of(since)]
    assert len(steps) == 4
    before = pl.col("event_timestamp").dt.date() < day_of(since)
    assert again.answers.filter(before).equals(done.answers.filter(before))
    assert [again.results.replay.steps[number] for number in steps] == [done.results.replay.steps[number] for number in steps]
    assert not again.answers.equals(done.answers), "the poisoned rows were read later"


IN_A_PROCESS = """
import sys
from pathlib import Path
from tests.backtest.test_backtest import run
from tests.graph.line import variables
from mlops_assets.foundation.home import read_environment
project, *folder = map(Path, sys.argv[1:])
run(read_environment(variables(project / "home"), project), *folder)
"""


def start(where: Environment, *folder: Path, temporary: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", IN_A_PROCESS, str(where.project), *map(str, folder)]
    variables = os.environ | {"PYTHONPATH": os.getcwd(), "TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def test_a_killed_backtest_ends_as_one_that_was_not(done: Done, where: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    process = start(where, folder, temporary=tmp_path)
    wait_for(process, folder, "step-2")
    time.sleep(1)  # within the third step
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = run(where, folder)
    assert again.answers.equals(done.answers)
    assert again.decisions == done.decisions
    assert again.results.steps == done.results.steps
    assert again.results.costs == done.results.costs


def test_an_interrupted_backtest_leaves_nothing_behind(where: Environment, tmp_path: Path) -> None:
    process = start(where, temporary=tmp_path)
    wait_for(process, tmp_path, "mlops-backtest-*/home/tables/loans/validated/payments.delta")
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].strip().endswith("KeyboardInterrupt")
    assert not [*tmp_path.glob("mlops-backtest-*")]


def test_a_folder_of_another_backtest_is_refused(done: Done, where: Environment) -> None:
    other = Settings(PAST_LOANS, day_of(FIRST), day_of(LAST - 1), EVERY)
    with pytest.raises(IllegalBacktest, match="it holds a backtest of other days"):
        run(where, done.folder, other)
