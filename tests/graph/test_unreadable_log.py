"""A log that cannot be read is an alarm of its table, above a bound of every monitor, and no reason to train."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.serving import LOG_READABLE
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.trigger import OnDrift
from tests.cli.loans import LOANS
from tests.graph.line import Line, failed_checks, failure, running_line
from tests.graph.training_line import TrainingLine

LINE = LOANS.but(monitors=(Drift(),), triggers=(OnDrift(),))
DRIFT = names.stage(LINE.name, "drift")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running_line(tmp_path, LINE) as line:
        log = PredictionLog(line.environment.home.prediction_log, LINE)
        log.append([dict.fromkeys(log.schema) | {"prediction_id": f"p{number}"} for number in range(300)])
        yield line


def watch(line: Line) -> dict[str, str]:
    result = line.run(names.stage(LINE.name, "predictions"), DRIFT)
    assert result.success, failure(result)
    return failed_checks(result)


def test_one_broken_line_is_an_alarm_of_the_table_alone(line: Line) -> None:
    before = watch(line)
    assert LOG_READABLE not in before
    segment = line.home / "prediction_log" / LINE.name / "000001.jsonl"
    segment.write_bytes(segment.read_bytes() + b"{\n")
    after = watch(line)
    assert after.pop(LOG_READABLE).startswith("1 part of the log cannot be read: 000001.jsonl · a line of 1 bytes")
    assert after == before
    assert line.rows(names.stage(LINE.name, "predictions")).height == 300


def test_where_much_of_the_log_is_unreadable_no_monitor_passes_and_nothing_is_trained(line: Line) -> None:
    segment = line.home / "prediction_log" / LINE.name / "000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"prediction_id":"p1', b'"prediction_id":p1'))
    failed = watch(line)
    assert failed[Drift.CHECK].startswith("36.9% of the prediction log cannot be read; see the check of predictions. ")
    assert "111 parts of the log cannot be read" in failed[LOG_READABLE]
    assert (
        "on_drift: the alarm of drift is no reason to train."
        in TrainingLine(line.environment.home, line.instance, LINE).why_not()
    )
