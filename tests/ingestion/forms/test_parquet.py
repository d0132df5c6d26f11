"""Parquet files: every typed value is converted exactly, or its row is refused."""

import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.contract import Column
from mlops_assets.spec.form import Parquet
from tests.ingestion.forms.delivered import Delivered, column, contract, deliver

BIG = 2**53 + 1
MOMENT = datetime(2024, 3, 1, 10, 30, tzinfo=UTC)


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def read(tmp_path: Path, values: pa.Array, declared: Column, form: Parquet | None = None) -> Delivered:
    table = pa.table({"k": pa.array(range(len(values))), "v": values})
    return deliver(tmp_path, parquet(table), form or Parquet(), contract(column("k", "int"), declared))


def values_of(delivered: Delivered) -> list[Any]:
    assert not delivered.reasons
    return [row[1] for row in delivered.rows]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (pa.array([BIG, -(2**63), None], pa.int64()), "int", [BIG, -(2**63), None]),
        (pa.array([255], pa.uint8()), "int", [255]),
        (pa.array([12.0, None, -3.0]), "int", [12, None, -3]),
        (pa.array([Decimal("12.00"), Decimal("100")]), "int", [12, 100]),
        (pa.array([0.1, -0.0, 1e300, 12.0]), "float", [0.1, -0.0, 1e300, 12.0]),
        (pa.array([0.1], pa.float32()), "float", [float(np.float32(0.1))]),
        (pa.array([1.5], pa.float16()), "float", [1.5]),
        (pa.array([2**53], pa.int64()), "float", [2.0**53]),
        (pa.array([True, None, False]), "bool", [True, None, False]),
        (pa.array(["007", "", " a", None]), "string", ["007", None, " a", None]),
        (pa.array(["a", "b"], pa.large_string()), "category", ["a", "b"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "category", ["a", None, "a"]),
        (pa.array([7, 12], pa.int32()), "string", ["7", "12"]),
        (pa.array([MOMENT], pa.timestamp("ns", "UTC")), "datetime", [MOMENT]),
        (pa.array([MOMENT], pa.timestamp("s", "America/New_York")), "datetime", [MOMENT]),
        (pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ms")), "datetime", [MOMENT]),
        (pa.array([MOMENT + timedelta(microseconds=1)], pa.timestamp("us", "+05:30")), "datetime", [MOMENT + timedelta(microseconds=1)]),
        (pa.array(["2024-03-01T11:30:00+01:00"]), "datetime", [MOMENT]),
        (pa.array([date(2024, 2, 29)]), "date", [date(2024, 2, 29)]),
        (pa.array([date(2024, 2, 29)], pa.date64()), "date", [date(2024, 2, 29)]),
        (pa.array([datetime(2024, 2, 29)], pa.timestamp("us")), "date", [date(2024, 2, 29)]),
        (pa.nulls(2), "float", [None, None]),
        (pa.array([time(10, 30)]), "string", ["10:30:00"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_typed_value_is_converted_exactly(tmp_path: Path, values: pa.Array, dtype: str, expected: list[Any]) -> None:
    converted = values_of(read(tmp_path, values, column("v", dtype)))
    assert [(type(value), str(value)) for value in converted] == [(type(value), str(value)) for value in expected]


@pytest.mark.parametrize(
    ("values", "dtype", "reason"),
    [
        (pa.array([12.5]), "int", "v: '12.5' is not a whole number"),
        (pa.array([float(2**53)]), "int", "v: '9007199254740992.0' is not a whole number"),
        (pa.array([2**63], pa.uint64()), "int", "v: '9223372036854775808' is not a whole number"),
        (pa.array([float("nan")]), "float", "v: 'NaN' is not a finite number"),
        (pa.array([float("inf")]), "float", "v: 'inf' is not a finite number"),
        (pa.array([True]), "int", "v: 'true' is not a whole number"),
        (pa.array([1]), "bool", "v: '1' is not true or false"),
        (pa.array([1709287200]), "datetime", "v: '1709287200' is not a datetime such as 2013-07-01T14:05:00Z"),
        (pa.array([1], pa.timestamp("ns")), "datetime", "v: '1970-01-01T00:00:00.000000001' is finer than a microsecond"),
        (pa.array([datetime(1500, 1, 1)], pa.timestamp("s")), "datetime", "v: '1500-01-01T00:00:00' is not a datetime such as"),
        (pa.array([date(2024, 1, 1)]), "datetime", "v: '2024-01-01' is not a datetime such as"),
        (pa.array([MOMENT], pa.timestamp("us", "UTC")), "date", "v: '2024-03-01T10:30:00Z' is not a date such as 2013-07-01"),
        (pa.array(["x"]), "float", "v: 'x' is not a finite number"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_without_an_equal_is_quarantined_with_its_row(tmp_path: Path, values: pa.Array, dtype: str, reason: str) -> None:
    result = read(tmp_path, values, column("v", dtype))
    assert (result.rows, [*result.reasons]) == ([], [1]) and result.reasons[1].startswith(reason)


def test_decimals_keep_every_digit_and_cut_none(tmp_path: Path) -> None:
    money = column("v", "decimal", precision=38, scale=10)
    exact = [Decimal("1234567890123456789012345678.0123456789"), Decimal("-0.5"), None]
    assert values_of(read(tmp_path, pa.array(exact, pa.decimal128(38, 10)), money)) == exact
    assert values_of(read(tmp_path, pa.array([12, 0]), money)) == [12, 0]
    cut = read(tmp_path, pa.array([Decimal("1.005")]), column("v", "decimal", precision=5, scale=2))
    assert cut.reasons == {1: "v: '1.005' is not a decimal number with 5 digits, 2 of them after the point"}


def test_a_timestamp_without_a_zone_is_local_time(tmp_path: Path) -> None:
    values = pa.array([datetime(2024, 7, 1, 12), datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)], pa.timestamp("us"))
    result = read(tmp_path, values, column("v", "datetime"), Parquet(time_zone="Europe/Berlin"))
    assert result.rows == [(0, datetime(2024, 7, 1, 10, tzinfo=UTC))]
    assert [*result.reasons] == [2, 3] and "is skipped" in result.reasons[2] and "is repeated" in result.reasons[3]


def test_nan_is_missing_where_that_is_declared(tmp_path: Path) -> None:
    assert values_of(read(tmp_path, pa.array([float("nan"), 1.0]), column("v", "float"), Parquet(missing=("NaN",)))) == [
        None,
        1.0,
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([[1]]), "list"), (pa.array([{"a": 1}]), "struct"), (pa.array([b"a"]), "binary"),
        (pa.array([timedelta(days=1)]), "duration"), (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map"),
    ],
)  # fmt: skip
def test_a_nested_column_is_one_clear_error_unless_it_is_dropped(tmp_path: Path, values: pa.Array, kind: str) -> None:
    (reason,) = read(tmp_path, values, column("v", "string")).reasons.values()
    assert f"column 'v' has the type {kind}" in reason and "legal: text, numbers" in reason and "Deliver a plain column" in reason
    table = pa.table({"k": pa.array([1]), "v": values})
    assert deliver(tmp_path, parquet(table), Parquet(), contract(column("k", "int"), dropped=("v",))).rows == [(1,)]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"k,v\n1,2\n", "half", "middle"])
def test_half_a_file_is_one_clear_error(tmp_path: Path, content: bytes | str) -> None:
    whole = parquet(
        pa.table({"k": pa.array(range(50_000)), "v": pa.array([f"a{n}" for n in range(50_000)])}), compression="snappy"
    )
    damaged = {"half": whole[: len(whole) // 2], "middle": whole[:5000] + b"\xff" * 5000 + whole[10_000:]}
    result = deliver(
        tmp_path,
        damaged.get(str(content), content if isinstance(content, bytes) else b""),
        Parquet(),
        contract(column("k", "int"), column("v", "string")),
    )
    assert result.rows == [] and [*result.reasons] == [0]
    assert "line/t/2024-03-01.parquet · it is no readable Parquet file:" in result.reasons[0]
    assert "It may be half a file: deliver it again." in result.reasons[0]


def test_a_small_file_with_very_many_rows_is_one_clear_error(tmp_path: Path) -> None:
    content = parquet(pa.table({"k": pa.array(["a" * 100]).take(pa.array(np.zeros(1_000_000, dtype=np.int64)))}))
    assert len(content) < 100_000
    result = deliver(tmp_path, content, Parquet(), contract(column("k", "string")), max_bytes=1_000_000)
    assert "it has more than 1,000,000 bytes when it is decompressed; legal: at most 1,000,000" in result.reasons[0]


def test_names_are_mapped_and_wrong_ones_described(tmp_path: Path) -> None:
    table = pa.table({"Größe (cm)": [1.5], "k": [1]})
    declared = contract(column("k", "int"), column("height", "float", source="Größe (cm)"))
    assert deliver(tmp_path, parquet(table), Parquet(), declared).rows == [(1, 1.5)]
    (reason,) = deliver(tmp_path, parquet(table.rename_columns(["Groesse (cm)", "k"])), Parquet(), declared).reasons.values()
    assert "'Größe (cm)' is missing (renamed to 'Groesse (cm)'?)" in reason
    (reason,) = deliver(tmp_path, parquet(table.rename_columns(["k", "k"])), Parquet(), declared).reasons.values()
    assert "'k' comes twice" in reason


def test_no_rows_are_a_day_without_rows(tmp_path: Path) -> None:
    assert deliver(tmp_path, parquet(pa.table({"k": pa.array([], pa.int64())})), Parquet(), contract(column("k", "int"))) == (
        [],
        {},
    )


rows = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.decimals(-(10**20), 10**20, places=4),
    st.none() | st.booleans(),
    st.none() | st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    st.none() | st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30), timezones=st.just(UTC)),
    st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8),
)
SCHEMA = {
    "int": pa.int64(), "float": pa.float64(), "decimal": pa.decimal128(30, 4), "bool": pa.bool_(), "date": pa.date32(),
    "datetime": pa.timestamp("us", "Asia/Tokyo"), "string": pa.string(),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=6), st.sampled_from(["snappy", "zstd", "gzip", "none"]), st.booleans())
def test_what_pyarrow_writes_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, written: list[Any], codec: str, packed: bool
) -> None:
    columns = [*zip(*written, strict=True)] if written else [()] * len(SCHEMA)
    arrays = {f"{name}_": pa.array(values, kind) for (name, kind), values in zip(SCHEMA.items(), columns, strict=True)}
    content = parquet(
        pa.table({"k": pa.array(range(len(written)), pa.int64())} | arrays), compression=codec, use_dictionary=packed
    )
    digits = {"decimal": {"precision": 30, "scale": 4}}
    declared = contract(column("k", "int"), *(column(f"{name}_", name, **digits.get(name, {})) for name in SCHEMA))
    read = deliver(tmp_path_factory.mktemp("home"), content, Parquet(), declared)
    assert read == ([(key, *row) for key, row in enumerate(written)], {})
