import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from mlops_assets.foundation.home import Home
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.model_slots import LoadedModel, ModelSlots
from mlops_assets.serving.inference.scoring import ScoringRow
from mlops_assets.serving.inference.shadowing import MAX_WAITING_LARGE, MAX_WAITING_ROWS, Shadowing
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import HOT, WhenHot, place_blessed

MOMENT = datetime(2013, 7, 1, tzinfo=UTC)
ROW = ScoringRow(None, tuple(None for _ in USE_CASE.features.inputs), MOMENT, "request", None)


def loaded_in(home: Home, when_hot: WhenHot = None) -> LoadedModel:
    """Version 7, which gives 0.73, and `when_hot` of hot rows."""
    deployment = place_blessed(home, 7, bias=1.0, when_hot=when_hot)
    deployment.point(7)
    slots = ModelSlots(USE_CASE, deployment, SigningKeys(home.keys), Telemetry())
    slots.poll()
    assert slots.lineup
    return slots.lineup.champion


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    return loaded_in(Home(tmp_path / "home"))


def answered(log: PredictionLog, number: int) -> dict[str, Any]:
    fields = {"prediction_id": f"id-{number}", "arm": "champion", "model_version": 1, "plan": 3, "call": 40 + number // 2}
    return dict.fromkeys(log.schema) | fields | {"probability": (number + 1) / 8, "model_ms": 9.0, "challenger_failed": False}


def shadowing_into(log: PredictionLog, telemetry: Telemetry) -> Shadowing:
    return Shadowing(log, USE_CASE, telemetry, time.perf_counter)


def test_the_shadow_scores_what_others_answered_under_the_same_ids(tmp_path: Path, loaded: LoadedModel):
    log = PredictionLog(tmp_path / "log", USE_CASE)
    ticks = iter(range(100))
    shadowing = Shadowing(log, USE_CASE, Telemetry(), lambda: float(next(ticks)))
    shadowing.start()
    for number in range(5):
        shadowing.put(loaded, [ROW], [answered(log, number)])
    shadowing.stop()
    rows, _ = log.read()
    assert rows["prediction_id"].to_list() == [f"id-{number}" for number in range(5)]
    fields = (
        rows.select("arm", "model_version", "model_digest", "plan", "decision", "model_ms", "challenger_failed").unique().rows()
    )
    assert fields == [("shadow", 7, loaded.blessing.model_digest, 3, True, 1000.0, False)]
    assert rows["probability"].to_list() == pytest.approx([0.7311] * 5, abs=1e-4)
    assert rows["champion_probability"].to_list() == [0.125, 0.25, 0.375, 0.5, 0.625]
    assert rows["call"].to_list() == [40, 40, 41, 41, 42], "the call that answered"


@pytest.mark.parametrize("when_hot", [float("nan"), 2.0, -0.5, "raises"])
def test_where_the_shadow_gives_no_probability_the_log_has_that_next_to_the_answer(tmp_path: Path, when_hot: WhenHot):
    loaded, log = loaded_in(Home(tmp_path / "home"), when_hot), PredictionLog(tmp_path / "log", USE_CASE)
    hot = ROW._replace(inputs=tuple(HOT + 10 if name == "temp" else None for name in USE_CASE.features.inputs))
    telemetry = Telemetry()
    shadowing = shadowing_into(log, telemetry)
    shadowing.start()
    shadowing.put(loaded, [ROW, hot], [answered(log, 0), answered(log, 1)])
    shadowing.put(loaded, [ROW], [answered(log, 2)])
    shadowing.stop()
    rows, _ = log.read()
    failed = [when_hot == "raises", True, False]  # one row makes the whole run raise, and the next run works
    assert rows["challenger_failed"].to_list() == failed
    assert [value is None for value in rows["probability"]] == [value is None for value in rows["decision"]] == failed
    assert rows["champion_probability"].to_list() == [0.125, 0.25, 0.375]
    assert "mlops_shadow_dropped_total 0.0" in generate_latest(telemetry.registry).decode()


def test_a_shadow_that_lags_drops_rows_and_counts_them(tmp_path: Path, loaded: LoadedModel):
    log, telemetry = PredictionLog(tmp_path / "log", USE_CASE), Telemetry()
    shadowing = shadowing_into(log, telemetry)
    for number in range(3 + 3):
        shadowing.put(loaded, [ROW] * (MAX_WAITING_ROWS // 3), [answered(log, number)] * (MAX_WAITING_ROWS // 3))
    dropped = 3 * (MAX_WAITING_ROWS // 3)
    assert telemetry.registry.get_sample_value("mlops_shadow_dropped_total") == dropped
    for number in range(MAX_WAITING_LARGE + 1):  # they wait on the disk
        with shadowing.large_request(loaded) as add:
            add([ROW] * 7, [answered(log, number)] * 7)
    assert telemetry.registry.get_sample_value("mlops_shadow_dropped_total") == dropped + 7
    shadowing.start()
    shadowing.stop()
    assert len(log.read()[0]) == dropped + 7 * MAX_WAITING_LARGE


def test_a_shadow_whose_log_fails_drops_rows_and_goes_on(tmp_path: Path, loaded: LoadedModel):
    (tmp_path / "log").write_text("a file where the folder belongs")
    log, telemetry = PredictionLog(tmp_path / "log", USE_CASE), Telemetry()
    shadowing = shadowing_into(log, telemetry)
    shadowing.start()
    for number in range(2):
        shadowing.put(loaded, [ROW], [answered(log, number)])
    shadowing.stop()
    assert "mlops_shadow_dropped_total 2.0" in generate_latest(telemetry.registry).decode()


def test_after_any_failure_the_shadow_goes_on_with_the_next_rows_and_counts_those_it_lost(tmp_path: Path, loaded: LoadedModel):
    log, telemetry = PredictionLog(tmp_path / "log", USE_CASE), Telemetry()
    shadowing = shadowing_into(log, telemetry)
    shadowing.start()
    shadowing.put(loaded, [ROW, ROW], [{"prediction_id": "a row of another log"}] * 2)
    shadowing.put(loaded, [ROW], [answered(log, 1)])
    shadowing.stop()
    assert log.read()[0]["prediction_id"].to_list() == ["id-1"]
    assert "mlops_shadow_dropped_total 2.0" in generate_latest(telemetry.registry).decode()
