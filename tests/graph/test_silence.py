"""A lack of data is remembered from run to run, fails the check after the declared time, and trains nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.run_clock import AS_OF
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import DataAge, Drift
from mlops_assets.spec.trigger import OnDrift
from tests.cli.loans import LOANS, VIEW
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


def test_a_lack_of_data_is_no_reason_to_train(line: Line) -> None:
    watch(line)
    assert not watch(line).passed
    assert "on_drift: no alarm of drift." in TrainingLine(line.environment.home, line.instance, LINE).why_not()


QUIET = LOANS.but(monitors=(Drift(window=timedelta(days=3)),), triggers=())


def wanted(line: Line, after: timedelta) -> bool:
    """Whether the conditions request the monitor at that time, though nothing has changed since its newest run."""
    now = datetime.now(UTC) + after
    evaluated = dg.evaluate_automation_conditions(
        line.definitions, line.instance, dg.AssetSelection.assets(DRIFT), evaluation_time=now
    )
    return evaluated.total_requested > 0


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Line]:
    """Its monitor has judged a log without rows."""
    with running_line(tmp_path, QUIET) as line:
        PredictionLog(line.environment.home.prediction_log, QUIET).append([])
        assert not wanted(line, timedelta(days=9)), "nothing has ever been served"
        watch(line)
        yield line


def test_a_monitor_is_made_again_though_no_parent_has_changed_once_a_day_or_its_window_has_passed(quiet: Line) -> None:
    """Time alone takes rows out of its window."""
    assert not wanted(quiet, timedelta(hours=23)) and wanted(quiet, timedelta(hours=25))
    quiet.declare(QUIET.but(monitors=(Drift(window=timedelta(hours=2)),)))
    assert wanted(quiet, timedelta()) and quiet.run(DRIFT).success  # its declaration is its code
    assert not wanted(quiet, timedelta(hours=1)) and wanted(quiet, timedelta(hours=3))


def test_a_failed_run_is_not_made_again_at_each_tick(quiet: Line) -> None:
    table = quiet.tables.path(names.stage(LINE.name, "predictions"))
    table.rename(table.with_suffix(".gone"))
    assert not quiet.run(DRIFT).success
    assert not wanted(quiet, timedelta(minutes=29)) and wanted(quiet, timedelta(minutes=31))


def test_health_ends_in_the_check_itself_when_nothing_has_been_served_for_a_window(tmp_path: Path) -> None:
    use_case = LOANS.but(monitors=(DataAge(max_age=timedelta(hours=24), min_rows=10),), triggers=())
    key, now = names.stage(LOANS.name, "data_age"), datetime.now(UTC)
    with running_line(tmp_path, use_case) as line:
        log = PredictionLog(line.environment.home.prediction_log, use_case)
        row = dict.fromkeys(log.schema) | {"answered_at": now, "event_timestamp": now, "features_from": "online"}
        row |= {"feature_age_s": {VIEW.name: 60.0}}
        log.append([row | {"prediction_id": f"p{number}"} for number in range(10)])
        assert line.run(names.stage(LOANS.name, "predictions")).success
        verdicts = list[str]()
        for days in (0, 29, 31):
            tags = {AS_OF: (now + timedelta(days=days, seconds=60)).isoformat()}
            result = line.job.execute_in_process(asset_selection=[dg.AssetKey(key)], instance=line.instance, tags=tags)
            verdicts += [str(check.metadata["verdict"].value) for check in result.get_asset_check_evaluations()]
    assert verdicts == ["healthy", "healthy", "not enough data"]
