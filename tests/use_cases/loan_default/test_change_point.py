"""The change of 31 March 2019, 03:00 UTC, which the data are made with, is found in its week, and only there."""

from datetime import date

import polars as pl

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import compare_profiles
from mlops_assets.statistics.profile import profile_like, profile_reference
from mlops_assets.use_cases.loan_default import USE_CASE
from mlops_assets.use_cases.loan_default.sample import example

(DRIFT,) = (monitor for monitor in USE_CASE.monitors if isinstance(monitor, Drift))
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
    changed = {"car_value", "loan_length", "repaid_loan_on_prev_car", "salary_range"}
    assert [*alarms.items()] == [(week, changed) for week in weeks]
