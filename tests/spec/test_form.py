"""Forms of files and fields of columns: an illegal declaration is refused when it is built."""

from collections.abc import Callable
from typing import Any

import pytest

from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv, Excel, JsonLines, Parquet
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import IllegalDeclaration


def column(dtype: Any, name: str = "x", **fields: Any) -> Column:
    return Column(name=name, dtype=dtype, description="x", **fields)


def contract(*columns: Column, **fields: Any) -> Contract:
    return Contract(table="t", description="x", columns=columns, unique=("x",), **fields)


CODECS = "names of Python's codecs, such as utf-8 or cp1252. Correct it."
DATE = "%Y or %y, %m or %b or %B or %j, %d or %j"
ILLEGAL: list[tuple[Callable[[], Any], str]] = [
    (lambda: Csv(delimiter=";;"), "Csv · delimiter · ';;'; legal: one character that is no letter, digit or sign. Correct it."),
    (lambda: Csv(delimiter=""), "Csv · delimiter · ''; legal: one character that is no letter, digit or sign. Correct it."),
    (lambda: Csv(delimiter="\n"), "Csv · delimiter · '\\n'; legal: one character that is no letter, digit or sign. Correct it."),
    (lambda: Csv(quote=""), "Csv · quote · ''; legal: one character that is no letter, digit or sign. Correct it."),
    (lambda: Csv(delimiter="'", quote="'"), "Csv · quote · \"'\" is the delimiter, too; legal: another one. Correct one of them."),
    (lambda: Csv(decimal=","), "Csv · decimal · ',' is the delimiter, too; legal: another one. Correct one of them."),
    (lambda: Csv(decimal="·"), "Csv · decimal · '·'; legal: '.' or ','. Correct it."),
    (lambda: Csv(thousands="."), "Csv · thousands · '.' is the decimal mark, too; legal: another one. Correct one of them."),
    (lambda: Csv(thousands="x"), "Csv · thousands · 'x'; legal: none, or one of . , ' _ and a space. Correct it."),
    (lambda: Csv(encoding="utf-9"), f"Csv · encoding · 'utf-9' is unknown; legal: {CODECS}"),
    (lambda: Csv(encoding="base64"), f"Csv · encoding · 'base64' is unknown; legal: {CODECS}"),
    (lambda: Csv(encoding="idna"), f"Csv · encoding · 'idna' is unknown; legal: {CODECS}"),
    (lambda: Csv(encoding=""), f"Csv · encoding · '' is unknown; legal: {CODECS}"),
    (lambda: Csv(skip_lines=-1), "Csv · skip_lines = -1 · Input should be greater than or equal to 0. Correct it."),
    (lambda: Csv(names=("a", "a")), "Csv · names · 'a' is declared twice. Keep one."),
    (lambda: Csv(missing=("NA", "NA")), "Csv · missing · 'NA' is declared twice. Keep one."),
    (lambda: Csv(time_zone="Berlin"), "Csv · time_zone = 'Berlin' · Input should be a time zone, such as UTC or Europe/Berlin. Correct it."),
    (lambda: Csv(doubled="both"), "Csv · doubled = 'both' · Input should be 'refuse', 'earlier' or 'later'. Correct it."),  # pyright: ignore[reportArgumentType]
    (lambda: Csv(date_format="%d.%m"), f"Csv · date_format · '%d.%m' has no %Y or %y; needed: {DATE}. Add it."),
    (lambda: Csv(date_format="dd.mm.yyyy"), f"Csv · date_format · 'dd.mm.yyyy' has no %Y or %y, no %m or %b or %B or %j, no %d or %j; needed: {DATE}. Add it."),
    (lambda: Csv(datetime_format="%Y-%m-%d"), f"Csv · datetime_format · '%Y-%m-%d' has no %H or %I, no %M; needed: {DATE}, %H or %I, %M. Add it."),
    (lambda: Csv(datetime_format="%Y-%m-%d %I:%M"), "Csv · datetime_format · '%Y-%m-%d %I:%M' has %I without %p, so that morning and evening are the same. Add it."),
    (lambda: Csv(datetime_format="%Q"), "Csv · datetime_format · '%Q' is no directive; legal: %Y, %y, %m, %d, %j, %b, %B, %H, %I, %M, %S, .%f, %p, %z. Correct it."),
    (lambda: Excel(date_format="%Y-%d-%m"), "Excel · date_format · '%Y-%d-%m' reads dates of typed cells, which are %Y-%m-%d, too. Deliver these columns as dates."),
    (lambda: Csv(sheet="a"), "Csv · field 'sheet' does not exist; legal: missing, date_format, datetime_format, time_zone, doubled, delimiter, quote, decimal, thousands, encoding, skip_lines, names. Remove or rename it."),  # pyright: ignore[reportCallIssue]
    (lambda: Parquet(delimiter=";"), "Parquet · field 'delimiter' does not exist; legal: missing, date_format, datetime_format, time_zone, doubled. Remove or rename it."),  # pyright: ignore[reportCallIssue]
    (lambda: JsonLines(encoding="cp1252"), "JsonLines · field 'encoding' does not exist; legal: missing, date_format, datetime_format, time_zone, doubled. Remove or rename it."),  # pyright: ignore[reportCallIssue]
    (lambda: Excel(sheet=""), "Excel · sheet = '' · String should have at least 1 character. Correct it."),
    (lambda: column("int", yes=("ja",), no=("nein",)), "x · Column · yes · 'x' is of type int; legal: bool. Leave it out, or change the type.\nx · Column · no · 'x' is of type int; legal: bool. Leave it out, or change the type."),
    (lambda: column("bool", yes=("ja",)), "x · Column · yes and no · only yes is declared; legal: both or neither. Declare the other."),
    (lambda: column("bool", yes=("J", "n"), no=("N",)), "x · Column · yes and no · 'n' is in both; legal: in one. Remove it from the other."),
    (lambda: column("decimal"), "x · Column · precision and scale · 'x' is a decimal without both; legal: such as precision=10, scale=2. Add them."),
    (lambda: column("decimal", precision=2, scale=3), "x · Column · scale is 3; legal: at most precision, which is 2. Lower it."),
    (lambda: column("decimal", precision=39, scale=3), "x · Column · precision = 39 · Input should be less than or equal to 38. Correct it."),
    (lambda: column("float", precision=9, scale=2), "x · Column · precision · 'x' is of type float; legal: decimal. Leave it out, or change the type.\nx · Column · scale · 'x' is of type float; legal: decimal. Leave it out, or change the type."),
    (lambda: column("date", min=1), "x · Column · min · 'x' is of type date; legal: int, float, decimal. Leave it out, or change the type."),
    (lambda: column("date", example="2024-02-30"), "x · Column · example · '2024-02-30' is no value of this column; legal: type date, within min, max and allowed. Correct it."),
    (lambda: column("decimal", precision=4, scale=2, example="1.005"), "x · Column · example · '1.005' is no value of this column; legal: type decimal, within min, max and allowed. Correct it."),
    (lambda: column("category", allowed=("a",), example="b"), "x · Column · example · 'b' is no value of this column; legal: type category, within min, max and allowed. Correct it."),
    (lambda: column("decimals"), "x · Column · dtype = 'decimals' · Input should be 'string', 'category', 'int', 'float', 'decimal', 'bool', 'datetime' or 'date'. Correct it."),
    (lambda: column("int", source=""), "x · Column · source = '' · String should have at least 1 character. Correct it."),
    (lambda: contract(column("int"), column("int", "y", source="x")), "t · Contract · source · 'x' is the name of two columns in the files. Correct one."),
    (lambda: contract(column("int", source="X 1"), dropped=("X 1",)), "t · Contract · former column 'X 1' is a column of the contract, or declared twice in dropped and renamed_from. Keep one."),
]  # fmt: skip


@pytest.mark.parametrize(("declare", "message"), ILLEGAL, ids=[message.replace("\n", " ")[:60] for _, message in ILLEGAL])
def test_an_illegal_declaration_is_refused_when_it_is_built(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(IllegalDeclaration) as refused:
        declare()
    assert str(refused.value) == message


def test_a_source_has_one_form_and_its_files_are_named_by_it() -> None:
    assert Files(table="t").form == Csv() and Files(table="t", form=Parquet()).form == Parquet()
    suffixes = [form.suffixes for form in (Csv(), JsonLines(), Parquet(), Excel())]
    assert suffixes == [(".csv", ".csv.gz", ".csv.zip"), (".jsonl", ".jsonl.gz", ".jsonl.zip"), (".parquet",), (".xlsx",)]


def test_examples_of_every_type_are_legal() -> None:
    assert column("decimal", precision=4, scale=2, min=0.1, example="0.10").example == "0.10"
    assert column("date", example="2024-02-29").example == "2024-02-29"
    assert column("int", min=2**53 + 1, example=2**53 + 1).min == 2**53 + 1
