"""CSV dialects: the declared marks mean what they mean, and nothing else is accepted."""

import csv
import gzip
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.form import Csv
from tests.ingestion.forms.delivered import column, contract, deliver

GERMAN = Csv(
    delimiter=";", decimal=",", thousands=".", encoding="cp1252", missing=("NA", "-"), date_format="%d.%m.%Y",
    datetime_format="%d.%m.%Y %H:%M", time_zone="Europe/Berlin",
)  # fmt: skip
GUESTS = contract(
    column("number", "int", source="Nr."),
    column("bill", "float", source="Rechnung €"),
    column("tip", "decimal", precision=8, scale=2, source="Trinkgeld"),
    column("smoker", "bool", source="Raucher?", yes=("ja", "J"), no=("nein",)),
    column("born", "date", source="Geb. am"),
    column("came", "datetime", source="Ankunft"),
    column("name", "string", source="Name des Gastes"),
)
HEADER = "Nr.;Rechnung €;Trinkgeld;Raucher?;Geb. am;Ankunft;Name des Gastes\r\n"


def german(tmp_path: Path, *lines: str, form: Csv = GERMAN) -> Any:
    return deliver(tmp_path, (HEADER + "".join(f"{line}\r\n" for line in lines)).encode("cp1252"), form, GUESTS)


def test_a_german_file_is_read_by_its_declaration(tmp_path: Path) -> None:
    read = german(tmp_path, '1;1.234,56;2,5;JA;07.02.1980;01.07.2013 14:05;"Müller; Jürgen"', "2;-;NA;nein;;;-")
    came = datetime(2013, 7, 1, 12, 5, tzinfo=UTC)
    assert read.rows == [
        (1, 1234.56, Decimal("2.50"), True, date(1980, 2, 7), came, "Müller; Jürgen"),
        (2, None, None, False, None, None, None),
    ]
    assert read.reasons == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1;1.5;;;;;", "bill: '1.5' is not a finite number"),
        ("1;12.34,5;;;;;", "bill: '12.34,5' is not a finite number"),
        ("1;1,234.56;;;;;", "bill: '1,234.56' is not a finite number"),
        ("1;1.234.56;;;;;", "bill: '1.234.56' is not a finite number"),
        ("1;1,2,3;;;;;", "bill: '1,2,3' is not a finite number"),
        ("1.5;;;;;;", "number: '1.5' is not a whole number"),
        ("1,0;;;;;;", "number: '1,0' is not a whole number"),
        ("1;;2,555;;;;", "tip: '2,555' is not a decimal number with 8 digits, 2 of them after the point"),
        ("1;;;yes;;;", "smoker: 'yes' is not one of ja, J, nein"),
        ("1;;;;1980-02-07;;", "born: '1980-02-07' is not a date of the form %d.%m.%Y"),
        ("1;;;;07.02.80;;", "born: '07.02.80' is not a date of the form %d.%m.%Y"),
        ("1;;;;31.02.1980;;", "born: '31.02.1980' is not a date of the form %d.%m.%Y"),
        ("1;;;; 07.02.1980;;", "born: ' 07.02.1980' is not a date of the form %d.%m.%Y"),
        ("1;;;;07.02.1880;;", "born: '07.02.1880' is not a date of the form %d.%m.%Y"),
        ("1;;;;;01.07.2013 14:05:00;", "came: '01.07.2013 14:05:00' is not a datetime of the form %d.%m.%Y %H:%M"),
        ("1;;;;;2013-07-01T14:05:00Z;", "came: '2013-07-01T14:05:00Z' is not a datetime of the form %d.%m.%Y %H:%M"),
        ("1;;;;;31.03.2013 02:30;", "came: '31.03.2013 02:30' is skipped by a clock change in Europe/Berlin"),
        (
            "1;;;;;27.10.2013 02:30;",
            "came: '27.10.2013 02:30' is repeated by a clock change in Europe/Berlin; declare doubled, or deliver offsets",
        ),
        ("1;;;;;\x81", "line holds bytes that are not CP1252 text"),
        ("1;2;3", "line has 3 of 7 fields"),
    ],
)
def test_a_value_that_is_illegal_in_the_dialect_is_refused_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    content = (HEADER + "7;;;;;;\r\n").encode("cp1252") + line.encode("latin-1" if "\x81" in line else "cp1252") + b"\r\n"
    content = content.replace(b";\x81", b";;\x81") if b"\x81" in content else content
    read = deliver(tmp_path, content, GERMAN, GUESTS)
    assert (len(read.rows), read.reasons) == (1, {3: reason})


