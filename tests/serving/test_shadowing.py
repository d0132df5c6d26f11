from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Home
from mlops_assets.ports.prediction_log import PredictionLog
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.serving.model_slots import Loaded, ModelSlots
from mlops_assets.serving.scoring import Given
from mlops_assets.serving.shadowing import MAX_WAITING, Shadowing
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import place_blessed

MOMENT = datetime(2013, 7, 1, tzinfo=UTC)
ROW = Given(None, tuple(None for _ in USE_CASE.features.inputs), MOMENT, "request", None)


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    home = Home(tmp_path / "home")
    place_blessed(home, 7, bias=1.0).point(7, MOMENT.isoformat(), "to be loaded")
    slots = ModelSlots(USE_CASE, Deployment(home.deployments, USE_CASE.name), SigningKeys(home.keys), Telemetry())
    slots.poll()
    assert slots.lineup
    return slots.lineup.champion


def answered(log: PredictionLog, number: int) -> dict[str, Any]:
    return dict.fromkeys(log.schema) | {"prediction_id": f"id-{number}", "arm": "champion", "model_version": 1, "plan": 3}


def test_the_shadow_scores_what_others_answered_under_the_same_ids(tmp_path: Path, loaded: Loaded):
    log, telemetry = PredictionLog(tmp_path / "log", USE_CASE), Telemetry()
    shadowing = Shadowing(log, 0.5, telemetry)
    shadowing.start()
    for number in range(5):
        shadowing.put(loaded, [ROW], [answered(log, number)])
    shadowing.stop()
    rows, _ = log.read()
    assert rows["prediction_id"].to_list() == [f"id-{number}" for number in range(5)]
    said = rows.select("arm", "model_version", "plan", "decision").unique().rows()
    assert said == [("shadow", 7, 3, True)] and rows["probability"].to_list() == pytest.approx([0.7311] * 5, abs=1e-4)


def test_a_shadow_that_lags_drops_rows_and_counts_them(tmp_path: Path, loaded: Loaded):
    log, telemetry = PredictionLog(tmp_path / "log", USE_CASE), Telemetry()
    shadowing = Shadowing(log, 0.5, telemetry)
    for number in range(MAX_WAITING + 3):
        shadowing.put(loaded, [ROW, ROW], [answered(log, number)] * 2)
    assert "mlops_shadow_dropped_total 6.0" in telemetry.page().decode()


def test_a_shadow_whose_log_fails_drops_rows_and_goes_on(tmp_path: Path, loaded: Loaded):
    (tmp_path / "log").write_text("a file where the folder belongs")
    log, telemetry = PredictionLog(tmp_path / "log", USE_CASE), Telemetry()
    shadowing = Shadowing(log, 0.5, telemetry)
    shadowing.start()
    for number in range(2):
        shadowing.put(loaded, [ROW], [answered(log, number)])
    shadowing.stop()
    assert "mlops_shadow_dropped_total 2.0" in telemetry.page().decode()
