"""The same rows are read from validated tables, landed files and files by hand; nothing is written."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlops_assets.evaluation.read_rows import NoRows, inspect_tables, read_rows
from mlops_assets.features.featurize import training_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.inspection.findings import find
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.spec.feature import Label
from mlops_assets.spec.grain import Hourly, Monthly, Snapshot, Weekly
from mlops_assets.spec.source import Files
from mlops_assets.spec.task import Binary
from mlops_assets.spec.use_case import UseCase
from tests.ingestion.test_land_file import WIDE, wide
from tests.inspection.orders import COLUMNS, NOW, USE_CASE, orders, write

ROWS = orders()


def read(home: Path, use_case: UseCase = USE_CASE, **files: Path) -> Inspected:
    return read_rows(use_case, home=Home(home), files=files, now=NOW)


def land(home: Path) -> None:
    landing = Landing(home / "landing")
    for (day,), rows in ROWS.group_by("day"):
        landing.put("orders", "orders", day=day, rows=rows.drop("day"), calendar=table_calendar(USE_CASE, "orders"))


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_landed_files_and_one_flat_file_have_the_same_rows(tmp_path: Path) -> None:
    land(tmp_path)
    flat, before = write(ROWS, tmp_path / "all of them.csv"), files_in(tmp_path)
    landed, from_file = read(tmp_path), read(tmp_path, orders=flat)
    assert_frame_equal(landed.rows, from_file.rows)
    assert_frame_equal(landed.tables["orders"].sort("number"), ROWS.sort("number"), check_column_order=False)
    assert (landed.origins, from_file.origins) == ({"orders": "landed files"}, {"orders": "all of them.csv"})
    assert files_in(tmp_path) == before


def test_validated_tables_are_read_before_landed_files_with_what_was_refused(tmp_path: Path) -> None:
    land(tmp_path)
    tables = DeltaTables(tmp_path / "tables")
    bad = ROWS.head(1).select(pl.lit("late").alias("reasons"), "day")
    for path, rows in ((names.validated("orders", "orders"), ROWS.drop("city")), (names.quarantine("orders", "orders"), bad)):
        tables.path(path).parent.mkdir(parents=True, exist_ok=True)
        rows.write_delta(tables.path(path), delta_write_options={"partition_by": "day"})
    data = read(tmp_path)
    assert (data.origins, len(data.rows), len(data.refused["orders"])) == ({"orders": "validated tables"}, len(ROWS), 1)
    assert data.rows["city"].null_count() == len(ROWS)  # a column that the stored table lacks


def test_the_parts_are_those_of_the_training_set(tmp_path: Path) -> None:
    data = read(tmp_path, orders=write(ROWS, tmp_path / "orders.csv"))
    expected = training_rows(USE_CASE, ROWS.lazy(), ROWS.lazy(), now=NOW)
    kept = data.rows.drop_nulls("split")
    assert_frame_equal(kept.sort("number"), expected.sort("number"), check_column_order=False)
    assert len(kept) < len(data.rows) == len(ROWS)


@pytest.mark.parametrize("grain", [Hourly(), Weekly(), Monthly(), Hourly(tz="Asia/Tokyo")], ids=repr)
def test_a_flat_file_is_divided_by_every_grain(tmp_path: Path, grain: Hourly | Weekly | Monthly) -> None:
    data = read(
        tmp_path, USE_CASE.but(sources=(Files(table="orders", grain=grain),)), orders=write(ROWS, tmp_path / "orders.csv")
    )
    assert (len(data.rows), data.refused) == (len(ROWS), {})


def test_a_snapshot_and_another_form_are_read_by_their_name(tmp_path: Path) -> None:
    use_case = USE_CASE.but(
        sources=(Files(table="orders", grain=Snapshot()),), contracts=(USE_CASE.contracts[0].but(day=None),), first_day=None
    )
    ROWS.drop("day").write_parquet(tmp_path / "orders.parquet")
    assert len(read(tmp_path, use_case, orders=tmp_path / "orders.parquet").rows) == len(ROWS)


def test_a_file_that_is_named_like_a_landed_one_is_of_its_day(tmp_path: Path) -> None:
    file = write(ROWS.head(40), tmp_path / "2024-01-02.csv")
    data = read(tmp_path, orders=file)
    assert (len(data.tables["orders"]), len(data.refused["orders"])) == (20, 20)
    assert "is not in the day of its file" in data.refused["orders"]["reasons"][0]


def test_a_wide_file_is_read_as_it_would_land(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(WIDE)
    label = Label(name="returned", table="outcomes", key=("customer", "paid_at"))
    use_case = wide().but(task=Binary(label=label))
    data = read(tmp_path, use_case, **dict.fromkeys(("payments", "outcomes", "regions"), tmp_path / "wide.csv"))
    assert {name: len(rows) for name, rows in data.tables.items()} == {"payments": 4, "outcomes": 3, "regions": 2}
    assert data.refused == {}  # one outcome is not known yet, and a region has several payments


def test_rows_without_a_moment_are_refused_with_their_reason(tmp_path: Path) -> None:
    rows = ROWS.head(20).with_columns(ordered_at=pl.lit(None, pl.Datetime("us", "UTC")))
    text = write(pl.concat([ROWS, rows.with_columns(number=pl.col("number") + 9000)]), tmp_path / "orders.csv").read_text()
    (tmp_path / "orders.csv").write_text(text + ",".join(["9999", "s1", "soon", *[""] * (len(COLUMNS) - 3)]) + "\n")
    refused = read(tmp_path, orders=tmp_path / "orders.csv").refused["orders"]
    assert refused.filter(pl.col("number") == "9999")["reasons"][0].startswith("ordered_at: 'soon' is not")


def test_without_rows_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        NoRows, match=r"orders · no row of orders: neither its validated table .* has one\. Pass a file with --file"
    ):
        read(tmp_path)
    with pytest.raises(NoRows, match=r"no row of orders: empty\.csv has none"):
        read(tmp_path, orders=write(ROWS.clear(), tmp_path / "empty.csv"))


def test_a_sample_of_very_many_requests_is_read_and_the_others_are_not_reported_as_unlabelled() -> None:
    data = inspect_tables(USE_CASE, {"orders": ROWS}, {}, now=NOW, most_requests=1000)
    assert 900 < len(data.rows) == len(data.requests) < 1100
    assert find(data) == () and f"{len(data.rows):,} of 2,000 requests drawn" in data.describe()
