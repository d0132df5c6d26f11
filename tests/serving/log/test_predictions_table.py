"""Reports of a real log into a real table: every answer exactly once, whatever happens to log, table and process in between."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlops_assets.erasure.stores import erase_from_log, erase_rows
from mlops_assets.foundation.delta_tables import MAX_FILES
from mlops_assets.foundation.stored_schema import IncompatibleRows
from mlops_assets.serving.log.log_reader import scan
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.log.predictions_table import report_predictions
from tests.cli.loans import LOANS
from tests.erasure.subjects import build_subject
from tests.serving.log.logged import row
from tests.serving.log.test_changed_declaration import declared

CUSTOMERS = ("c1", "c2", "c3")
APPEND_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from tests.serving.log.logged import row
from mlops_assets.serving.log.prediction_log import PredictionLog
from tests.cli.loans import LOANS
log = PredictionLog(Path(sys.argv[1]), LOANS, segment_bytes=20_000)
for number in range(1_000_000):
    log.append([row(log, f"{sys.argv[2]}-{number}")])
    if not number:
        print("begun", flush=True)
    time.sleep(0.001)
"""
REPORT_UNTIL_KILLED = """
import sys
from pathlib import Path
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.log.predictions_table import report_predictions
from tests.cli.loans import LOANS
while True:
    report_predictions(Path(sys.argv[2]), PredictionLog(Path(sys.argv[1]), LOANS))
    print("reported", flush=True)
"""


def ids(path: Path) -> list[str]:
    return sorted(pl.scan_delta(str(path)).select("prediction_id").collect().to_series())


def segment(folder: Path, number: int = 1) -> Path:
    return folder / LOANS.name / f"{number:06d}.jsonl"


class Reports(RuleBasedStateMachine):
    """Compared with a model that keeps the answers by their segment."""

    @initialize()
    def start(self) -> None:
        self.root = Path(self.folder.mktemp("reports"))  # type: ignore[attr-defined]
        self.logs, self.table, self.backup = self.root / "logs", self.root / "predictions.delta", self.root / "backup"
        self.servers = [self.open(), self.open()]
        self.written, self.served, self.lost, self.customers = 0, set[str](), set[str](), dict[str, str]()
        self.broken = dict[str, bytes]()

    def open(self) -> PredictionLog:
        return PredictionLog(self.logs, LOANS, segment_bytes=1500)

    @rule(server=st.integers(0, 1), customers=st.lists(st.sampled_from(CUSTOMERS), min_size=1, max_size=4))
    def serve(self, server: int, customers: list[str]) -> None:
        log = self.servers[server]
        for customer in customers:
            self.written += 1
            prediction_id = f"p-{self.written}"
            log.append([row(log, prediction_id, customer=customer)])
            self.served.add(prediction_id)
            self.customers[prediction_id] = customer

    @rule(server=st.integers(0, 1))
    def restart_server(self, server: int) -> None:
        self.servers[server] = self.open()

    @rule()
    def report(self) -> None:
        logged = report_predictions(self.table, self.open())
        assert ids(self.table) == sorted(self.served | self.lost)
        assert len(logged.unreadable_ids) == len(self.broken) - len(self.broken.keys() & self.lost)
        assert report_predictions(self.table, self.open()).rows.is_empty()

    @rule(customer=st.sampled_from(CUSTOMERS))
    def forget(self, customer: str) -> None:
        subject = build_subject(customer, "customer")
        if self.broken:  # an erasure looks for the value in lines that are no JSON, too: another test's matter
            return
        erase_from_log(self.logs / LOANS.name, subject, dry_run=False)
        if DeltaTable.is_deltatable(str(self.table)):
            erase_rows(self.table, subject, dry_run=False)
        gone = {one for one, owner in self.customers.items() if owner == customer}
        self.served -= gone
        self.lost -= gone

    @rule()
    def delete_the_table(self) -> None:
        shutil.rmtree(self.table, ignore_errors=True)
        self.lost = set()

    @rule(index=st.integers(0, 20))
    def lose_a_closed_segment(self, index: int) -> None:
        """After a report, as retention does; the table keeps its rows."""
        if self.broken or not (files := sorted(self.logs.rglob("*.jsonl"))):
            return
        self.report()
        self.servers = [self.open(), self.open()]
        file = files[index % len(files)]
        gone = {one for one in self.served if f'"{one}"'.encode() in file.read_bytes()}
        file.unlink()
        self.served -= gone
        self.lost |= gone

    @rule()
    def back_up(self) -> None:
        shutil.rmtree(self.backup, ignore_errors=True)
        if self.logs.exists() and not self.broken:
            shutil.copytree(self.logs, self.backup)

    @rule()
    def restore(self) -> None:
        """Segments of the names of lost ones follow, with other answers."""
        if self.broken or not self.backup.exists():
            return
        self.report()
        shutil.rmtree(self.logs)
        shutil.copytree(self.backup, self.logs)
        self.servers = [self.open(), self.open()]
        held = b"".join(file.read_bytes() for file in self.logs.rglob("*.jsonl"))
        is_back = {one for one in self.customers if f'"{one}"'.encode() in held}
        forgotten = self.customers.keys() - self.served - self.lost
        self.lost |= self.served - is_back
        self.lost -= is_back
        self.served = is_back - forgotten
        if is_back & forgotten:  # the backup is older than the erasure: it is repeated, as docs/operating.md says
            for customer in {self.customers[one] for one in is_back & forgotten}:
                self.forget(customer)

    @rule()
    def break_a_line(self) -> None:
        """It is not read any more; an earlier report may have read it."""
        for file in sorted(self.logs.rglob("*.jsonl")):
            lines = file.read_bytes().splitlines(keepends=True)
            if lines and lines[-1].startswith(b'{"prediction_id":"p-') and not self.broken:
                prediction_id = lines[-1].split(b'"')[3].decode()
                if DeltaTable.is_deltatable(str(self.table)) and prediction_id in ids(self.table):
                    return
                self.broken[prediction_id] = lines[-1]
                self.served.discard(prediction_id)
                file.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"customer":', b'"customer";')]))
                return

    @rule()
    def repair_the_line(self) -> None:
        for file in self.logs.rglob("*.jsonl"):
            content = file.read_bytes()
            if b'"customer";' in content:
                file.write_bytes(content.replace(b'"customer";', b'"customer":'))
        self.served |= self.broken.keys()
        self.broken = {}

    @invariant()
    def no_row_is_there_twice(self) -> None:
        if hasattr(self, "table") and DeltaTable.is_deltatable(str(self.table)):
            held = ids(self.table)
            assert len(held) == len(set(held))


