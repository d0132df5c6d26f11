"""A run that ends for a cause that a person can remove shows one sentence; a defect shows its traceback."""

import datetime as dt
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._utils.error import SerializableErrorInfo

from mlops_assets.foundation import names
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.failed_runs import LASTS, PASSES, RETRIED, WILL_RETRY, find_failed_run, read_failed_runs
from mlops_assets.graph.trainings import error_of
from mlops_assets.spec.contract import Column
from tests.cli.loans import LOANS, PAYMENTS, VIEW
from tests.graph.line import Line, failure, running_line

FIRST, SECOND = dt.date(2024, 3, 1), dt.date(2024, 3, 2)
CUSTOMER, PAID_AT, PAID = PAYMENTS.columns
FEATURE = names.feature("loans", "last_payment")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running_line(tmp_path, LOANS) as line:
        land(line, FIRST)
        result = line.run(*line.stages("payments"), FEATURE, first=FIRST)
        assert result.success, failure(result)
        yield line


def land(line: Line, day: dt.date) -> None:
    path = line.landing.path("loans", "payments", day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"customer,paid_at,paid\nc1,{day}T09:00:00Z,12.5\n")


def declare(line: Line, *columns: Column) -> None:
    line.declare(LOANS.but(contracts=(LOANS.contracts[0], PAYMENTS.but(columns=columns, unique=(columns[0].name,)))))


def change_type(line: Line) -> dg.ExecuteInProcessResult:
    declare(line, CUSTOMER, PAID_AT, PAID.but(dtype="string"))
    land(line, SECOND)
    return line.ingest("payments", SECOND)


def rename(line: Line) -> dg.ExecuteInProcessResult:
    declare(line, CUSTOMER.but(name="payer", renamed_from="customer"), PAID_AT, PAID)
    return line.run(FEATURE, first=FIRST)


def deliver_nothing(line: Line) -> dg.ExecuteInProcessResult:
    return line.ingest("payments", SECOND)


MISTAKES: dict[str, tuple[Callable[[Line], dg.ExecuteInProcessResult], str]] = {
    "a table cannot hold the type": (change_type, "payments.delta · paid is String in new rows and Float64 in the table; "),
    "a table has former names": (rename, "payments.delta · the table still has customer (now payer). Run `mlops migrate` first"),
    "a file has not landed": (deliver_nothing, "loans · payments · 2024-03-02: no file has landed; "),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_shown_as_its_sentence_alone(line: Line, case: str) -> None:
    fail, sentence = MISTAKES[case]
    result = fail(line)
    failed = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failed.user_failure_data and failed.error, failed
    description = failed.user_failure_data.description or ""
    assert description.startswith(sentence) and "Error" not in description
    assert failed.error.cause is failed.error.context is None
    summary = find_failed_run("loans", line.instance, read_failed_runs(line.instance))
    assert summary and f"failed: {' '.join(description.split())}"[:200] in summary.message
    assert summary.message.endswith(LASTS)


def broken(tables: dict[str, Any], start: object, end: object) -> Any:
    return tables["paid"]


def denied(tables: dict[str, Any], start: object, end: object) -> Any:
    raise PermissionError(errno.EACCES, "Permission denied", "/a/folder")


def test_a_defect_keeps_its_traceback(line: Line) -> None:
    line.declare(LOANS.but(features=LOANS.features.but(views=(VIEW.but(transform=broken),))))
    result = line.run(FEATURE, first=FIRST)
    failed = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failed.user_failure_data is None and failed.error and failed.error.cause
    assert "in broken" in failed.error.cause.to_string() and "KeyError" in failed.error.cause.to_string()


def test_the_message_of_a_fault_that_may_pass_says_when_it_is_tried_again(line: Line) -> None:
    """A folder that is not writable is no mistake in the data."""
    line.declare(LOANS.but(features=LOANS.features.but(views=(VIEW.but(transform=denied),))))
    assert not line.run(FEATURE, first=FIRST).success
    summary = find_failed_run("loans", line.instance, read_failed_runs(line.instance))
    assert summary and summary.message.endswith(PASSES)


def refuse(_context: dg.InitResourceContext) -> dg.IOManager:
    raise RuntimeError("too many retries") from ConnectionRefusedError("the database refused the connection")


def test_a_run_that_ends_outside_of_its_steps_shows_the_first_cause_and_that_it_is_retried(line: Line) -> None:
    resources = {**line.definitions.resources, "tables": dg.IOManagerDefinition(refuse)}
    broken = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    line.job = dg.Definitions.merge(broken, build_use_case(LOANS)).resolve_implicit_global_asset_job_def()
    assert not line.run(FEATURE, first=FIRST).success
    (failed,) = read_failed_runs(line.instance)
    line.instance.add_run_tags(failed.run_id, {WILL_RETRY: "true"})
    summary = find_failed_run("loans", line.instance, read_failed_runs(line.instance))
    assert summary and "the database refused the connection" in summary.message and summary.message.endswith(RETRIED), summary


def test_a_run_whose_process_could_not_go_on_shows_the_error_that_it_reported_before(line: Line) -> None:
    """As Dagster's run worker reports what its event log raises."""
    run = line.instance.create_run_for_job(line.job, asset_selection=frozenset({dg.AssetKey(FEATURE)}))
    error = SerializableErrorInfo("connection to server refused", [], "OperationalError")
    line.instance.report_engine_event("A framework error.", run, EngineEventData.engine_error(error))
    line.instance.report_run_failed(run)
    assert error_of(line.instance, run.run_id) == "connection to server refused."


def test_a_run_that_the_daemon_ended_shows_why(line: Line) -> None:
    run = line.instance.create_run_for_job(line.job, asset_selection=frozenset({dg.AssetKey(FEATURE)}))
    line.instance.report_run_failed(run, "Its process has ended.")
    assert error_of(line.instance, run.run_id) == "Its process has ended."
