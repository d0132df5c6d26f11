"""The grain of a table changes over a home that has its data: nothing is mixed, one message reports it, and there are two ways to continue."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from deltalake import DeltaTable

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.spec.grain import Daily, Grain, Hourly, Monthly, Snapshot, Weekly
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, PAYMENTS, VIEW, last_payment
from tests.graph.line import failure
from tests.graph.loan_line import LoanLine, moment, payments, running_loans
from tests.graph.test_refused_days import run_cli

BERLIN, FEATURE = "Europe/Berlin", names.feature("loans", "last_payment")
STORED = [stage("loans", "payments") for stage in (names.raw, names.validated, names.quarantine)]
CHANGES: list[tuple[Grain, Grain]] = [
    (Daily(), Daily(tz=BERLIN)), (Hourly(), Daily()), (Weekly(), Monthly()), (Daily(), Snapshot()),
    (Snapshot(), Daily()),
]  # fmt: skip


def declared(grain: Grain, table: str = "payments") -> UseCase:
    contract = PAYMENTS.but(table=table, day=None, expectations=())

    def transform(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
        return last_payment({"payments": tables[table]}, start, end)

    view = VIEW.but(tables=(table,), transform=transform)
    return LOANS.but(
        sources=(LOANS.sources[0], Files(table=table, grain=grain)),
        contracts=(LOANS.contracts[0], contract),
        features=LOANS.features.but(views=(view,)),
    )


def carry(line: LoanLine, use_case: UseCase, number: int, *more: names.AssetPath) -> dg.ExecuteInProcessResult:
    """The payments of a day land in the partition of its noon, and go through the graph."""
    line.declare(use_case)
    table = use_case.sources[1].table
    calendar, rows = calendar_of(use_case.source(table).grain), payments(number, ("c1", 10.0 + number))
    partition = calendar.of(rows["paid_at"][0])
    line.landing.put("loans", table, day=partition, rows=rows, calendar=calendar)
    return run(line, calendar.key(partition) if calendar.cron else None, *line.stages(table), *more)


def run(line: LoanLine, key: str | None, *paths: names.AssetPath) -> dg.ExecuteInProcessResult:
    tags = {f"dagster/asset_partition_range_{end}": key for end in ("start", "end") if key}
    selection = [dg.AssetKey(path) for path in paths]
    return line.job.execute_in_process(asset_selection=selection, instance=line.instance, tags=tags, raise_on_error=False)


def content(tables: DeltaTables) -> list[Any]:
    return [tables.scan(path).collect().rows() for path in STORED]


@pytest.mark.parametrize(("before", "after"), CHANGES, ids=lambda grain: f"{type(grain).__name__} {getattr(grain, 'tz', '')}")
def test_a_table_of_another_grain_is_refused_and_stays(
    tmp_path: Path, before: Grain, after: Grain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_loans(tmp_path, declared(before)) as line:
        assert carry(line, declared(before), 1, FEATURE).success
        stored = content(line.tables)
        result = carry(line, declared(after), 2)
        expected = (
            f"payments · its rows are stored by {calendar_of(before)}, and declared by {calendar_of(after)}; nothing is mixed. "
            "Declare the earlier grain again, or a table of another name, whose files land anew."
        )
        assert not result.success and expected in failure(result)
        assert content(line.tables) == stored
        later = calendar_of(after)
        key = later.key(later.of(moment(2))) if later.cron else None
        assert expected in failure(run(line, key, FEATURE)), "what reads the table is refused, too"
        status = run_cli(line, monkeypatch, "status", "loans").output
        message = expected.replace("payments", "payments/*", 1)
        assert [text for text in status.splitlines() if "data: " in text] == [f"data: {message}"]
        assert carry(line, declared(before), 3, FEATURE).success, "the earlier grain goes on"


@pytest.mark.parametrize(("before", "after"), [(Daily(), Hourly()), (Hourly(tz=BERLIN), Weekly())], ids=str)
def test_a_table_of_another_name_starts_empty_under_the_same_view(tmp_path: Path, before: Grain, after: Grain) -> None:
    online = names.online("loans", "last_payment")
    with running_loans(tmp_path, declared(before)) as line:
        line.store()
        assert carry(line, declared(before), 1, FEATURE, online).success
        result = carry(line, declared(after, "paid"), 4, FEATURE, online)
        assert result.success, failure(result)
        assert line.rows(names.validated("loans", "paid"))["paid"].to_list() == [14.0]
        assert sorted(line.rows(FEATURE)["last_paid"]) == [11.0, 14.0]


def test_tables_of_an_earlier_release_get_their_grain_with_the_next_run(tmp_path: Path) -> None:
    with running_loans(tmp_path, declared(Daily())) as line:
        assert carry(line, declared(Daily()), 1).success
        for path in STORED:  # as they were written before
            DeltaTable(str(line.tables.path(path))).alter.set_table_description("")
        assert "stored by partitions of another kind" in failure(carry(line, declared(Hourly()), 1)), "by its columns"
        assert carry(line, declared(Daily()), 2).success
        assert not carry(line, declared(Weekly()), 2).success
        days = line.rows(STORED[1])["day"].to_list()
        assert sorted(days) == [dt.date(2024, 3, 2), dt.date(2024, 3, 3)]
