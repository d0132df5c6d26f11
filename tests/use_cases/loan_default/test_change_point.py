"""The change of 31 March 2019, 03:00 UTC, which the data are made with, is found in its week, and only there."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.backtest.history import History
from mlops_assets.backtest.kept_home import KeptHome
from mlops_assets.backtest.replay import Replayer
from mlops_assets.backtest.settings import Settings
from mlops_assets.foundation.home import PROJECT
from mlops_assets.graph.in_process import InProcess
from mlops_assets.ingestion.examples import land_example
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import compare_profiles
from mlops_assets.statistics.profile import profile_like, profile_reference
from mlops_assets.use_cases.loan_default import USE_CASE
from mlops_assets.use_cases.loan_default.sample import example

(DRIFT,) = (monitor for monitor in USE_CASE.monitors if isinstance(monitor, Drift))
CHANGED = {"car_value", "loan_length", "repaid_loan_on_prev_car", "salary_range"}
TRAINED_UNTIL, WATCHED_UNTIL = date(2018, 10, 28), date(2019, 6, 30)


def test_the_first_alarm_is_the_window_with_the_change_and_names_its_columns() -> None:
    files = [*example(date(2018, 1, 1), WATCHED_UNTIL)]
    applications = pl.concat(file.rows for file in files if file.table == "applications")
    day = pl.col("applied_at").dt.date()
    trained = profile_reference(
        applications.filter(day <= TRAINED_UNTIL), USE_CASE.features.numeric, USE_CASE.features.categorical
    )
    alarms: dict[date, set[str]] = {}
    for end in pl.date_range(TRAINED_UNTIL, WATCHED_UNTIL, "1w", closed="right", eager=True):
        recent = applications.filter(day.is_between(end - DRIFT.window, end, closed="right"))
        drifted = {column.name for column in compare_profiles(trained, profile_like(trained, recent), DRIFT) if column.drifted}
        if drifted:
            alarms[end] = drifted
    weeks = pl.date_range(date(2019, 4, 7), WATCHED_UNTIL, "1w", eager=True)
    assert [*alarms.items()] == [(week, CHANGED) for week in weeks]


@pytest.mark.slow  # 30 s of CPU: the whole line, in 49 weeks of which three are served
def test_the_asset_drift_of_the_served_line_has_its_first_alarm_in_that_week(tmp_path: Path) -> None:
    first, last = date(2019, 3, 18), date(2019, 4, 7)
    use_case = USE_CASE.but(first_day=date(2018, 5, 28), monitors=(DRIFT,), triggers=())
    landing, environment = Landing(tmp_path / "history"), KeptHome(tmp_path).environment(PROJECT)
    land_example(use_case, landing, date(2018, 5, 28), last)
    settings, history = Settings(use_case, first, last), History(use_case, landing)
    with InProcess.opened(use_case, environment) as platform:
        replayer = Replayer(settings, environment, history, platform, lambda _text, _done: None)
        replay, requests = replayer.begin(), history.requests(settings.start, settings.end)
        for _ in settings.steps:
            replay.steps.append(replayer.step(replay, requests))
    assert [step.requests > 1000 for step in replay.steps] == [True, True, True]
    (alarm,) = replay.alarms
    assert (alarm.monitor, alarm.at) == ("drift", settings.end)
    assert sorted(row["name"] for row in alarm.tables["drifted"]) == sorted(CHANGED), alarm.message
