"""An alarm of the champion starts no training while another version is being rolled out."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.spec.monitor import Performance
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.graph.training_line import tick
from tests.rollout.test_rollout_races import Line

KEY = dg.AssetKey(names.stage(USE_CASE.name, "performance"))
WATCHED = USE_CASE.but(triggers=USE_CASE.triggers[1:])


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Version 2 serves; version 3 is in shadow."""
    return Line(tmp_path)


@pytest.fixture
def failed() -> Iterator[dg.DagsterInstance]:
    """The check of the champion's performance has failed since the last training."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetCheckEvaluation(KEY, Performance.CHECK, passed=False, description="AUC 0.6"))
        yield instance


def why_not(line: Line, instance: dg.DagsterInstance) -> str:
    """Empty where a training starts."""
    due = tick(WATCHED, instance, line.folder.parent.parent)
    return due if isinstance(due, str) else ""


def test_no_training_starts_while_a_version_is_rolled_out_but_once_it_is_rolled_back(line: Line, failed: dg.DagsterInstance):
    assert "on_performance: performance: AUC 0.6. Version 3 is blessed; shadow: version 3. Version 2" in why_not(line, failed)
    line.promotions.roll_back(**line.attribution())
    assert not why_not(line, failed)


def test_no_training_starts_while_a_version_waits(line: Line, failed: dg.DagsterInstance):
    line.promotions.roll_back(**line.attribution())
    line.bless(4)
    assert "Version 4 is blessed, and its rollout has not started." in why_not(line, failed)


def test_a_route_by_hand_holds_no_training_up(line: Line, failed: dg.DagsterInstance):
    line.promotions.route(challenger=3, share=0.5, **line.attribution())
    assert not why_not(line, failed)


def test_a_schedule_trains_while_a_version_is_rolled_out(line: Line, failed: dg.DagsterInstance):
    due = tick(USE_CASE, failed, line.folder.parent.parent)
    assert isinstance(due, dg.RunRequest) and due.tags["mlops/reason"] == "schedule: 0 6 * * 1"
