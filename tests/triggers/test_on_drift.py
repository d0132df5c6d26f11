"""Drift that does no harm, by the estimate where there is one, trains nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.spec.monitor import Drift, Estimation, Monitor, Performance
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.trigger import OnDrift, OnLoss, OnPerformance
from mlops_assets.spec.use_case import UseCase
from mlops_assets.triggers.on_drift import find_cause
from mlops_assets.triggers.situation import Reading
from tests.cli.loans import LOANS

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HEALTHY, ALARM, UNKNOWN = Verdict.HEALTHY, Verdict.ALARM, Verdict.NOT_ENOUGH_DATA
BOTH = (Drift(), Performance(), Estimation())


@dataclass
class Situation:
    use_case: UseCase
    readings: dict[str, Reading]
    now: datetime = NOW
    trained_from: datetime | None = None
    trained_until: datetime | None = None

    def healthy_at(self, monitor: str) -> datetime | None:
        return None


def trains(monitors: tuple[Monitor, ...], **verdicts: Verdict) -> bool:
    trigger = OnDrift(unless_performance_holds=True)
    bounds = [OnPerformance(metric="auc", bound=0.6)] if Performance() in monitors else []
    use_case = LOANS.but(monitors=monitors, triggers=(trigger, *bounds))
    readings = {stage: Reading(stage, verdict, "it is.", NOW, 1.0, ("age",)) for stage, verdict in verdicts.items()}
    situation: Any = Situation(use_case, {"drift": Reading("drift", ALARM, "age drifts.", NOW, 1.0, ("age",))} | readings)
    return find_cause(trigger, situation).exists


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({"estimation": HEALTHY, "performance": HEALTHY}, False),
        ({"estimation": HEALTHY, "performance": UNKNOWN}, False),  # labels come late
        ({"estimation": HEALTHY}, False),
        ({"estimation": HEALTHY, "performance": ALARM}, True),  # labels refute the estimate
        ({"estimation": ALARM, "performance": HEALTHY}, True),
        ({"estimation": UNKNOWN, "performance": HEALTHY}, True),
        ({"performance": HEALTHY}, True),
    ],
)
def test_where_an_estimate_is_declared_it_decides_unless_labels_refute_it(verdicts: dict[str, Verdict], expected: bool) -> None:
    assert trains(BOTH, **verdicts) is expected


def test_an_estimate_alone_is_enough_and_without_one_the_realised_metric_decides() -> None:
    assert not trains((Drift(), Estimation()), estimation=HEALTHY)
    assert not trains((Drift(), Performance()), performance=HEALTHY)
    assert trains((Drift(), Performance()), performance=UNKNOWN)


def test_the_reason_is_the_first_sentence_of_the_alarm() -> None:
    """It becomes a tag of the run, and a line of the plan and of the ledger."""
    use_case = LOANS.but(monitors=(Drift(),), triggers=(OnDrift(),))
    reading = Reading("drift", ALARM, "1 of 3 inputs has drifted: age (PSI 0.31). Labels have not. More.", NOW, 1.0, ("age",))
    situation: Any = Situation(use_case, {"drift": reading})
    assert find_cause(OnDrift(), situation).message == "drift: 1 of 3 inputs has drifted: age (PSI 0.31)"


def test_unless_performance_holds_needs_a_declared_estimation() -> None:
    with pytest.raises(IllegalDeclaration, match="Declare Estimation"):
        LOANS.but(monitors=(Drift(),), triggers=(OnDrift(unless_performance_holds=True),))
    with pytest.raises(IllegalDeclaration, match="Declare Estimation"):
        LOANS.but(monitors=(Drift(), Performance()), triggers=(OnDrift(unless_performance_holds=True), OnLoss()))
    assert LOANS.but(monitors=(Drift(), Estimation()), triggers=(OnDrift(unless_performance_holds=True),))


def test_an_estimate_reads_a_metric_of_the_task_and_a_bound_has_its_metric() -> None:
    with pytest.raises(IllegalDeclaration, match="Estimation reads rmse, which Binary does not measure"):
        LOANS.but(monitors=(Estimation(metric="rmse"),))
    with pytest.raises(IllegalDeclaration, match="without its metric"):
        Estimation(bound=0.7)
