"""The names of triggers, by which they are shown."""

import pytest

from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.trigger import OnDrift, OnPerformance, OnSchedule, Trigger, trigger_names
from mlops_assets.use_cases.flight_delay import USE_CASE

HOURS = tuple(OnSchedule(cron=f"0 {hour} * * *") for hour in (6, 12))
BOUNDS = (OnPerformance(metric="auc", bound=0.7), OnPerformance(metric="brier", bound=0.2))


@pytest.mark.parametrize(
    ("triggers", "expected"),
    [
        ((OnSchedule(cron="0 6 * * 1"), OnDrift()), ["on_schedule", "on_drift"]),
        ((OnSchedule(cron="0 12 * * *", suffix="noon"), OnSchedule(cron="0 6 * * 1")), ["on_schedule_noon", "on_schedule"]),
        (HOURS, ["on_schedule_cron_0_6_any_any_any", "on_schedule_cron_0_12_any_any_any"]),
        (BOUNDS, ["on_performance_metric_auc_bound_0_7", "on_performance_metric_brier_bound_0_2"]),
    ],
    ids=["one of each", "suffix", "schedules", "bounds"],
)
def test_each_trigger_has_a_name_of_its_own_whatever_the_order(triggers: tuple[Trigger, ...], expected: list[str]) -> None:
    assert trigger_names(triggers) == expected
    assert trigger_names(triggers[::-1]) == expected[::-1]


def test_two_with_one_name_are_refused() -> None:
    message = r"triggers · 2 are named 'on_drift_week'; legal: names of their own\. Give each another suffix\."
    with pytest.raises(IllegalDeclaration, match=message):
        USE_CASE.but(triggers=(OnDrift(suffix="week"), OnDrift(suffix="week", monitor="drift")))
