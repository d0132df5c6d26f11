"""What Dagster shows of a rollout, on a real home."""

from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.rollout import build_rollout
from mlops_assets.resources import Resources, build_resources
from tests.promotion.model_line import ModelLine


@pytest.fixture
def line(tmp_path: Path) -> ModelLine:
    """Version 1 serves, version 2 is blessed."""
    line = ModelLine(Home(tmp_path).root)
    line.bless(1, 2)
    line.promote(1)
    return line


def resources(line: ModelLine, url: str = "http://127.0.0.1:9") -> Resources:
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(line.folder.parents[1]), "MLOPS_SERVICE_URL": url}
    return build_resources(read_environment(variables, PROJECT))


def look(line: ModelLine) -> str:
    """Why the sensor did nothing."""
    (sensor,) = build_rollout(line.use_case)["sensors"]
    with dg.build_sensor_context(resources={"rollout_stores": resources(line)["rollout_stores"]}) as context:
        return sensor.evaluate_tick(context).skip_message or ""


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_sensor_leaves_a_route_by_hand_alone_and_says_so(line: ModelLine, share: float):
    line.promotions.route(challenger=2, share=share, **line.said())
    with line.unchanged():
        assert "by hand since" in look(line)