@pytest.mark.slow
def test_every_answer_is_in_the_table_exactly_once_in_any_story(tmp_path_factory: pytest.TempPathFactory) -> None:
    Reports.folder = tmp_path_factory  # type: ignore[attr-defined]
    Reports.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    Reports.TestCase().runTest()  # its rules and invariant assert


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog(tmp_path / "logs", LOANS, segment_bytes=1500)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "predictions.delta"


def test_an_empty_log_is_an_empty_table(log: PredictionLog, table: Path) -> None:
    assert report_predictions(table, log).rows.is_empty()
    assert pl.scan_delta(str(table)).collect_schema() == log.schema


def test_a_report_of_nothing_new_commits_nothing(log: PredictionLog, table: Path) -> None:
    log.append([row(log, "p-1")])
    report_predictions(table, log)
    version = DeltaTable(table).version()
    assert report_predictions(table, log).rows.is_empty()
    assert DeltaTable(table).version() == version


def test_rows_that_were_read_before_are_not_read_again(log: PredictionLog, table: Path, tmp_path: Path) -> None:
    log.append([row(log, f"p-{number}") for number in range(20)])
    report_predictions(table, log)
    file = segment(tmp_path / "logs")
    first, *lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"".join(b"#" * (len(line) - 1) + b"\n" for line in lines))
    log.append([row(log, "p-20")])
    logged = report_predictions(table, log)
    assert logged.faults == () and logged.rows["prediction_id"].to_list() == ["p-20"]
    assert len(ids(table)) == 21


def test_the_share_of_unreadable_lines_is_of_the_whole_log_in_every_report(
    log: PredictionLog, table: Path, tmp_path: Path
) -> None:
    log.append([row(log, f"p-{number}") for number in range(30)])
    file = segment(tmp_path / "logs")
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"prediction_id":"p-1', b'"prediction_id":p-1'))
    shares = list[float]()
    for number in range(30, 33):
        shares.append(report_predictions(table, PredictionLog(tmp_path / "logs", LOANS)).unreadable_share)
        assert shares[-1] == scan(PredictionLog(tmp_path / "logs", LOANS)).unreadable_share > 0.3
        PredictionLog(tmp_path / "logs", LOANS).append([row(log, f"p-{number}")])
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    file.write_bytes(content)
    logged = report_predictions(table, PredictionLog(tmp_path / "logs", LOANS))
    assert (logged.faults, logged.unreadable_share, len(ids(table))) == ((), 0.0, 33)


def test_a_wider_type_reads_what_could_not_be_read_and_replaces_nothing_else(table: Path, tmp_path: Path) -> None:
    narrow, wide = (PredictionLog(tmp_path / "logs", declared(dtype)) for dtype in ("int", "float"))
    wide.append([row(wide, "p-1", amount=5.0), row(wide, "p-2", amount=12.5)])
    assert len(report_predictions(table, narrow).faults) == 1
    assert not report_predictions(table, wide).faults
    assert pl.read_delta(str(table)).sort("prediction_id")["amount"].to_list() == [5.0, 12.5]


