"""A subject's rows are removed from delivered files of every form, and the other rows stay."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_assets.erasure.landed_files import erase_from_file
from mlops_assets.erasure.stores import erase_from_landing, find_strays
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv, Excel, Form, JsonLines, Parquet
from tests.erasure.shop import SHOP
from tests.erasure.subjects import build_subject
from tests.ingestion.forms.workbook import build_workbook

ORDERS = Contract(
    table="orders",
    description="Orders.",
    columns=(
        Column(name="who", dtype="string", description="The customer.", identifies="customer", source="Kunde"),
        Column(name="what", dtype="string", description="The thing.", source="Größe"),
    ),
    unique=("who",),
)
Q7 = build_subject("q7", "who")


def erase(content: bytes, form: Form, name: str = "2024-01-01.any") -> tuple[bytes, int]:
    kept = erase_from_file(content, name, form, ORDERS, Q7)
    assert kept is not None
    return kept


def parquet(**columns: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def test_other_lines_of_a_dialect_stay_byte_for_byte() -> None:
    form = Csv(delimiter=";", encoding="cp1252", skip_lines=1)
    lines = [b"Stand: 1.1.\r\n", "Größe;Kunde\r\n".encode("cp1252"), b"a\x81;b\r\n", b"a;q7\r\n", b'"q7;\r\nx";b\r\n']
    assert erase(b"".join(lines), form) == (b"".join([*lines[:3], lines[4]]), 1)
    assert erase(b"a;q7\nb;c\n", Csv(delimiter=";", names=("Größe", "Kunde"))) == (b"b;c\n", 1)
    text = "Größe,Kunde\na,q7\nb,c\n".encode("utf-16")
    assert erase(text, Csv(encoding="utf-16"))[0].decode("utf-16") == "Größe,Kunde\nb,c\n"
    assert erase(b"from q7\nKunde,Gr\xc3\xb6\xc3\x9fe\n", Csv(skip_lines=1))[1] == 1


def test_compressed_files_are_compressed_again() -> None:
    plain, kept = "Kunde,Größe\nq7,a\nb,c\n".encode(), "Kunde,Größe\nb,c\n"
    content, count = erase(gzip.compress(plain, mtime=0), Csv(), "2024-01-01.csv.gz")
    assert (gzip.decompress(content).decode(), count) == (kept, 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.csv", plain)
    content, count = erase(buffer.getvalue(), Csv(), "2024-01-01.csv.zip")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert (archive.namelist(), archive.read("x.csv").decode(), count) == (["x.csv"], kept, 1)


def test_json_lines() -> None:
    rows = [json.dumps({"Kunde": who, "Größe": what}).encode() + b"\n" for who, what in (("q7", "a"), ("b", "q7"), ("q77", ""))]
    assert erase(b"".join([*rows, b"\n", b'{"Kunde": "q7"\n', b'{"x": "q7", "x": 1}\n']), JsonLines()) == (
        b"".join([*rows[1:], b"\n"]),
        3,
    )


def test_parquet_keeps_types_and_other_rows() -> None:
    content, count = erase(parquet(Kunde=["q7", "b", "q77"], Größe=["a", "q7", "c"]), Parquet())
    assert (pq.read_table(io.BytesIO(content)).to_pydict(), count) == ({"Kunde": ["b", "q77"], "Größe": ["q7", "c"]}, 1)
    untouched = parquet(Kunde=["b"], Größe=["q7"])
    assert erase(untouched, Parquet()) == (untouched, 0)
    assert erase(parquet(other=["x q7", "q77"]), Parquet())[1] == 1


@pytest.mark.parametrize(
    ("content", "form", "name"),
    [
        (build_workbook([("Kunde", "Größe"), ("q7", "a")]), Excel(), "2024-01-01.xlsx"),
        (b"half", Parquet(), "2024-01-01.parquet"),
        (b"half", Excel(), "2024-01-01.xlsx"),
        (gzip.compress(b"q7", mtime=0)[:-5], Csv(), "2024-01-01.csv.gz"),
        (gzip.compress(b"Kunde\nq7\n", mtime=0), Csv(), ".new-ab12"),
        ("Kunde\nq7\n".encode("utf-16")[:-1], Csv(encoding="utf-16"), "2024-01-01.csv"),
    ],
)
def test_a_file_that_cannot_be_edited_is_named(content: bytes, form: Form, name: str) -> None:
    assert erase_from_file(content, name, form, ORDERS, Q7) is None


def test_such_a_file_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    shop = SHOP.but(sources=tuple(source.but(form=Excel()) for source in SHOP.sources))
    folder = tmp_path / "shop" / "customers"
    folder.mkdir(parents=True)
    (folder / "2024-03-01.xlsx").write_bytes(build_workbook([("customer_id", "city"), ("cst-7QXJ7", "Ulm")]))
    (folder / "2024-03-02.xlsx").write_bytes(build_workbook([("customer_id", "city"), ("cst-11B1Z", "Ulm")]))
    subject, landing = build_subject("cst-7QXJ7", "customer_id"), Landing(tmp_path)
    assert erase_from_landing(landing.of(Excel()), "shop", SHOP.contract("customers"), subject, dry_run=False) == 0
    assert find_strays(landing, shop, subject) == [folder / "2024-03-01.xlsx"]
