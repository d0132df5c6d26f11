"""Lines are removed from landed files, and all other bytes stay."""

import csv
import datetime as dt
import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.erasure.stores import erase_from_landing, find_strays
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.contract import Column, Contract
from tests.erasure.shop import SHOP
from tests.erasure.subjects import build_subject

ORDERS = Contract(
    table="orders",
    description="Orders.",
    columns=(
        Column(name="who", dtype="string", description="The customer.", identifies="customer"),
        Column(name="what", dtype="string", description="The thing."),
    ),
    unique=("who",),
)
Q7 = build_subject("q7", "who")
DAY = dt.date(2024, 1, 1)


def landed(root: Path, content: bytes, name: str = "2024-01-01.csv") -> Path:
    path = root / "shop" / "orders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def erase(root: Path) -> int:
    count, *erased = (erase_from_landing(Landing(root), "shop", ORDERS, Q7, dry_run=dry) for dry in (True, False, True))
    assert erased == [count, 0]
    return count


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_other_lines_stay_byte_for_byte(tmp_path: Path, end: bytes) -> None:
    lines = [
        b"\xef\xbb\xbfwhat,who",
        b"a,q7",
        b'"a, with ""quotes""",other',
        b'"spans' + end + b'lines",q7',
        b'"q7' + end + b'q7",other',
        b"",
        b"\xff\xfe,other",
        b"q7,other",
        b"q7, q7 ",
        b"too,many,fields,q7",
        b"too,many,fields,q77",
        b'"never closed,q7',
        b"cut off,q7",
    ]
    path = landed(tmp_path, end.join(lines))
    assert erase(tmp_path) == 6
    kept = [line for number, line in enumerate(lines) if number not in (1, 3, 8, 9, 11, 12)]
    assert path.read_bytes() == end.join(kept) + end


def test_columns_may_come_in_another_order_and_other_files_are_not_changed(tmp_path: Path) -> None:
    path, other = landed(tmp_path, b"what,who\nq7,a\na,q7\n"), landed(tmp_path, b"who,what\na,b\n", "2024-01-02.csv")
    foreign = landed(tmp_path, b"who,what\nq7,b\n", "notes.csv")
    before = other.stat()
    assert erase(tmp_path) == 1
    assert path.read_bytes() == b"what,who\nq7,a\n"
    assert other.stat() == before
    assert foreign.read_bytes() == b"who,what\nq7,b\n"


def test_a_file_without_the_contracts_columns_is_searched_as_text(tmp_path: Path) -> None:
    path = landed(tmp_path, b"customer,what\nq7,a\nb,c\n")
    assert erase(tmp_path) == 1
    assert path.read_bytes() == b"customer,what\nb,c\n"
    path.write_bytes(b"q7,a\nb,c\n")
    assert erase(tmp_path) == 1
    assert path.read_bytes() == b"b,c\n"
    path.write_bytes(b"")
    assert erase(tmp_path) == 0


@pytest.mark.parametrize("name", [".new-ab12", ".2024-01-01.csv.17.part"])
def test_partial_files_of_a_killed_process_are_erased_too(tmp_path: Path, name: str) -> None:
    left = landed(tmp_path, b"who,what\nq7,a\nother,b\nq7,cut", name)
    assert erase(tmp_path) == 2
    assert left.read_bytes() == b"who,what\nother,b\n"
    assert Landing(tmp_path).digests("shop", "orders") == {}


def test_the_file_keeps_its_mode(tmp_path: Path) -> None:
    path = landed(tmp_path, b"who,what\nq7,a\n")
    path.chmod(0o664)
    erase(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o664
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_delivered_again_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = landed(tmp_path, b"who,what\nq7,a\n"), Path.read_bytes

    def read_and_deliver(self: Path) -> bytes:
        content = read(self)
        part = path.with_suffix(".part")
        part.write_bytes(b"who,what\nq7,a\nnew,b\n")
        os.replace(part, path)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_deliver)
    erase_from_landing(Landing(tmp_path), "shop", ORDERS, Q7, dry_run=False)
    monkeypatch.undo()
    assert path.read_bytes() == b"who,what\nq7,a\nnew,b\n"
    assert erase(tmp_path) == 1
    assert path.read_bytes() == b"who,what\nnew,b\n"


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["q7", "a", "q77", ""]), st.text(st.sampled_from('q7,"\n aé'), max_size=6)), max_size=8
    )
)
def test_any_legal_file_keeps_exactly_the_other_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("landing")
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("who", "what"), *rows])
    path = landed(root, buffer.getvalue().encode())
    assert erase(root) == sum(who == "q7" for who, _ in rows)
    read = list(csv.reader(io.StringIO(path.read_text(), newline="")))
    assert read == [["who", "what"], *([who, what] for who, what in rows if who != "q7")]
    assert Landing(root).read("shop", ORDERS, [DAY], required=True).height == len(read) - 1


def test_files_that_are_no_delivery_are_listed_where_they_contain_the_subject_or_are_no_text(tmp_path: Path) -> None:
    landed(tmp_path, b"who,what\nq7,a\n")
    contents = {
        "2024-1-1.csv": b"who,what\nq7,a\n",
        "a.csv.gz": gzip.compress(b"who"),
        "notes.txt": b"q77",
        "../Orders/b.csv": b"q7\n",
        "old/2024-01-01.csv": b"q7\n",
    }
    for name, content in contents.items():
        landed(tmp_path, content, name)
    strays = find_strays(Landing(tmp_path), SHOP, Q7)
    assert [stray.relative_to(tmp_path / "shop").as_posix() for stray in strays] == [
        "Orders/b.csv", "orders/2024-1-1.csv", "orders/a.csv.gz", "orders/old/2024-01-01.csv",
    ]  # fmt: skip
