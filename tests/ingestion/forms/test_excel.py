"""Excel workbooks: each cell is read exactly or its row is refused, by its number in the sheet."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.form import Excel
from tests.ingestion.forms.delivered import column, contract, deliver
from tests.ingestion.forms.workbook import build_workbook

TWO = contract(column("k", "int"), column("v", "string", source="Wert (€)"))
HEADER = ("k", "Wert (€)")


@pytest.mark.parametrize(
    ("cell", "dtype", "value"),
    [
        (12, "int", 12), (12.0, "int", 12), (0.1 + 0.2, "float", 0.1 + 0.2), (1e-12, "float", 1e-12), (-0.0, "float", 0.0),
        (1e20, "float", 1e20), (123456789.12345678, "float", 123456789.12345678), (True, "bool", True), (False, "bool", False),
        ("007", "string", "007"), (7, "string", "7"), ("true", "string", "true"), (" a\nb", "string", " a\nb"), ("12.50", "float", 12.5),
        ("9007199254740993", "int", 2**53 + 1), (date(2024, 2, 29), "date", date(2024, 2, 29)),
        (datetime(2024, 2, 29, 6, 30), "datetime", datetime(2024, 2, 29, 6, 30, tzinfo=UTC)),
        (datetime(2024, 2, 29, 23, 59, 59), "datetime", datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
        (datetime(2024, 2, 29), "datetime", datetime(2024, 2, 29, tzinfo=UTC)), ("2024-02-29", "date", date(2024, 2, 29)),
        (None, "float", None), ("", "string", None),
    ],
)  # fmt: skip
def test_a_cell_is_read_exactly(tmp_path: Path, cell: Any, dtype: str, value: Any) -> None:
    content = build_workbook([("k", "v"), (1, cell), (2, "x" if dtype == "string" else None)])
    read = deliver(tmp_path, content, Excel(), contract(column("k", "int"), column("v", dtype)))
    assert read.reasons == {} and read.rows[0] == (1, value)


@pytest.mark.parametrize(
    ("cell", "dtype", "reason"),
    [
        (12.5, "int", "v: '12.5' is not a whole number"),
        (float(2**53), "int", "v: '9007199254740992.0' is not a whole number"),
        (True, "int", "v: 'true' is not a whole number"),
        (45000, "date", "v: '45000' is not a date such as 2013-07-01"),
        (datetime(2024, 2, 29, 6, 30), "date", "v: '2024-02-29 06:30:00' is not a date such as 2013-07-01"),
        (ValueError("#DIV/0!"), "float", "line has the error Div0 in column 2"),
        (ValueError("#N/A"), "string", "line has the error NA in column 2"),
        ("x", "float", "v: 'x' is not a finite number"),
    ],
)  # fmt: skip
def test_a_cell_without_an_equal_is_quarantined_with_its_row(tmp_path: Path, cell: Any, dtype: str, reason: str) -> None:
    content = build_workbook({1: ("k", "v"), 2: (1, None), 5: (2, cell), 6: (3, None)})
    read = deliver(tmp_path, content, Excel(), contract(column("k", "int"), column("v", dtype)))
    assert ([row[0] for row in read.rows], read.reasons) == ([1, 3], {5: reason})


def test_rows_before_the_header_and_blank_rows_are_skipped_and_counted(tmp_path: Path) -> None:
    content = build_workbook({2: ("Report", None), 4: HEADER, 5: (1, "a"), 7: ("x", "b"), 8: (None, None)})
    assert deliver(tmp_path, content, Excel(skip_lines=2), TWO) == ([(1, "a")], {7: "k: 'x' is not a whole number"})


def test_a_sheet_is_found_by_its_name(tmp_path: Path) -> None:
    content = build_workbook([HEADER, (1, "a")], sheet="Größen & Maße")
    assert deliver(tmp_path, content, Excel(sheet="Größen & Maße"), TWO).rows == [(1, "a")]
    (reason,) = deliver(tmp_path, content, Excel(sheet="Maße"), TWO).reasons.values()
    assert reason.endswith(
        "line/t/2024-03-01.xlsx · it has no sheet 'Maße'; sheets: Größen & Maße. Correct the file, or the sheet of the form."
    )


def test_a_wrong_header_is_described_by_the_names_of_the_file(tmp_path: Path) -> None:
    (reason,) = deliver(tmp_path, build_workbook([("k", "Wert"), (1, "a")]), Excel(), TWO).reasons.values()
    assert "'Wert (€)' is missing (renamed to 'Wert'?)" in reason
    (reason,) = deliver(tmp_path, build_workbook([(*HEADER, "k"), (1, "a", 2)]), Excel(), TWO).reasons.values()
    assert "'k' comes twice" in reason
    (reason,) = deliver(tmp_path, build_workbook([HEADER, (1, "a", "no name")]), Excel(), TWO).reasons.values()
    assert "'' is unknown" in reason
    assert deliver(tmp_path, build_workbook([(*HEADER, None), (1, "a", None)]), Excel(), TWO).rows == [(1, "a")]
    assert deliver(tmp_path, build_workbook([HEADER]), Excel(), TWO) == ([], {})
    assert "the file is empty" in deliver(tmp_path, build_workbook([]), Excel(), TWO).reasons[0]


WHOLE = build_workbook([HEADER, *((number, f"text {number}") for number in range(2000))])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is no readable workbook: File is not a zip file. It may be half a file: deliver it again"),
        (WHOLE[: len(WHOLE) // 2], "it is no readable workbook: File is not a zip file"),
        (b"k,v\n1,2\n", "it is no readable workbook: File is not a zip file"),
        (WHOLE[:2000] + b"\xff" * 500 + WHOLE[2500:], "deliver it again"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "it is a workbook with a password, or of before 2007; legal: .xlsx"),
    ],
)
def test_a_damaged_or_protected_workbook_is_one_clear_error(tmp_path: Path, content: bytes, problem: str) -> None:
    read = deliver(tmp_path, content, Excel(), TWO)
    assert (read.rows, [*read.reasons]) == ([], [0]) and problem in read.reasons[0]


def test_a_workbook_that_is_very_large_when_it_is_decompressed_is_one_clear_error(tmp_path: Path) -> None:
    content = build_workbook([HEADER, *((number, "a" * 5000) for number in range(1000))])
    read = deliver(tmp_path, content, Excel(), TWO, max_bytes=1_000_000)
    assert len(content) < 100_000 and "it has more than" in read.reasons[0] and "when it is decompressed" in read.reasons[0]


cells = st.tuples(
    st.none() | st.integers(-(10**15), 10**15),
    st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    st.none() | st.booleans(),
    st.none() | st.dates(date(1950, 1, 1), date(2199, 12, 31)),
    st.none() | st.integers(0, 10**8).map(lambda seconds: datetime(2020, 1, 1) + timedelta(seconds=seconds)),
    st.none() | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cn"]), min_size=1, max_size=8),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, max_size=6))
def test_what_is_in_the_cells_is_read_exactly(tmp_path_factory: pytest.TempPathFactory, written: list[Any]) -> None:
    types = ("int", "float", "bool", "date", "datetime", "string")
    content = build_workbook([("k", *types), *((key, *row) for key, row in enumerate(written))])
    declared = contract(column("k", "int"), *(column(f"{name}_", name, source=name) for name in types))
    read = deliver(tmp_path_factory.mktemp("home"), content, Excel(), declared)
    moments = [row[4] and row[4].replace(tzinfo=UTC) for row in written]
    assert read == ([(key, *row[:4], moments[key], row[5]) for key, row in enumerate(written)], {})


def test_dates_of_a_declared_form_and_date_cells_may_be_mixed(tmp_path: Path) -> None:
    form = Excel(date_format="%d.%m.%Y", datetime_format="%d.%m.%Y %H:%M", time_zone="Europe/Berlin")
    cells = [
        ("k", "day", "at"),
        (1, "29.02.2024", "01.07.2024 14:05"),
        (2, date(2024, 2, 29), datetime(2024, 7, 1, 14, 5)),
        (3, "02/29/24", "x"),
    ]
    declared = contract(column("k", "int"), column("on", "date", source="day"), column("at", "datetime"))
    read = deliver(tmp_path, build_workbook(cells), form, declared)
    assert [row[1:] for row in read.rows] == [(date(2024, 2, 29), datetime(2024, 7, 1, 12, 5, tzinfo=UTC))] * 2
    assert [*read.reasons] == [4]
