"""Stored tables are converted to a changed declaration: exactly, all or nothing, and as often as one likes."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

import mlops_assets.cli.arguments
from mlops_assets.cli.app import app
from mlops_assets.features.migration import LosesValues, apply_changes, find_changes
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import PROJECT
from mlops_assets.foundation.home_lock import reserved_home
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, PAYMENTS, VIEW
from tests.foundation.days import write_day
from tests.graph.test_first_model import CLAIMED, another_platform

FIRST, SECOND = date(2024, 3, 1), date(2024, 3, 2)
VALIDATED, RAW = names.validated("loans", "payments"), names.raw("loans", "payments")
FEATURE = names.feature("loans", "last_payment")


def declared(paid: Column, **fields: Any) -> UseCase:
    """The loans with another column in place of the payments' `paid`."""
    contract = PAYMENTS.but(columns=(*PAYMENTS.columns[:2], paid), **fields)

    def transform(tables: Mapping[str, pl.LazyFrame], start: object, end: object) -> pl.LazyFrame:
        return tables["payments"].select("customer", event_timestamp="paid_at", last_paid=paid.name)

    views = (VIEW.but(transform=transform),)
    return LOANS.but(contracts=(LOANS.contracts[0], contract), features=LOANS.features.but(views=views))


PAID = Column(name="paid", dtype="float", description="Euros.")


def fill(root: Path, asset: names.AssetPath, name: str, *values: Any) -> DeltaTables:
    """One value a day."""
    tables = DeltaTables(root)
    for day, value in zip((FIRST, SECOND), values, strict=False):
        write_day(tables.path(asset), pl.DataFrame({name: [value], "day": [day]}), str(day))
    return tables


def read(tables: DeltaTables, asset: names.AssetPath) -> dict[str, list[Any]]:
    return tables.scan(asset).sort("day").drop("day").collect().to_dict(as_series=False)


def migrated(use_case: UseCase, tables: DeltaTables) -> list[str]:
    changes = find_changes(use_case, tables)
    apply_changes(changes, tables)
    assert find_changes(use_case, tables) == []
    return [str(change) for change in changes]


def test_a_narrower_type_is_converted_where_every_value_has_an_equal(tmp_path: Path) -> None:
    tables = fill(tmp_path, VALIDATED, "paid", 12.0, 7.0)
    fill(tmp_path, FEATURE, "last_paid", 12.0, None)
    assert migrated(declared(PAID.but(dtype="int")), tables) == [
        "validated_payments · paid · Float64 → Int64 · 2 rows · no value changes",
        "features_last_payment · last_paid · Float64 → Int64 · 2 rows · no value changes",
    ]
    assert read(tables, VALIDATED) == {"paid": [12, 7]} and read(tables, FEATURE) == {"last_paid": [12, None]}
    assert tables.scan(VALIDATED).collect_schema()["paid"] == pl.Int64
    fill(tmp_path, VALIDATED, "paid", 1)  # a day of the new type is written again


def test_a_value_that_would_be_lost_keeps_every_table_as_it_is(tmp_path: Path) -> None:
    tables = fill(tmp_path, VALIDATED, "paid", 12.0, 7.5)
    fill(tmp_path, FEATURE, "last_paid", 12.0)
    changes = find_changes(declared(PAID.but(dtype="int")), tables)
    assert str(changes[0]).endswith("1 values would be lost, the first on 2024-03-02: each has no equal Int64")
    with pytest.raises(LosesValues, match="1 values would be lost; nothing was changed. Land those days corrected"):
        apply_changes(changes, tables)
    assert read(tables, VALIDATED) == {"paid": [12.0, 7.5]} and read(tables, FEATURE) == {"last_paid": [12.0]}


@pytest.mark.parametrize(
    ("stored", "dtype", "kept"),
    [
        ("007", "int", 7),
        (5, "string", "5"),
        (True, "string", "true"),
        ("true", "bool", True),
        (1, "bool", True),
        (True, "int", 1),
        (date(2024, 3, 5), "datetime", datetime(2024, 3, 5, tzinfo=UTC)),
        (datetime(2024, 3, 5, tzinfo=UTC), "date", date(2024, 3, 5)),
        (date(2024, 3, 5), "string", "2024-03-05"),
        (datetime(2024, 3, 5, 14, 5, tzinfo=UTC), "string", "2024-03-05T14:05:00.000000Z"),
        ("2024-03-05", "date", date(2024, 3, 5)),
    ],
)
def test_types_of_another_kind_are_converted(tmp_path: Path, stored: Any, dtype: Any, kept: Any) -> None:
    tables = fill(tmp_path, VALIDATED, "paid", stored)
    migrated(declared(PAID.but(dtype=dtype)), tables)
    assert read(tables, VALIDATED) == {"paid": [kept]}


def test_a_moment_within_a_day_is_no_day(tmp_path: Path) -> None:
    tables = fill(tmp_path, VALIDATED, "paid", datetime(2024, 3, 5, 14, 5, tzinfo=UTC))
    (change,) = find_changes(declared(PAID.but(dtype="date")), tables)
    assert str(change).endswith("1 values would be lost, the first on 2024-03-01: each has no equal Date")


def test_a_column_is_renamed_in_every_table_of_its_contract(tmp_path: Path) -> None:
    tables = fill(tmp_path, VALIDATED, "paid", 12.0)
    fill(tmp_path, RAW, "paid", "12.0")
    changes = migrated(declared(PAID.but(name="sum", renamed_from="paid")), tables)
    assert changes[0] == "raw_payments · paid → sum · 1 rows · no value changes"
    assert read(tables, VALIDATED) == {"sum": [12.0]} and read(tables, RAW) == {"sum": ["12.0"]}


