"""Whole files as other systems write them, at the edges of the format: what is accepted of each, and why the rest is not."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Column, Contract

DAY, TEN = date(2024, 3, 1), datetime(2024, 3, 1, 10, tzinfo=UTC)


def optional(name: str, dtype: DType) -> Column:
    return Column(name=name, dtype=dtype, nullable=True, description="x")


CONTRACT = Contract(
    table="t",
    description="x",
    columns=(
        Column(name="k", dtype="int", description="x"),
        optional("s", "string"), optional("f", "float"), optional("b", "bool"), optional("at", "datetime"),
    ),
    unique=("k",),
)  # fmt: skip
HEADER, ROW, ROWS = "k,s,f,b,at\n", "1,a,1,true,\n", [(1, "a", 1.0, True, None)]
EMPTY, NO_ROWS = "the file is empty", list[Any]()
FILES: dict[str, tuple[str | bytes, list[tuple[Any, ...]], list[str]]] = {
    "a byte order mark": (b"\xef\xbb\xbf" + (HEADER + ROW).encode(), ROWS, []),
    "a byte order mark before a quote": (b"\xef\xbb\xbf" + ('"k",s,f,b,at\n' + ROW).encode(), ROWS, []),
    "two byte order marks": (2 * b"\xef\xbb\xbf" + (HEADER + ROW).encode(), NO_ROWS, ["'k' is missing"]),
    "UTF-16": ((HEADER + ROW).encode("utf-16"), NO_ROWS, ["it is UTF-16 text; legal: UTF-8 text"]),
    "Windows line ends": ((HEADER + ROW).replace("\n", "\r\n"), ROWS, []),
    "old line ends": ((HEADER + ROW).replace("\n", "\r"), ROWS, []),
    "blank lines alone": ("\n\r\n\n", NO_ROWS, [EMPTY]),
    "nothing": ("", NO_ROWS, [EMPTY]),
    "spaces alone": ("  \n", NO_ROWS, ["'k' is missing"]),
    "a header alone": (HEADER, NO_ROWS, []),
    "a header and blank lines": (HEADER + "\n\r\n", NO_ROWS, []),
    "a header without a line end": (HEADER.strip(), NO_ROWS, ["the header is cut off by the end of the file (no line end)"]),
    "a header that is cut off": (HEADER[:6], NO_ROWS, ["'b' is missing"]),
    "a last row without a line end": (HEADER + ROW + "2,b", ROWS, ["line has 2 of 5 fields"]),
    "a last row that only lacks its line end": (HEADER + ROW + "2,b,,,", ROWS, ["line is cut off by the end of the file"]),
    "blank lines before the header": ("\n\r\n" + HEADER + ROW, ROWS, []),
    "a comment before the header": ("# made by x\n" + HEADER + ROW, NO_ROWS, ["'# made by x' is unknown"]),
    "the header twice": (HEADER + ROW + HEADER, ROWS, ["k: 'k' is not a whole number"]),
    "another order": ("at,b,f,s,k\n,true,1,a,1\n", ROWS, []),
    "a column twice": ("k,s,s,f,b,at\n1,a,b,1,true,\n", NO_ROWS, ["'s' comes twice"]),
    "a trailing separator in each line": ("k,s,f,b,at,\n1,a,1,true,,\n", NO_ROWS, ["'' is unknown"]),
    "a trailing separator in rows": (HEADER + "1,a,1,true,,\n", NO_ROWS, ["line has 6 of 5 fields"]),
    "spaces in the header": ("k, s,f,b,at\n" + ROW, NO_ROWS, ["'s' is missing (renamed to ' s'?)"]),
    "a quoted line end": (HEADER + '1,"a\nb",1,true,\n', [(1, "a\nb", 1.0, True, None)], []),
    "a quoted empty value": (HEADER + '1,"",1,true,\n', [(1, None, 1.0, True, None)], []),
    "a quote that never closes": (HEADER + '2,"a,1,true,\n' + ROW, ROWS, ["line has a quote that does not close a value"]),
    "a zero byte": (HEADER + "2,a\0b,,,\n" + ROW, ROWS, ["line holds bytes that are not UTF-8 text"]),
    "Latin-1": (HEADER.encode() + b"2,\xe9,,,\n" + ROW.encode(), ROWS, ["line holds bytes that are not UTF-8 text"]),
    "the end mark of DOS": (HEADER + ROW + "\x1a", ROWS, ["line has 1 of 5 fields"]),
    "a key twice": (HEADER + ROW + "1,b,,,\n", ROWS, ["duplicate of key (k)"]),
    "a key twice, the first with a fault": (HEADER + "1,a,x,,\n" + ROW, ROWS, ["f: 'x' is not a finite number"]),
    "no key": (HEADER + ROW + ",a,,,\n,a,,,\n", ROWS, ["k: missing", "k: missing"]),
}


def read(tmp_path: Path, content: str | bytes) -> tuple[list[tuple[Any, ...]], list[str]]:
    landing = Landing(tmp_path)
    path = landing.path("line", "t", DAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    split = split_rows(landing.read("line", CONTRACT, [DAY], required=True), CONTRACT)
    return split.accepted.drop("day").rows(), split.quarantined["reasons"].to_list()


@pytest.mark.parametrize(("content", "accepted", "reasons"), FILES.values(), ids=[*FILES])
def test_a_file_at_the_edge_of_the_format(
    tmp_path: Path, content: str | bytes, accepted: list[tuple[Any, ...]], reasons: list[str]
) -> None:
    rows, refused = read(tmp_path, content)
    assert rows == accepted and len(refused) == len(reasons)
    assert all(reason in message for reason, message in zip(reasons, refused, strict=True)), refused


BIG = 2**53 + 1
VALUES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "k": (
        {str(BIG): BIG, str(2**63 - 1): 2**63 - 1, str(-(2**63)): -(2**63), "+2": 2, "007": 7, "-0": 0},
        [str(2**63), "1.0", "1e3", " 3", "3 ", "0x10", "1_000", "--5", "\u0663", "NaN", "NA", "null"],
    ),
    "f": (
        {str(BIG): float(BIG - 1), ".5": 0.5, "5.": 5.0, "+1.5": 1.5, "-0.0": 0.0, "1E2": 100.0, "": None},
        ["NaN", "nan", "NA", "null", "inf", "-Infinity", "1e400", " 1", "1_0", "1d5", '"1,5"', "-"],
    ),
    "b": ({"TRUE": True, "False": False, "": None}, ["1", "0", "yes", "t", " true", "NA", "NaN"]),
    "s": ({"NaN": "NaN", "NA": "NA", "null": "null", " ": " ", "": None, "\u2028": "\u2028", "=1+1": "=1+1"}, []),
    "at": (
        {
            "2024-03-01T10:00:00": TEN, "2024-03-01T11:00:00+01:00": TEN, "2024-03-01 10:00:00Z": TEN, "2024-03-01T10:00Z": TEN,
            "2024-03-01T10:00:00.5Z": TEN.replace(microsecond=500_000), "": None,
        },
        [
            "2024-03-01", "2024-03-01T24:00:00Z", "2024-02-30T00:00:00Z", "2024-03-01T10:00:60Z", "1709287200", "NaN",
            "2024-03-01T10:00:00.123456789Z", "9999-12-31T23:59:59Z", "2024-03-01T10:00:00+0100", "2024-03-01T10:00:00Z ",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("column", VALUES)
def test_a_value_is_exact_or_its_row_is_refused(tmp_path: Path, column: str) -> None:
    exact, refused = VALUES[column]
    lines = [
        ",".join(text if name == column else str(100 + number) if name == "k" else "" for name in CONTRACT.names)
        for number, text in enumerate([*exact, *refused])
    ]
    rows, reasons = read(tmp_path, "\n".join([HEADER.strip(), *lines, ""]))
    assert [row[CONTRACT.names.index(column)] for row in rows] == [*exact.values()]
    assert len(reasons) == len(refused)
    assert all(f"{column}: '{text.strip(chr(34))}' is " in reason for text, reason in zip(refused, reasons, strict=True))
