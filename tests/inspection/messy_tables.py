"""Tables as people export them: the file, and what is known about it."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from tests.ingestion.forms.workbook import Cell, build_workbook

Row = list[str]
FIRST = datetime(2013, 1, 1, 6, 5)


def rows(count: int = 200, seed: int = 1) -> Iterator[dict[str, str]]:
    """A clean table: number, moment, day, number with a point, whole number, class, label."""
    random_of = random.Random(seed)
    for number in range(count):
        amount, colour = random_of.gauss(50, 10), random_of.choice(["red", "green", "blue"])
        moment = FIRST + timedelta(hours=17 * number)
        yield {
            "id": str(1000 + 3 * number), "moment": f"{moment:%Y-%m-%d %H:%M}", "amount": f"{amount:.2f}",
            "age": str(random_of.randint(18, 90)), "colour": colour,
            "churn": "yes" if amount + random_of.gauss(0, 5) > 52 else "no",
        }  # fmt: skip


def text(lines: Sequence[Row], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(line) + end for line in lines)


def lines(
    count: int = 200,
    *,
    without: Sequence[str] = (),
    header: Sequence[str] | None = None,
    **changed: Callable[[dict[str, str]], str],
) -> list[Row]:
    """The header and the rows, with changed or further columns."""
    table = [{**row, **{name: change(row) for name, change in changed.items()}} for row in rows(count)]
    names = [name for name in table[0] if name not in without]
    return [[*(header or names)], *([row[name] for name in names] for row in table)]


def csv(*arguments: int, delimiter: str = ",", encoding: str = "utf-8", **changes: object) -> bytes:
    return text(lines(*arguments, **changes), delimiter).encode(encoding)  # type: ignore[arg-type]


def day(row: dict[str, str], layout: str) -> str:
    return f"{datetime.fromisoformat(row['moment']):{layout}}"


def place(row: dict[str, str]) -> int:
    return (int(row["id"]) - 1000) // 3


def german() -> bytes:
    """Semicolon, decimal comma, a byte order mark, umlauts and blanks in names, yes and no, large numbers, 30% missing."""
    table = lines(
        header=["Kunden Nr", "Zeitpunkt", "Größe (m²)", "Alter", "Farbe", "Gekündigt?", "Land"],
        id=lambda row: str(2**53 + 3 * int(row["id"])), moment=lambda row: day(row, "%d.%m.%Y %H:%M"),
        amount=lambda row: "" if place(row) % 10 < 3 else row["amount"].replace(".", ","),
        churn=lambda row: {"yes": "ja", "no": "nein"}[row["churn"]], country=lambda _: "DE",
    )  # fmt: skip
    return text(table, ";").encode("utf-8-sig")


def leaves(row: dict[str, str]) -> bool:
    return float(row["amount"]) + random.Random(int(row["id"])).gauss(0, 12) > 52


def leaking() -> bytes:
    """As `german`, with more rows and what is known only once the customer has left."""
    table = lines(
        600, header=["Kunden Nr", "Zeitpunkt", "Größe (m²)", "Alter", "Farbe", "Gekündigt?", "Land", "Kündigungs Grund"],
        id=lambda row: str(2**53 + 3 * int(row["id"])), moment=lambda row: day(row, "%d.%m.%Y %H:%M"),
        amount=lambda row: "" if place(row) % 10 < 3 else row["amount"].replace(".", ","),
        churn=lambda row: "ja" if leaves(row) else "nein", country=lambda _: "DE",
        reason=lambda row: "Preis" if leaves(row) else "keiner",
    )  # fmt: skip
    return text(table, ";").encode("utf-8-sig")


def by_day() -> bytes:
    """One row a day: a number to be predicted."""
    days = [FIRST + timedelta(days=number) for number in range(250)]
    table = [
        [f"{one:%Y-%m-%d}", str(20 + one.weekday()), f"{100 + 10 * one.weekday() + number % 47}"]
        for number, one in enumerate(days)
    ]
    return text([["date", "temperature", "demand"], *table]).encode()


def three_forms() -> bytes:
    """One column has days in three forms."""
    forms = ("%d.%m.%Y", "%m/%d/%Y", "%d %b %Y")
    return csv(signed=lambda row: day(row, forms[place(row) % 3]))


def million_categories() -> bytes:
    rng, count = np.random.default_rng(1), 1_000_000
    amount, codes = rng.normal(50, 10, count).round(2), np.concatenate([np.arange(count), np.arange(count // 10)])
    amount = np.concatenate([amount, amount[: count // 10]])
    return pl.DataFrame({
        "id": np.arange(len(codes)), "amount": amount, "code": "c" + pl.Series(rng.permutation(codes)).cast(pl.String),
        "churn": np.where(amount + rng.normal(0, 12, len(codes)) > 52, "yes", "no"),
    }).write_csv().encode()  # fmt: skip


def imbalanced() -> bytes:
    return csv(
        600,
        churn=lambda row: "fraud" if float(row["amount"]) > 66 - 8 * (row["colour"] == "red") else "regular",
        without=["moment"],
    )


def wide() -> bytes:
    random_of = random.Random(2)
    names = [f"sensor {number}" for number in range(398)]
    table = [[row["id"], *(f"{random_of.gauss(0, 1):.3f}" for _ in names), row["churn"]] for row in rows(60)]
    return text([["id", *names, "churn"], *table]).encode()


def parquet(**columns: pl.Series) -> bytes:
    buffer = io.BytesIO()
    frame = pl.read_csv(csv()).with_columns(**columns)
    frame.with_columns(pl.col("moment").str.to_datetime("%Y-%m-%d %H:%M")).write_parquet(buffer)
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("export.csv", content)
    return buffer.getvalue()


def workbook() -> bytes:
    """With a title above the table, which begins in its third row."""
    header, *table = lines(without=["moment"])
    cells: list[tuple[Cell, ...]] = [(int(one), float(two), int(three), *rest) for one, two, three, *rest in table]
    return build_workbook({1: ("Export of the shop", *[None] * 4), 3: tuple(header), **dict(enumerate(cells, start=4))})


def json_lines() -> bytes:
    return "".join(json.dumps({**row, "age": int(row["age"]), "note": None}) + "\n" for row in rows()).encode()


CLEAN: dict[str, tuple[str, bytes, list[str]]] = {
    "plain": ("plain.csv", csv(), []),
    "german": ("kunden.csv", german(), []),
    "by day": ("demand.csv", by_day(), []),
    "imbalanced text": ("fraud.csv", imbalanced(), ["--label", "churn"]),
    "windows lines": ("windows.csv", text(lines(), end="\r\n").encode(), []),
    "utf-16": ("utf16.csv", csv(colour=lambda row: {"red": "größer"}.get(row["colour"], "x"), encoding="utf-16"), []),
    "utf-16 without a mark": ("utf16le.csv", csv(encoding="utf-16-le"), []),
    "latin-1": ("latin.csv", csv(colour=lambda row: {"red": "größer"}.get(row["colour"], "x"), encoding="cp1252"), []),
    "tab": ("table.tsv", csv(delimiter="\t"), []),
    "vertical bar": ("bar.txt", csv(delimiter="|"), []),
    "gzip": ("zipped.csv.gz", gzip.compress(csv()), []),
    "gzip without its suffix": ("zipped.csv", gzip.compress(csv()), []),
    "zip": ("zipped.zip", zipped(csv()), []),
    "parquet named csv": ("named.csv", parquet(vip=pl.Series([True, False] * 100)), ["--label", "churn"]),
    "true and false": ("bool.csv", csv(colour=lambda row: str(row["colour"] == "red")), []),
    "csv named parquet": ("named.parquet", csv(), []),
    "json lines": ("lines.jsonl", json_lines(), []),
    "excel": ("sheet.xlsx", workbook(), ["--label", "churn"]),
    "titles above": ("titles.csv", b"Export of the shop\n\n" + csv(), []),
    "no header": ("bare.csv", text(lines()[1:]).encode(), ["--label", "column_6"]),
    "names that are places": ("places.csv", csv(header=[*"012345"]), []),
    "infinite numbers": ("inf.csv", csv(amount=lambda row: "inf" if place(row) % 9 == 0 else row["amount"], age=lambda row: "#DIV/0!" if place(row) % 8 == 0 else row["age"]), []),
    "names twice and none": ("twice.csv", csv(header=["id", "moment", "amount", "amount", "", "churn"]), []),
    "column of blanks at the end": ("end.csv", text([[*row, ""] for row in lines()]).encode(), ["--label", "churn"]),
    "any names": ("names.csv", csv(header=["2nd id", "class", "day", "Émigré %", "数", "churn"]), []),
    "a column without values": ("empty.csv", csv(note=lambda _: ""), ["--label", "churn"]),
    "missing in words": ("na.csv", csv(amount=lambda row: "NA" if place(row) % 3 == 0 else row["amount"], age=lambda row: "?" if place(row) % 4 == 0 else row["age"]), []),
    "thousands": ("thousands.csv", csv(delimiter=";", amount=lambda row: f"1.{place(row):03},{row['amount'][-2:]}"), []),
    "zeros in front": ("zeros.csv", csv(age=lambda row: f"0{row['age']}"), []),
    "beyond 2^63": ("large.csv", csv(id=lambda row: f"98765432109876543{row['id']}"), []),
    "dates in three forms": ("dates.csv", csv(one=lambda row: day(row, "%d.%m.%Y"), two=lambda row: day(row, "%m/%d/%Y"), three=lambda row: day(row, "%d %b %Y")), ["--label", "churn"]),
    "mixed types": ("mixed.csv", csv(age=lambda row: ["12", "twelve", "1e2", "", "2013-01-01"][place(row) % 5]), []),
    "many categories": ("many.csv", csv(3000, colour=lambda row: f"c{place(row) * 7919 % 1500}"), []),
    "free text": ("text.csv", csv(note=lambda row: f"The customer {row['id']} wrote a long letter about colour {row['colour']}"), ["--label", "churn"]),
    "personal data": ("people.csv", csv(email=lambda row: f"p{row['id']}@example.com", birth=lambda row: day(row, "%Y-%m-%d")), ["--label", "churn"]),
    "400 columns": ("wide.csv", wide(), []),
    "no identifier": ("noid.csv", csv(without=["id", "moment"]), []),
    "rows alike": ("alike.csv", csv(without=["id", "moment", "amount", "age"]), []),
    "blanks between": ("blanks.txt", text(lines(without=["moment"]), " ").encode(), []),
    "quoted": ("quoted.csv", "".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in lines(colour=lambda row: f"{row['colour']}, light\nor dark")).encode(), []),
    "three classes": ("classes.csv", csv(churn=lambda row: row["colour"][:2]), []),
    "numbers of classes": ("grades.csv", csv(churn=lambda row: str(1 + place(row) % 5)), []),
}  # fmt: skip

QUARANTINED: dict[str, tuple[str, bytes, list[str], int]] = {
    "misspelt labels": ("typos.csv", csv(400, churn=lambda row: {0: "Yes", 1: "noo", 2: "yess"}.get(place(row), row["churn"])), [], 3),
    "wrong numbers": ("wrong.csv", csv(300, age=lambda row: "old" if place(row) == 7 else row["age"]), [], 1),
    "rows twice": ("again.csv", csv() + text(lines()[1:2]).encode(), ["--key", "id"], 1),
}  # fmt: skip

REFUSED: dict[str, tuple[str, bytes, list[str], str]] = {
    "empty": ("t.csv", b"", [], "t.csv · it is empty. Export it again."),
    "blank": ("t.csv", b"\n\n  \n", [], "t.csv · it is empty. Export it again."),
    "header alone": ("t.csv", b"id,churn\n", [], "t.csv · it has a header, and no row; a model needs some hundred. Name a file with more rows."),
    "one row": ("t.csv", b"id,churn\n1,yes\n", [], "t.csv · it has one row alone; a model needs some hundred. Name a file with more rows."),
    "one column": ("t.csv", b"id\n1\n2\n", [], "t.csv · it has the columns id; legal: two or more, one of them the label. Export it as a table."),
    "a page": ("t.csv", b"<!DOCTYPE html><html></html>", [], "t.csv · it is a page of HTML or XML; legal: CSV, Parquet, JSON lines or Excel. Download the file itself."),
    "avro": ("t.parquet", b"Obj\x01abc", [], "t.parquet · it is an Avro file; legal: CSV, Parquet, JSON lines or Excel. Export it as one of these."),
    "image": ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(99), [], "t.csv · it is an image; legal: CSV, Parquet, JSON lines or Excel. Export it as one of these."),
    "one long line": ("t.csv", b"a" * 999, [], f"t.csv · it has the columns {'a' * 200}…; legal: two or more, one of them the label. Export it as a table."),
    "json array": ("t.json", b'[{"a": 1}]', [], "t.json · it is one JSON array; legal: CSV, Parquet, JSON lines or Excel. Convert it with: jq -c '.[]' FILE > FILE.jsonl."),
    "half a parquet file": ("t.parquet", parquet()[:900], [], "t.parquet · it is no readable Parquet file: "),
    "two members": ("t.zip", zipped(csv())[:200], [], "t.zip · it is no readable zip file: "),
    "unknown label": ("t.csv", csv(), ["--label", "chrun"], "--label · 'chrun' is no column of the file; columns: id, moment, amount, age, colour, churn. Is it 'churn'?"),
    "constant label": ("t.csv", csv(churn=lambda _: "no"), ["--label", "churn"], "--label · 'churn' has the same value in every row, so there is nothing to predict. Name another column."),
    "label without values": ("t.csv", csv(churn=lambda _: ""), ["--label", "churn"], "--label · 'churn' has no value in any row. Name another column, or a file with known outcomes."),
    "label of texts": ("t.csv", csv(churn=lambda row: f"x{row['id']}"), ["--label", "churn"], "--label · 'churn' is text with 200 different values; legal: at most 50 classes. Name another column."),
    "label of days": ("t.csv", csv(), ["--label", "moment"], "--label · 'moment' is a day or a moment; legal: yes or no, classes, or numbers. Name another column."),
    "unknown task": ("t.csv", csv(), ["--task", "ranking"], "--task · found 'ranking'; legal: binary, multiclass, regression. Use one of these."),
    "regression of text": ("t.csv", csv(), ["--label", "colour", "--task", "regression"], "--task · 'colour' is of type string, and regression needs numbers. Use another task."),
    "time of text": ("t.csv", csv(), ["--time", "colour"], "--time · 'colour' is of type string; legal: days or moments, all written in one form, or none. Name another column, or correct it."),
    "nothing to learn from": ("t.csv", csv(without=["moment", "amount", "age", "colour"]), [], "the file has no column to learn from besides label, key and time. Add columns, or name another --label."),
    "only missing": ("t.csv", text([["a", "b"], *[["", "NA"]] * 30]).encode(), [], "--label · no column can be a label: all are constant, empty, identifiers or days. Name one with --label."),
    "header of another file": ("t.csv", b"a,b\n" + csv(), [], "t.csv · no row can be read; the header has 2 names, and line 2: line has 6 of 2 fields. Correct the file."),
}  # fmt: skip
