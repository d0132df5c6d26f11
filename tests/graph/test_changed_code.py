"""A change of a declaration, or of the code that it names, makes what is made from it again, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import freeze_time

from mlops_assets.features.migration import apply_changes, find_changes
from mlops_assets.foundation import names
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.settled import SETTLE
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS, VIEW, last_payment
from tests.graph.loan_line import LoanLine, running_loans
from tests.graph.test_refused_days import run_cli

pytestmark = pytest.mark.slow

PLAIN = LOANS.but(triggers=(), monitors=())


def in_cents(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    return last_payment(tables, start, end).with_columns(pl.col("last_paid") * 100)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LoanLine]:
    """Three days, of which everything is made."""
    with running_loans(tmp_path, PLAIN) as line, stored_history(tmp_path / "history") as line.instance:
        line.store()
        line.land_sound(0, 1, 2)
        line.report_landed()
        while requests := wanted(line):
            assert all(run(line, request) for request in requests)
        yield line


@contextmanager
def stored_history(folder: Path) -> Iterator[dg.DagsterInstance]:
    """An event log that another process can open."""
    folder.mkdir()
    (folder / "dagster.yaml").touch()
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def wanted(line: LoanLine) -> list[dg.RunRequest]:
    """The runs that the automation sensor requests, once no file arrives any more."""
    own = build_use_case(line.use_case)
    (sensor,) = (one for one in own.sensors or () if isinstance(one, dg.AutomationConditionSensorDefinition))
    context = dg.build_sensor_context(line.instance, repository_def=line.definitions.get_repository_def())
    with freeze_time(datetime.now(UTC) + SETTLE), context:
        evaluated: Any = sensor.evaluate_tick(context)
    return [*evaluated.run_requests]


def run(line: LoanLine, request: dg.RunRequest) -> bool:
    return line.job.execute_in_process(
        asset_selection=[*(request.asset_selection or ())], instance=line.instance, tags=request.tags, raise_on_error=False
    ).success


def made(request: dg.RunRequest) -> tuple[set[str], list[str]]:
    """The assets of a run, and its first and last day."""
    days = [request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]
    return {key.path[-1] for key in request.asset_selection or ()}, days


def test_another_transform_makes_its_feature_table_again_in_one_run_over_all_days(line: LoanLine) -> None:
    view = VIEW.but(transform=in_cents)
    line.declare(PLAIN.but(features=PLAIN.features.but(views=(view,))))
    (request,) = wanted(line)
    days = [line.day(0).isoformat(), line.day(2).isoformat()]
    assert made(request) == ({"features_last_payment", "online_last_payment"}, days)
    before = line.rows(names.feature(PLAIN.name, VIEW.name))["last_paid"].sort()
    assert run(line, request)
    assert line.rows(names.feature(PLAIN.name, VIEW.name))["last_paid"].sort().to_list() == (before * 100).to_list()
    assert wanted(line) == []


def test_another_contract_makes_its_table_again_and_what_follows(line: LoanLine) -> None:
    line.declare(PLAIN.but(contracts=(APPLICATIONS, PAYMENTS.but(max_bad_share=0.5))))
    (request,) = wanted(line)
    tables = {"validated_payments", "quarantined_payments", "features_last_payment", "online_last_payment"}
    assert made(request)[0] == tables
    assert run(line, request) and wanted(line) == []


def with_renamed_column() -> UseCase:
    customer, paid_at, paid = PAYMENTS.columns
    payments = PAYMENTS.but(columns=(customer, paid_at, paid.but(name="euros", renamed_from="paid")))
    views = (VIEW.but(transform=of_renamed_column),)
    return PLAIN.but(contracts=(APPLICATIONS, payments), features=PLAIN.features.but(views=views))


def of_renamed_column(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    return last_payment({"payments": tables["payments"].rename({"euros": "paid"})}, start, end)


def test_a_migration_lets_what_waited_for_it_follow_by_itself(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.declare(with_renamed_column())
    (request,) = wanted(line)
    assert not run(line, request), "the tables have the former name"
    assert wanted(line) == []
    assert "What waits for them is made once a platform runs." in migrated(line, monkeypatch)
    (request,) = wanted(line)
    tables = {"raw_payments", "validated_payments", "quarantined_payments", "features_last_payment", "online_last_payment"}
    assert made(request) == (tables, [line.day(0).isoformat(), line.day(2).isoformat()])
    assert run(line, request) and wanted(line) == []
    assert line.validated("payments")["euros"].sum() == 99


def test_a_migration_that_was_killed_after_its_last_table_is_repeated(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.declare(with_renamed_column())
    assert not run(line, wanted(line)[0])
    apply_changes(find_changes(line.use_case, line.tables), line.tables)
    assert wanted(line) == []
    migrated(line, monkeypatch)
    assert len(wanted(line)) == 1


def migrated(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `mlops migrate --apply` prints, with the event log of the line."""
    monkeypatch.setenv("DAGSTER_HOME", line.instance.root_directory)
    result = run_cli(line, monkeypatch, "migrate", "loans", "--apply")
    assert result.exit_code == 0, result.output
    return result.output


def test_words_owners_other_use_cases_and_what_only_a_training_reads_make_nothing_again(line: LoanLine) -> None:
    described = PAYMENTS.but(description="What customers have paid.")
    features = PLAIN.features.but(views=(VIEW.but(description="What a customer has paid last."),), numeric=("amount",))
    line.declare(PLAIN.but(owner="team:loans", contracts=(APPLICATIONS, described), features=features))
    assert wanted(line) == []
