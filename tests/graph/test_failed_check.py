"""The sensor that trains again after a failed check: one cause starts one training."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.resources import LedgerResource
from mlops_assets.spec.monitor import Performance
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.rollout.test_rollout_races import Line

KEY = dg.AssetKey(names.stage(USE_CASE.name, "performance"))
(SENSOR,) = (sensor for sensor in build_triggers(USE_CASE)["sensors"] if sensor.name.endswith("_on_performance"))


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
    heads = line.folder.parent
    resources = {"ledger": LedgerResource(url=f"sqlite:///{heads.parent / 'ledger.db'}", heads=str(heads))}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        evaluated = SENSOR.evaluate_tick(context)
    return evaluated.skip_message if not evaluated.run_requests else ""


def test_no_training_starts_while_a_version_is_rolled_out_but_once_it_is_rolled_back(line: Line, failed: dg.DagsterInstance):
    assert why_not(line, failed).startswith("Version 3 is blessed; shadow: version 3. Version 2 serves.")
    line.promotions.roll_back(**line.said())
    assert not why_not(line, failed)


def test_no_training_starts_while_a_version_waits(line: Line, failed: dg.DagsterInstance):
    line.promotions.roll_back(**line.said())
    line.bless(4)
    assert why_not(line, failed).startswith("Version 4 is blessed, and its rollout has not started.")


def test_a_route_by_hand_holds_no_training_up(line: Line, failed: dg.DagsterInstance):
    line.promotions.route(challenger=3, share=0.5, **line.said())
    assert not why_not(line, failed)