def test_thousands_are_groups_of_three(tmp_path: Path) -> None:
    read = german(tmp_path, "1.234.567;12.345.678,9;;;;;", "-1.000;-1.000;;;;;", "+5;,5;;;;;", "12345;12345,6;;;;;")
    assert [row[:2] for row in read.rows] == [(1234567, 12345678.9), (-1000, -1000.0), (5, 0.5), (12345, 12345.6)]


def test_a_bare_word_is_accepted_only_where_it_is_declared(tmp_path: Path) -> None:
    assert [row[3] for row in german(tmp_path, "1;;;j;;;", "2;;;Nein;;;", "3;;;true;;;").rows] == [True, False, True]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (HEADER.replace("Raucher?", "raucher"), "'Raucher?' is missing (renamed to 'raucher'?)"),
        (HEADER.replace("Raucher?", "smoker"), "'Raucher?' is missing (renamed to 'smoker'?)"),
        (HEADER.replace("Name des Gastes", "Nr."), "'Name des Gastes' is missing"),
        (HEADER.replace("\r\n", ";Nr.\r\n"), "'Nr.' comes twice"),
        (HEADER.replace("\r\n", ";\r\n"), "'' is unknown"),
        (HEADER.replace(";", ","), "the columns are separated by a comma; legal: a semicolon"),
        (HEADER.replace(";", "\t"), "the columns are separated by a tab; legal: a semicolon"),
    ],
)
def test_a_wrong_header_is_described_by_the_names_of_the_file(tmp_path: Path, header: str, problem: str) -> None:
    read = deliver(tmp_path, header.encode("cp1252"), GERMAN, GUESTS)
    assert problem in read.reasons[0] and "expected Nr., Rechnung €, Trinkgeld" in read.reasons[0]


