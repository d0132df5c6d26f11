"""A lack of data is remembered from run to run, fails the check after the declared time, and trains nothing."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.trigger import OnDrift
from tests.cli.loans import LOANS
from tests.graph.line import Line, failure, running_line
from tests.graph.training_line import TrainingLine

LINE = LOANS.but(monitors=(Drift(max_silence=timedelta(microseconds=1)),), triggers=(OnDrift(),))
DRIFT = names.stage(LINE.name, "drift")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running_line(tmp_path, LINE) as line:
        log = PredictionLog(line.environment.home.prediction_log, LINE)
        log.append([dict.fromkeys(log.schema) | {"prediction_id": f"p{number}"} for number in range(30)])
        yield line


def watch(line: Line) -> dg.AssetCheckEvaluation:
    result = line.run(names.stage(LINE.name, "predictions"), DRIFT)
    assert result.success, failure(result)
    return next(check for check in result.get_asset_check_evaluations() if check.check_name == Drift.CHECK)


def test_a_lack_of_data_begins_once_and_fails_the_check_after_the_declared_time(line: Line) -> None:
    first, second = watch(line), watch(line)
    assert first.passed and not second.passed
    assert all(check.metadata["verdict"].value == "not enough data" for check in (first, second))
    assert first.metadata["not_enough_data_since"] == second.metadata["not_enough_data_since"]
    assert first.description and second.description and second.description.startswith(first.description)
    assert "Look whether requests and labels arrive" in second.description
    event = line.instance.get_latest_materialization_event(dg.AssetKey(DRIFT))
    assert event and event.asset_materialization
    assert str(event.asset_materialization.metadata["verdict"].value).startswith("not enough data: ")


def test_it_is_no_reason_to_train(line: Line) -> None:
    watch(line)
    assert not watch(line).passed
    assert "on_drift: no alarm of drift." in TrainingLine(line.environment.home, line.instance, LINE).why_not()
