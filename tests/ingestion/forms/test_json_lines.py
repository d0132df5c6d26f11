"""JSON lines: every line is a row or is quarantined with its number; a number keeps its digits."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.form import JsonLines
from tests.ingestion.forms.delivered import Delivered, column, contract, deliver

CONTRACT = contract(
    column("k", "int", nullable=False), column("f", "float"), column("s", "string", source="Name (de)"), column("b", "bool"),
    column("d", "decimal", precision=30, scale=4), column("at", "datetime"), column("on", "date", source="day"),
    dropped=("old",),
)  # fmt: skip


def read(tmp_path: Path, *lines: str, end: str = "\n", form: JsonLines | None = None) -> Delivered:
    content = "\n".join(lines) + end
    return deliver(tmp_path, content.encode("utf-8", "surrogateescape"), form or JsonLines(), CONTRACT)


def test_values_keep_their_digits(tmp_path: Path) -> None:
    result = read(
        tmp_path,
        '{"k": 9007199254740993, "f": 0.30000000000000004, "d": 12345678901234567890.1234, "old": [1]}',
        '{"k": 2, "b": true, "Name (de)": "007", "day": "2024-02-29", "at": "2024-03-01T10:30:00Z"}',
    )
    assert result.reasons == {}
    assert result.rows == [
        (2**53 + 1, 0.1 + 0.2, None, None, Decimal("12345678901234567890.1234"), None, None),
        (2, None, "007", True, None, datetime(2024, 3, 1, 10, 30, tzinfo=UTC), date(2024, 2, 29)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"k": 1', "line is not a JSON object: Expecting"),
        ("[1]", "line is not a JSON object"),
        ("1", "line is not a JSON object"),
        ('"a"', "line is not a JSON object"),
        ('{"k": 1} {"k": 2}', "line is not a JSON object: Extra data"),
        ('{"k": 1, "k": 2}', "line has the key 'k' twice"),
        ('{"k": 1, "s2": "a"}', "line has the unknown column s2"),
        ('{"k": 1, "f": [1]}', "line has a nested value in 'f'"),
        ('{"k": 1, "f": {}}', "line has a nested value in 'f'"),
        ('{"k": 1, "Name (de)": "a\\ud800"}', "line holds characters that are no text"),
        ('{"k": 1, "Name (de)": "a\\u0000"}', "line holds characters that are no text"),
        ('{"k": 1, "Name (de)": "\udcff"}', "line holds bytes that are not UTF-8 text"),
        ("[" * 100_000, "line is not a JSON object"),
        ('{"k": 1.5}', "k: '1.5' is not a whole number"),
        ('{"k": 1e3}', "k: '1e3' is not a whole number"),
        ('{"k": 9223372036854775808}', "k: '9223372036854775808' is not a whole number"),
        ('{"k": 1, "f": NaN}', "f: 'NaN' is not a finite number"),
        ('{"k": 1, "f": 1e400}', "f: '1e400' is not a finite number"),
        ('{"k": 1, "b": 1}', "b: '1' is not true or false"),
        ('{"k": true}', "k: 'true' is not a whole number"),
        ('{"k": 1, "d": 0.00005}', "d: '0.00005' is not a decimal number"),
        ("{}", "k: missing"),
        ('{"k": null}', "k: missing"),
    ],
)
def test_a_bad_line_is_quarantined_and_hides_no_other(tmp_path: Path, line: str, reason: str) -> None:
    result = read(tmp_path, '{"k": 7}', "", line, '{"k": 8}')
    assert [row[0] for row in result.rows] == [7, 8]
    assert [*result.reasons] == [3] and result.reasons[3].startswith(reason), result.reasons


def test_a_last_line_without_an_end_is_a_row_if_it_is_whole(tmp_path: Path) -> None:
    assert len(read(tmp_path, '{"k": 1}', end="").rows) == 1
    assert [*read(tmp_path, '{"k": 1}', '{"k": 2', end="").reasons] == [2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b'{"key": 1}\n{"key": 2}\n', "'k' is missing (renamed to 'key'?)"),
        (b'{"k": 1, "x": 1}\n{"k": 2, "x": 1}\n', "'x' is unknown"),
        (b"k,f\n1,2\n", "no line is a JSON object; the first is not a JSON object: Expecting value"),
        (b"PAR1\0\xff", "it is a Parquet file; legal: UTF-8 text, as the form of .jsonl files is declared"),
    ],
)
def test_a_file_that_no_row_can_be_read_of_is_one_clear_error(tmp_path: Path, content: bytes, problem: str) -> None:
    result = deliver(tmp_path, content, JsonLines(), CONTRACT)
    assert (result.rows, [*result.reasons]) == ([], [0])
    assert "line/t/2024-03-01.jsonl · " in result.reasons[0] and problem in result.reasons[0]


def test_a_blank_line_is_a_day_without_rows(tmp_path: Path) -> None:
    assert deliver(tmp_path, b"\n", JsonLines(), CONTRACT) == ([], {})


def test_source_names_may_be_those_of_the_platform(tmp_path: Path) -> None:
    declared = contract(
        column("k", "int", source="problem"), column("text", "string", source="source_line"), column("x", "string", source="text")
    )
    assert deliver(tmp_path, b'{"problem": 1, "source_line": "a", "text": "b"}\n', JsonLines(), declared).rows == [(1, "a", "b")]


rows = st.fixed_dictionaries(
    {"k": st.integers(-(2**63), 2**63 - 1)},
    optional={
        "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "Name (de)": st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
        "b": st.none() | st.booleans(),
        "d": st.none() | st.decimals(-1000, 1000, places=4).map(str),
        "day": st.none() | st.dates(date(1900, 1, 1), date(2199, 12, 31)).map(str),
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, max_size=6, unique_by=lambda row: row["k"]), st.booleans())
def test_what_json_writes_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], ascii_only: bool
) -> None:
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in written) or "\n"
    result = deliver(tmp_path_factory.mktemp("home"), content.encode(), JsonLines(), CONTRACT)
    expected = [
        (
            row["k"], row.get("f"), row.get("Name (de)") or None, row.get("b"), Decimal(row["d"]) if row.get("d") else None, None,
            date.fromisoformat(row["day"]) if row.get("day") else None,
        )
        for row in written
    ]  # fmt: skip
    assert (result.rows, result.reasons) == (expected, {})