def test_a_wrong_encoding_is_one_clear_error(tmp_path: Path) -> None:
    as_utf_8 = deliver(tmp_path, HEADER.encode("cp1252"), GERMAN.but(encoding="utf-8"), GUESTS)
    assert "'Rechnung €' is missing (renamed to 'Rechnung \\\\x80'?)" in as_utf_8.reasons[0]
    cut = deliver(tmp_path, HEADER.encode("utf-16")[:-1], GERMAN.but(encoding="utf-16"), GUESTS)
    assert "it is not UTF-16 text" in cut.reasons[0] and "Correct the file, or its encoding" in cut.reasons[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig", "cp1252", "UTF_16_LE"])
def test_every_encoding_gives_the_same_rows(tmp_path: Path, encoding: str) -> None:
    content = (HEADER + "1;;;;;;Jürgen\r\n").encode(encoding)
    assert deliver(tmp_path, content, GERMAN.but(encoding=encoding), GUESTS).rows == [(1, *[None] * 5, "Jürgen")]


def test_lines_before_the_table_are_skipped_and_counted(tmp_path: Path) -> None:
    content = b'report "of\nthe day\nk,v\n1,a\n\nx,b\n'
    read = deliver(tmp_path, content, Csv(skip_lines=2), contract(column("k", "int"), column("v", "string")))
    assert (read.rows, read.reasons) == ([(1, "a")], {6: "k: 'x' is not a whole number"})


def test_a_file_without_a_header_has_the_declared_names(tmp_path: Path) -> None:
    form, declared = Csv(names=("v", "old", "k")), contract(column("k", "int"), column("v", "string"), dropped=("old",))
    assert deliver(tmp_path, b"a,,1\nb,,2\nc,3\n", form, declared) == ([(1, "a"), (2, "b")], {3: "line has 2 of 3 fields"})
    assert deliver(tmp_path, b"\n", form, declared) == ([], {})
    assert "the file is empty" in deliver(tmp_path, b"", form, declared).reasons[0]
    assert "'v' is missing" in deliver(tmp_path, b"1\n", Csv(names=("k",)), declared).reasons[0]


def test_columns_may_swap_their_names_and_a_dropped_one_may_have_the_name_of_another(tmp_path: Path) -> None:
    swapped = contract(column("a", "int", source="b"), column("b", "int", source="a"))
    assert deliver(tmp_path, b"a,b\n1,2\n", Csv(), swapped).rows == [(2, 1)]
    net = contract(column("amount", "int", source="net"), dropped=("amount",))
    assert deliver(tmp_path, b"amount,net\n1,2\n", Csv(), net).rows == [(2,)]
    assert "'net' is missing (renamed to 'amount'?)" in deliver(tmp_path, b"amount\n1\n", Csv(), net.but(dropped=())).reasons[0]
    former = contract(column("amount", "int", source="Net", renamed_from="sum"))
    assert deliver(tmp_path, b"sum\n1\n", Csv(), former).rows == deliver(tmp_path, b"Net\n1\n", Csv(), former).rows == [(1,)]


texts = st.text(st.characters(codec="cp1252", exclude_characters="\0\x81\x8d\x8f\x90\x9d"), max_size=8)
values = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.decimals(-999_999, 999_999, places=2),
    st.none() | st.booleans(),
    st.none() | st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    texts,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(values, max_size=5), st.sampled_from(";|\t~"), st.sampled_from("\"'"), st.sampled_from(["", ".", " "]),
    st.sampled_from(["cp1252", "utf-8", "utf-16"]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)  # fmt: skip
def test_what_another_library_writes_in_any_dialect_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    delimiter: str,
    quote: str,
    thousands: str,
    encoding: str,
    quoting: Any,
) -> None:
    form = Csv(
        delimiter=delimiter,
        quote=quote,
        decimal=",",
        thousands=thousands,
        encoding=encoding,
        date_format="%d/%m/%Y",
        missing=("?",),
    )
    columns = [
        column("key", "int", nullable=False), column("i", "int"), column("f", "float"), column("d", "decimal", precision=8, scale=2),
        column("b", "bool", yes=("oui",), no=("non",)), column("day", "date", source="le jour"), column("t", "string"),
    ]  # fmt: skip
    columns[5] = columns[5].but(name="le_jour")

    def number(value: Any) -> str:
        whole, point, rest = (f"{value:f}" if isinstance(value, Decimal) else repr(value)).partition(".")
        grouped = f"{int(whole):,}".replace(",", thousands) if thousands and "e" not in whole and whole != "-0" else whole
        return grouped + ("," if point else "") + rest

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "Oui" if value else "NON"
        if isinstance(value, date):
            return f"{value.day:02}/{value.month:02}/{value.year}"
        return "?" if value is None else number(value)

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator="\r\n")
    writer.writerow([column.header for column in columns])
    writer.writerows([str(key), *map(text, row[:5]), row[5]] for key, row in enumerate(rows))
    read = deliver(tmp_path_factory.mktemp("home"), buffer.getvalue().encode(encoding), form, contract(*columns))
    expected = [(key, *row[:5], None if row[5] in ("", "?") else row[5]) for key, row in enumerate(rows)]
    assert read == (expected, {})


@pytest.mark.parametrize(
    ("content", "form", "kind", "encoding"),
    [
        (b"PAR1\x15\x04", Csv(), "a Parquet file", "UTF-8"),
        (gzip.compress(b"number\n1\n", mtime=0), Csv(), "compressed once more than its name says", "UTF-8"),
        ("number\n1\n".encode("utf-16"), Csv(), "UTF-16 text", "UTF-8"),
        ("\ufeffnumber\n1\n".encode(), Csv(encoding="utf-16"), "UTF-8 text", "UTF-16"),
        ("number\n1\n".encode("utf-32"), Csv(encoding="utf-16"), "UTF-32 text", "UTF-16"),
    ],
    ids=["parquet", "gzip", "utf-16", "utf-8", "utf-32"],
)
def test_a_file_of_another_kind_is_one_clear_error(tmp_path: Path, content: bytes, form: Csv, kind: str, encoding: str) -> None:
    read = deliver(tmp_path, content, form, contract(column("number", "int")))
    assert not read.rows
    legal = f"legal: {encoding} text, as the form of .csv files is declared. Deliver that, or declare another form"
    assert read.reasons == {0: f"line/t/2024-03-01.csv · it is {kind}; {legal}."}