def test_a_column_that_has_both_names_is_merged_unless_a_row_has_two_values(tmp_path: Path) -> None:
    tables, use_case = fill(tmp_path, VALIDATED, "paid", 12.0), declared(PAID.but(name="sum", renamed_from="paid"))
    both = pl.DataFrame({"sum": [7.0], "day": [SECOND]})
    write_day(tables.path(VALIDATED), both, str(SECOND))
    migrated(use_case, tables)
    assert read(tables, VALIDATED) == {"sum": [12.0, 7.0]}
    two = pl.DataFrame({"sum": [7.0], "paid": [8.0], "day": [SECOND]})
    write_day(tables.path(VALIDATED), two, str(SECOND))
    with pytest.raises(LosesValues, match="1 values"):
        apply_changes(find_changes(use_case, tables), tables)


def test_added_and_dropped_columns_need_nothing(tmp_path: Path) -> None:
    tables = fill(tmp_path, VALIDATED, "gone", 12.0)
    assert find_changes(declared(PAID, dropped=("gone",)), tables) == []


def test_the_command_changes_tables_with_apply_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setattr(mlops_assets.cli.arguments, "USE_CASES", [declared(PAID.but(dtype="int"))])
    tables = fill(tmp_path / "tables", VALIDATED, "paid", 12.5)

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["migrate", "loans", *options])
        return result.exit_code, result.output.splitlines()[-1]

    assert (
        run()
        == run("--apply")
        == (1, "1 values would be lost; nothing was changed. Land those days corrected, or declare a wider type.")
    )
    fill(tmp_path / "tables", VALIDATED, "paid", 12.0)
    assert run() == (0, "1 columns would be converted. Nothing was changed: repeat with --apply, while no platform runs.")
    assert read(tables, VALIDATED) == {"paid": [12.0]}
    assert run("--apply") == (0, "1 columns were converted. What waits for them is made once a platform runs.")
    assert read(tables, VALIDATED) == {"paid": [12]}
    assert run() == (0, "Every stored table has the declared columns.")


PEAK = """
import sys
from pathlib import Path
import polars as pl
from mlops_assets.foundation.delta_tables import rewrite
from tests.peak_memory import peak_bytes
before = peak_bytes()
rewrite(Path(sys.argv[1]), lambda rows: rows.with_columns(pl.col("paid").cast(pl.Int64)))
print((peak_bytes() - before) // 2**20)
"""


@pytest.mark.slow
def test_the_memory_of_a_migration_does_not_grow_with_the_table(tmp_path: Path) -> None:
    peaks_mb = list[int]()
    for days in (4, 40):
        tables = DeltaTables(tmp_path / str(days))
        for day in (FIRST + timedelta(days=number) for number in range(days)):
            rows = pl.DataFrame({"paid": pl.int_range(60_000, eager=True) + 0.0}).with_columns(
                day=day, text=pl.col("paid").hash()
            )
            write_day(tables.path(VALIDATED), rows.cast({"text": pl.String}), str(day))
        command = [sys.executable, "-c", PEAK, str(tables.path(VALIDATED))]
        peaks_mb.append(int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout))
        assert tables.scan(VALIDATED).collect_schema()["paid"] == pl.Int64 and tables.rows(VALIDATED) == days * 60_000
    assert peaks_mb[1] < peaks_mb[0] + 40  # MB; the rows of the larger table take 100 more


def test_a_rewritten_table_keeps_its_settings_its_partitions_and_its_earlier_versions(tmp_path: Path) -> None:
    tables = fill(tmp_path, VALIDATED, "paid", 12.0, 7.0)
    before = DeltaTable(tables.path(VALIDATED))
    migrated(declared(PAID.but(dtype="int")), tables)
    after = DeltaTable(tables.path(VALIDATED))
    assert after.metadata().configuration == before.metadata().configuration != {}
    days = [sorted(one["day"] for one in table.partitions()) for table in (before, after)]
    assert days[0] == days[1] and after.version() == before.version() + 1
    assert tables.read_version(VALIDATED, before.version())["paid"].to_list() in ([12.0, 7.0], [7.0, 12.0])
    assert tables.partitions(VALIDATED, UTC_DAYS) == {FIRST, SECOND}


def test_no_platform_writes_during_a_migration_and_none_is_migrated_under_a_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setattr(mlops_assets.cli.arguments, "USE_CASES", [declared(PAID.but(dtype="int"))])
    tables = fill(tmp_path / "tables", VALIDATED, "paid", 12.0)
    with another_platform(tmp_path):
        result = CliRunner().invoke(app, ["migrate", "loans", "--apply"])
        problem = "a platform, with the event log another, writes to this home. Stop it, and run this again."
        assert (result.exit_code, result.output) == (1, f"{tmp_path} · {problem}\n")
        assert CliRunner().invoke(app, ["migrate", "loans"]).exit_code == 0
    assert read(tables, VALIDATED) == {"paid": [12.0]}
    with reserved_home(tmp_path):  # as another process, whose platform was the last to write here
        refused = subprocess.run([*CLAIMED, str(tmp_path)], input="", capture_output=True, text=True, cwd=PROJECT, check=False)
        assert refused.returncode == 1 and "HomeInUse" in refused.stderr and "`mlops migrate`" in refused.stderr
    assert CliRunner().invoke(app, ["migrate", "loans", "--apply"]).exit_code == 0
    with another_platform(tmp_path):
        assert read(tables, VALIDATED) == {"paid": [12]}
