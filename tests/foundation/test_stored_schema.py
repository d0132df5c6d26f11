"""A day is written to a table that has other types or columns: every value is kept exactly, or nothing is written."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.foundation.stored_schema import IncompatibleRows, converted, count_changed
from tests.foundation.days import write_day

OLD, NEW = date(2013, 7, 1), date(2013, 7, 2)


def write(path: Path, day: date, *values: Any, dtype: Any = None, name: str = "a") -> None:
    rows = pl.DataFrame({name: values, "day": [day] * len(values)}, schema_overrides={name: dtype} if dtype else None)
    write_day(path, rows, day.isoformat())


def read(path: Path, name: str = "a") -> list[Any]:
    return pl.read_delta(str(path)).sort("day", name)[name].to_list()


def test_a_table_of_whole_numbers_takes_fractions_whole(tmp_path: Path) -> None:
    write(tmp_path, OLD, 12, -3)
    write(tmp_path, NEW, 12.5, -0.75)
    assert read(tmp_path) == [-3.0, 12.0, -0.75, 12.5]
    table = DeltaTable(str(tmp_path)).metadata()
    assert (table.partition_columns, table.configuration) == (["day"], {"delta.dataSkippingNumIndexedCols": "0"})


def test_whole_numbers_that_no_float_holds_stay_and_are_counted(tmp_path: Path) -> None:
    write(tmp_path, OLD, 2**53 + 1, 4)
    with pytest.raises(IncompatibleRows, match=r"1 of 2 values of a \(Int64\) have no equal Float64. Nothing was written"):
        write(tmp_path, NEW, 0.5)
    assert read(tmp_path) == [4, 2**53 + 1]


@pytest.mark.parametrize(
    ("stored", "new"), [(1.5, 2), (1.5, "x"), (1, "2"), ("x", 1), ("x", True), (True, 1), (1, True), (1.5, True), (1, NEW)]
)
def test_a_narrower_type_is_refused_with_the_command_that_converts(tmp_path: Path, stored: Any, new: Any) -> None:
    write(tmp_path, OLD, stored)
    with pytest.raises(IncompatibleRows, match=r"a is \S+ in new rows and \S+ in the table; legal: .* `mlops migrate`"):
        write(tmp_path, NEW, new)
    assert read(tmp_path) == [stored]


def test_a_new_column_is_null_in_earlier_days_and_a_dropped_one_in_later_days(tmp_path: Path) -> None:
    write(tmp_path, OLD, 1)
    write(tmp_path, NEW, "x", name="b")
    assert pl.read_delta(str(tmp_path)).sort("day").select("a", "b").rows() == [(1, None), (None, "x")]
    write(tmp_path, OLD, 2)  # the earlier day again, without the new column
    assert pl.read_delta(str(tmp_path)).sort("day").select("a", "b").rows() == [(2, None), (None, "x")]


@pytest.mark.parametrize("dtype", [pl.UInt8, pl.UInt32, pl.Int16, pl.UInt64, pl.Int64])
def test_whole_numbers_of_another_size_are_kept(tmp_path: Path, dtype: Any) -> None:
    write(tmp_path, OLD, 1, dtype=pl.Int8)
    write(tmp_path, NEW, 100, dtype=dtype)
    write(tmp_path, NEW, 120, 2**31 if dtype not in (pl.UInt8, pl.Int16) else 99, dtype=dtype)
    assert read(tmp_path)[0] == 1 and read(tmp_path)[-1] in (120, 2**31)


def test_a_day_without_a_value_keeps_the_type(tmp_path: Path) -> None:
    write(tmp_path, OLD, 1.5)
    write(tmp_path, NEW, None)
    assert pl.read_delta(str(tmp_path)).schema["a"] == pl.Float64


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=5), st.lists(st.floats(allow_nan=False), min_size=1, max_size=5)
)
def test_widening_changes_no_value(tmp_path_factory: pytest.TempPathFactory, whole: list[int], floats: list[float]) -> None:
    path = tmp_path_factory.mktemp("table")
    write(path, OLD, *whole)
    write(path, NEW, *floats)
    assert read(path) == sorted(whole) + sorted(floats)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.text()),
    st.sampled_from([pl.Int64(), pl.Float64(), pl.Boolean(), pl.String(), pl.Datetime("us", "UTC")]),
)
def test_a_converted_value_is_equal_or_counted(value: Any, dtype: pl.DataType) -> None:
    rows = pl.DataFrame({"a": [value]})
    result = rows.select(converted("a", rows.schema["a"], dtype)).item()
    assert (result is None) == bool(count_changed(rows, "a", dtype))
    if result is not None and not isinstance(value, str) and dtype != pl.String():
        assert result == value
