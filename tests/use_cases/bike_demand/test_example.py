"""The example data of the use case, and whether its monitors have enough of it."""

from datetime import date, timedelta

from mlops_assets.foundation.grains import table_calendar
from mlops_assets.use_cases.bike_demand import USE_CASE
from mlops_assets.use_cases.bike_demand.sample import example


def test_the_example_has_the_hours_of_the_clock() -> None:
    partitions = [file.partition for file in example(date(2011, 3, 13), date(2011, 3, 13)) if file.table == "rentals"]
    calendar = table_calendar(USE_CASE, "rentals")
    assert [calendar.key(partition)[11:] for partition in partitions] == [f"{hour:02}" for hour in range(24) if hour != 2]


def test_a_window_has_enough_hours_for_every_monitor() -> None:
    judged = {type(one).__name__: (one.window / timedelta(hours=1), getattr(one, "min_rows", None)) for one in USE_CASE.monitors}
    assert {"Drift", "Performance"} <= judged.keys()
    assert all(min_rows and min_rows < hours for hours, min_rows in judged.values()), judged
