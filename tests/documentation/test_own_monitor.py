"""The monitor of docs/monitors.md, copied to files verbatim, watches a log, alarms, is reported and trains."""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.implementation import find_missing_functions
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.code_version import code_version
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.trigger import OnAlarm, OnDrift
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS
from tests.documentation.pages import package_of, run_file
from tests.graph.line import Line, failed_checks, failure, running_line
from tests.graph.training_line import TrainingLine

CHECK = "calls_within_bound"


@pytest.fixture
def use_case(tmp_path: Path) -> Iterator[UseCase]:
    with package_of("docs/monitors.md", tmp_path) as acme:
        words = {"Drift": Drift, "OnAlarm": OnAlarm, "OnDrift": OnDrift, "CallLoad": import_module("acme.call_load").CallLoad}
        declared = run_file(acme / "use_case.py", words)
        yield LOANS.but(monitors=declared["monitors"], triggers=declared["triggers"])


def watch(line: Line, calls: int, rows: int) -> dg.ExecuteInProcessResult:
    """After this number of predictions, some of them decided yes."""
    log, now = PredictionLog(line.environment.home.prediction_log, line.use_case), datetime.now(UTC)
    row = dict.fromkeys(log.schema) | {"answered_at": now, "event_timestamp": now}
    log.append([row | {"prediction_id": f"p{number}", "decision": number < calls} for number in range(rows)])
    result = line.run(*(names.stage(line.use_case.name, stage) for stage in ("predictions", "call_load")))
    assert result.success, failure(result)
    return result


def is_trained(line: Line) -> bool:
    return not isinstance(TrainingLine(line.environment.home, line.instance, line.use_case).next(), str)


@pytest.mark.parametrize(
    ("calls", "rows", "verdict"),
    [
        (49, 49, "49 predictions in the window; a verdict needs 50."),
        (10, 60, "16.7% of 60 predictions are decided yes; at most 30.0% may be."),
        (30, 60, "50.0% of 60 predictions are decided yes; at most 30.0% may be."),
    ],
)
def test_the_documented_monitor_gives_a_verdict_and_its_alarm_trains(
    tmp_path: Path, use_case: UseCase, calls: int, rows: int, verdict: str
) -> None:
    with running_line(tmp_path, use_case) as line:
        result = watch(line, calls, rows)
        (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == CHECK]
        assert (check.description or "").endswith(verdict)
        assert (check.description == verdict) is (rows >= 50), "otherwise it says since when"
        assert (CHECK in failed_checks(result)) is is_trained(line) is (calls == 30)


def test_its_function_exists_and_is_part_of_the_code_version_of_monitors(tmp_path: Path, use_case: UseCase) -> None:
    assert not [*find_missing_functions("monitors", use_case.own_monitors)]
    before, code = code_version(*use_case.own_monitors), tmp_path / "acme" / "call_load.py"
    code.write_text(code.read_text() + "# a comment\n")
    assert code_version(*use_case.own_monitors) == before
    code.write_text(code.read_text() + "BOUND = 1\n")
    assert code_version(*use_case.own_monitors) != before


def test_an_alarm_of_no_monitor_is_refused(use_case: UseCase) -> None:
    with pytest.raises(
        IllegalDeclaration, match=r"triggers\[0\].monitor · 'calls' is no OwnMonitor or Estimation monitor; legal: call_load\."
    ):
        use_case.but(triggers=(OnAlarm(monitor="calls"),))