@pytest.mark.parametrize(("before", "after", "kept"), [("int", "float", 5.0), ("float", "int", 5), ("float", "string", "5.0")])
def test_rows_that_the_log_lost_take_the_new_type_where_it_has_an_equal_value(
    table: Path, tmp_path: Path, before: Any, after: Any, kept: Any
) -> None:
    old, new = (PredictionLog(tmp_path / "logs", declared(dtype)) for dtype in (before, after))
    old.append([row(old, "p-1", amount=5)])
    report_predictions(table, old)
    segment(tmp_path / "logs").unlink()
    report_predictions(table, new)
    assert pl.read_delta(str(table))["amount"].to_list() == [kept]


def test_a_row_that_the_log_lost_and_that_has_no_equal_value_is_named_and_kept(table: Path, tmp_path: Path) -> None:
    old, new = (PredictionLog(tmp_path / "logs", declared(dtype)) for dtype in ("float", "int"))
    old.append([row(old, "p-1", amount=5.5)])
    report_predictions(table, old)
    segment(tmp_path / "logs").unlink()
    with pytest.raises(IncompatibleRows, match=r"1 of 1 values of amount \(Float64\) have no equal Int64"):
        report_predictions(table, new)
    assert pl.read_delta(str(table))["amount"].to_list() == [5.5]


def test_a_row_that_the_log_lost_keeps_the_fields_and_columns_that_are_still_declared(table: Path, tmp_path: Path) -> None:
    renamed = declared("float", name="sum", renamed_from="amount")
    views = renamed.but(features=renamed.features.but(views=(LOANS.features.views[0].but(name="other_view"),)))
    old, new = PredictionLog(tmp_path / "logs", LOANS), PredictionLog(tmp_path / "logs", views)
    old.append([row(old, "p-1", amount=5.0, feature_age_s={"last_payment": 7.0})])
    report_predictions(table, old)
    segment(tmp_path / "logs").unlink()
    report_predictions(table, new)
    (kept,) = pl.read_delta(str(table)).to_dicts()
    assert (kept["sum"], kept["feature_age_s"], "amount" in kept) == (5.0, {"other_view": None}, False)


def test_the_table_of_an_earlier_release_is_read_on(log: PredictionLog, table: Path) -> None:
    log.append([row(log, f"p-{number}") for number in range(5)])
    scan(log).rows.write_delta(str(table))
    log.append([row(log, "p-5")])
    report_predictions(table, log)
    assert ids(table) == [f"p-{number}" for number in range(6)]


def test_a_copied_segment_adds_nothing(log: PredictionLog, table: Path, tmp_path: Path) -> None:
    log.append([row(log, f"p-{number}") for number in range(9)])
    report_predictions(table, log)
    shutil.copy(segment(tmp_path / "logs"), segment(tmp_path / "logs", 9))
    assert report_predictions(table, log).rows.is_empty()
    assert len(ids(table)) == 9


def test_many_reports_leave_few_files_and_every_row(log: PredictionLog, table: Path) -> None:
    for number in range(3 * MAX_FILES):
        log.append([row(log, f"p-{number}")])
        report_predictions(table, log)
    assert len(DeltaTable(table).file_uris()) <= MAX_FILES + 1
    assert len(ids(table)) == 3 * MAX_FILES
    assert pl.read_delta(str(table)).sort("answered_at").equals(scan(log).rows), "as one report of everything"


@pytest.mark.slow
def test_two_writers_and_a_report_that_are_killed_at_any_moment_lose_and_double_nothing(table: Path, tmp_path: Path) -> None:
    logs, rng = tmp_path / "logs", random.Random(0)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}

    def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], env=environment, stdout=subprocess.PIPE)

    reported = 0
    for attempt in range(3):
        writers = [start(APPEND_UNTIL_KILLED, logs, f"{name}{attempt}") for name in "ab"]
        report = start(REPORT_UNTIL_KILLED, logs, table)
        for process in (*writers, report):
            assert process.stdout and process.stdout.readline()
        time.sleep(rng.uniform(0, 0.5))
        for process in (report, *writers):
            process.send_signal(signal.SIGKILL)
        for process in (report, *writers):
            process.wait()
        reported = len(ids(table))
    assert reported
    report_predictions(table, PredictionLog(logs, LOANS))
    rows = PredictionLog(logs, LOANS).read()[0]
    assert ids(table) == sorted(rows["prediction_id"]) and len(rows) > reported / 2
