"""A value means the same in a landed file and in a request: the exact value in both, or refused in both."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops_assets.foundation.conversions import stored_type
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.serving.http.value_types import read_value, value_type
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.spec import IllegalDeclaration
from tests.foundation.days import write_day

DAY = date(2013, 7, 1)
REFUSED = "refused"


def in_file(column: Column, text: str) -> Any:
    contract = Contract(table="t", description="x", columns=(column,), unique=(column.name,))
    raw = pl.DataFrame({column.name: [text], "day": [DAY], "source_file": ["f"], "source_line": [2]})
    accepted = split_rows(raw.with_columns(problem=pl.lit(None, pl.String)), contract).accepted
    return accepted[column.name].item() if accepted.height else REFUSED


def in_request(column: Column, value: str) -> Any:
    """`value` is JSON."""
    try:
        return msgspec.json.decode(value.encode(), type=value_type(column), dec_hook=read_value)
    except ValueError:
        return REFUSED


def column_of(dtype: DType, **fields: Any) -> Column:
    return Column(name="value", dtype=dtype, description="x", **fields)


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("int", "12", 12),
        ("int", "9007199254740993", 2**53 + 1),
        ("int", "9223372036854775807", 2**63 - 1),
        ("int", "-9223372036854775808", -(2**63)),
        ("int", "9223372036854775808", REFUSED),
        ("int", "12.0", REFUSED),
        ("int", "12.5", REFUSED),
        ("int", "1e3", REFUSED),
        ("int", "1,000", REFUSED),
        ("int", "1_000", REFUSED),
        ("int", "NaN", REFUSED),
        ("int", "true", REFUSED),
        ("float", "12", 12.0),
        ("float", "0.1", 0.1),
        ("float", "-0.75", -0.75),
        ("float", "1E5", 1e5),
        ("float", "1e400", REFUSED),
        ("float", "NaN", REFUSED),
        ("float", "Infinity", REFUSED),
        ("float", "1,5", REFUSED),
        ("float", "true", REFUSED),
        ("bool", "true", True),
        ("bool", "false", False),
        ("bool", "1", REFUSED),
        ("bool", "0", REFUSED),
        ("bool", "yes", REFUSED),
    ],
)
def test_a_bare_value_has_one_meaning(dtype: DType, text: str, value: object) -> None:
    results = in_file(column_of(dtype), text), in_request(column_of(dtype), text)
    assert results == (value, value)
    assert {type(result) for result in results} == {type(value)}


MOMENT = datetime(2013, 7, 1, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("string", "007", "007"),
        ("string", "NA", "NA"),
        ("string", "NaN", "NaN"),
        ("string", " ", " "),
        ("string", "", REFUSED),
        ("int", "٣", REFUSED),
        ("int", "\uff11\uff12", REFUSED),
        ("float", "٣", REFUSED),
        ("float", "", REFUSED),
        ("datetime", "2013-07-01T14:05:00Z", MOMENT),
        ("datetime", "2013-07-01T14:05Z", MOMENT),
        ("datetime", "2013-07-01 14:05:00", MOMENT),
        ("datetime", "2013-07-01T10:05:00-04:00", MOMENT),
        ("datetime", "2013-07-02T00:05:00.000001+10:00", MOMENT + timedelta(microseconds=1)),
        ("datetime", "2013-07-01T14:05:00.0000001Z", REFUSED),
        ("datetime", "2013-02-30T00:00:00Z", REFUSED),
        ("datetime", "2013-1-5T00:00:00Z", REFUSED),
        ("datetime", "2013-07-01T24:00:00Z", REFUSED),
        ("datetime", "2013-07-01T23:59:60Z", REFUSED),
        ("datetime", "2013-07-01T1:05:00Z", REFUSED),
        ("datetime", "2013-07-01", REFUSED),
        ("datetime", "2013-W27-1T14:05:00Z", REFUSED),
        ("datetime", "٢٠١٣-07-01T14:05:00Z", REFUSED),
        ("datetime", "07/01/2013 14:05", REFUSED),
        ("datetime", "1372687500", REFUSED),
        ("datetime", "1899-12-31T23:59:59Z", REFUSED),
        ("datetime", "2200-01-01T00:00:00Z", REFUSED),
        ("datetime", "2200-01-01T00:00:00+01:00", datetime(2199, 12, 31, 23, tzinfo=UTC)),
        ("date", "2013-07-01", date(2013, 7, 1)),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("date", "2023-02-29", REFUSED),
        ("date", "2013-7-1", REFUSED),
        ("date", "1899-12-31", REFUSED),
        ("date", "2200-01-01", REFUSED),
        ("date", "2013-07-01Z", REFUSED),
        ("date", "٢٠١٣-07-01", REFUSED),
        ("category", "a", "a"),
        ("decimal", "12.50", Decimal("12.50")),
        ("decimal", "12.5000", Decimal("12.50")),
        ("decimal", "-0012", Decimal("-12.00")),
        ("decimal", ".5", Decimal("0.50")),
        ("decimal", "5.", Decimal("5.00")),
        ("decimal", "99999999999999999999999999999999.99", Decimal("99999999999999999999999999999999.99")),
        ("decimal", "100000000000000000000000000000000", REFUSED),
        ("decimal", "12.505", REFUSED),
        ("decimal", "1e2", REFUSED),
        ("decimal", ".", REFUSED),
        ("decimal", "NaN", REFUSED),
        ("decimal", "", REFUSED),
        ("decimal", "٣", REFUSED),
    ],
)
def test_a_text_has_one_meaning(dtype: DType, text: str, value: object) -> None:
    digits = {"precision": 34, "scale": 2} if dtype == "decimal" else {}
    column = column_of(dtype, **digits)
    is_text = dtype in ("string", "category", "datetime", "date", "decimal")
    assert (in_file(column, text), in_request(column, json.dumps(text))) == (value, value if is_text else REFUSED)


def test_a_decimal_is_text_in_a_request_since_a_number_would_be_read_as_the_nearest_float() -> None:
    assert in_request(column_of("decimal", precision=34, scale=2), "12.50") == REFUSED


@settings(max_examples=60, deadline=None)
@given(st.decimals(-1000, 1000, places=3), st.sampled_from([0.1, 12, -0.05, 999.999]))
@example(Decimal("0.100"), 0.1)
def test_a_bound_is_exact_for_decimals(number: Decimal, bound: float) -> None:
    for fields in ({"max": bound}, {"min": bound}):
        column = column_of("decimal", precision=10, scale=3, **fields)
        is_legal = number <= Decimal(str(bound)) if "max" in fields else number >= Decimal(str(bound))
        text = f"{number:f}"
        assert in_file(column, text) == in_request(column, json.dumps(text)) == (number if is_legal else REFUSED)


@settings(max_examples=80, deadline=None)
@given(st.integers(-(2**65), 2**65))
@example(2**63)
def test_every_whole_number_is_exact_or_refused(number: int) -> None:
    expected = number if -(2**63) <= number < 2**63 else REFUSED
    assert in_file(column_of("int"), str(number)) == in_request(column_of("int"), str(number)) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(2**53 - 3, 2**53 + 3), st.sampled_from([2**53, 2**53 - 1, 2**53 + 2, 2**53 - 0.5]))
@example(2**53 + 1, 2**53)
def test_a_bound_is_exact_for_whole_numbers(number: int, bound: float) -> None:
    for column in (column_of("int", max=bound), column_of("int", min=bound)):
        is_legal = number <= bound if column.min is None else number >= bound
        assert in_file(column, str(number)) == in_request(column, str(number)) == (number if is_legal else REFUSED)


@settings(max_examples=80, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_is_exact(number: float) -> None:
    assert in_file(column_of("float"), repr(number)) == in_request(column_of("float"), repr(number)) == number


offsets = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=80, deadline=None)
@given(st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30), timezones=offsets), st.sampled_from("T "))
def test_every_datetime_is_read_exactly_from_a_file_and_from_a_request(moment: datetime, separator: str) -> None:
    text = moment.isoformat(separator)
    expected = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert in_file(column_of("datetime"), text) == in_request(column_of("datetime"), json.dumps(text)) == expected


@settings(max_examples=120, deadline=None)
@given(st.from_regex(r"\A(19|20|22)[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9])?(\.[0-9]{1,7})?Z?\Z"))
def test_files_and_requests_refuse_the_same_malformed_datetimes(text: str) -> None:
    assert in_file(column_of("datetime"), text) == in_request(column_of("datetime"), json.dumps(text))


PATTERNS = [r"\d+", r"^[A-Z]{2}$", r"A|B", r"\w{1,3}", r"(?=A)\w+", r"(\w)\1", r"[a-z]*", r"\bA\b", r".+", r"a{,2}", r"\S+"]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(PATTERNS), st.text(st.sampled_from("aAB1٣\u00e9\u0301 \u2028_"), min_size=1, max_size=3))
@example(r"[A-Z]{2}", "UAX")
@example(r"A|B", "AB")
@example(r"\d+", "٣")
@example(r"^[A-Z]{2}$", "UA\n")
def test_a_pattern_has_one_meaning(pattern: str, text: str) -> None:
    column = column_of("string", pattern=pattern)
    assert in_file(column, text) == in_request(column, json.dumps(text))


@pytest.mark.parametrize("pattern", ["(", "(?i)ua", "a)|(b"])
def test_a_pattern_that_cannot_be_a_part_of_another_is_refused(pattern: str) -> None:
    with pytest.raises(IllegalDeclaration, match="is not a regular expression: .* Correct it"):
        column_of("string", pattern=pattern)


DTYPES: tuple[DType, ...] = ("int", "float", "bool", "datetime", "string", "category", "date")
TYPED = Contract(
    table="t",
    description="x",
    columns=(
        *(Column(name=f"{dtype}_", dtype=dtype, description="x", nullable=True) for dtype in DTYPES),
        Column(name="money", dtype="decimal", precision=38, scale=4, description="x", nullable=True),
        Column(name="number", dtype="int", description="x"),
    ),
    unique=("number",),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
rows = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),
    st.none() | texts,
    st.none() | texts,
    st.none() | st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    st.none() | st.decimals(-(10**30), 10**30, places=4),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=6))
@example([(*[None] * 4, 'a,"b"\r\n\n\rc', *[None] * 3), (*[None] * 4, "\u2028 007", *[None] * 3)])
def test_every_value_comes_through_file_and_table_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("home")
    schema = {column.name: stored_type(column) for column in TYPED.columns}
    frame = pl.DataFrame([(*row, number) for number, row in enumerate(values)], schema=schema, orient="row")
    landing = Landing(folder)
    landing.put("line", "t", day=DAY, rows=frame)
    accepted = split_rows(landing.read("line", TYPED, [DAY], required=True), TYPED).accepted
    write_day(folder / "table", accepted, str(DAY))
    assert pl.read_delta(str(folder / "table")).sort("number").drop("day").equals(frame)
