"""Entries of the landing folder that are no day file: none affects another, none is ignored, none is waited for."""

import os
import socket
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.ingestion.csv_lines import WHOLE_FILE
from mlops_assets.ingestion.landing import SETTLED_S, BrokenDelivery, Landing, describe_broken
from mlops_assets.ingestion.refusals import Refusal, UnreadableRefusals
from mlops_assets.spec.contract import Column, Contract

DAY, NAME = date(2013, 7, 1), "2013-07-01.csv"
COLUMN = Column(name="carrier", dtype="string", description="Who.")
FLIGHTS = Contract(table="flights", description="Flights.", columns=(COLUMN,), unique=("carrier",))
MAX_BYTES = 1000


def bind(path: Path) -> None:
    # The address of a socket has 107 bytes at most, so it is made elsewhere.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        os.rename(f"{folder}/s", path)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda path: path.mkdir(), "it is a folder, a pipe or a device"),
    "pipe": (os.mkfifo, "it is a folder, a pipe or a device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a folder, a pipe or a device"),
    "socket": (bind, "it cannot be read: No such device or address"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "it is a link to a file that does not exist"),
    "link to itself": (lambda path: path.symlink_to(path.name), "it cannot be read: Too many levels of symbolic links"),
    "unreadable": (lambda path: path.symlink_to("/proc/self/mem"), "it cannot be read: Input/output error"),
    "too large": (lambda path: os.truncate(path, 5_000_000_000) if path.touch() is None else None, "it has 5,000,000,000 bytes"),
}
spoilt = pytest.mark.parametrize(("spoil", "problem"), SPOILT.values(), ids=[*SPOILT])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    """With one sound file of the day before and of the day after."""
    landing = Landing(tmp_path, Clock())
    for day in (date(2013, 6, 30), date(2013, 7, 2)):
        landing.put("demo", "flights", day=day, rows=pl.DataFrame({"carrier": ["UA"]}))
    return landing


def folder(landing: Landing) -> Path:
    return landing.root / "demo" / "flights"


@spoilt
def test_an_entry_that_is_no_readable_file_is_a_fault_of_its_own(
    landing: Landing, spoil: Callable[[Path], object], problem: str
) -> None:
    spoil(folder(landing) / NAME)
    landed = landing.scan("demo", "flights", max_bytes=MAX_BYTES)
    assert [*landed.digests] == ["2013-06-30", "2013-07-02"]
    assert [*landed.faults] == [NAME] and landed.faults[NAME].startswith(problem)


@spoilt
@pytest.mark.parametrize("required", [True, False])
def test_such_an_entry_is_read_as_one_row_with_its_problem_and_the_other_days_as_they_are(
    landing: Landing, spoil: Callable[[Path], object], problem: str, required: bool
) -> None:
    spoil(folder(landing) / NAME)
    days = [DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)]
    rows = landing.read("demo", FLIGHTS, days, required=required, max_bytes=MAX_BYTES)
    assert rows["carrier"].to_list() == ["UA", None, "UA"] and rows["source_line"].to_list() == [2, WHOLE_FILE, 2]
    assert describe_broken(rows).startswith(f"demo/flights/{NAME} · {problem}")
    with pytest.raises(BrokenDelivery, match=rf"demo/flights/{NAME} · {problem}"):
        landing.read_file(folder(landing) / NAME, FLIGHTS, DAY, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("kind", [kind for kind in SPOILT if kind != "folder"])
def test_a_new_delivery_replaces_such_an_entry(landing: Landing, kind: str) -> None:
    SPOILT[kind][0](folder(landing) / NAME)
    assert landing.put("demo", "flights", day=DAY, rows=pl.DataFrame({"carrier": ["UA"]})) is True
    assert landing.scan("demo", "flights").faults == {}


@pytest.mark.parametrize(
    "name",
    ["2013-7-1.csv", "2013-07-01.CSV", "2013-07-01.csv.bz2", "2013-07-01", "20130701.csv", "2013_07_01.txt", "2013-02-30.csv",
     "01.07.2013.tsv", "flights.csv", "\u0662\u0660\u0661\u0663-\u0660\u0667-\u0660\u0661.csv", "2013-07-01.csv\n", "a\udcff.csv"],
)  # fmt: skip
def test_a_name_that_is_nearly_that_of_a_day_file_is_a_fault(landing: Landing, name: str) -> None:
    (folder(landing) / name).write_bytes(b"carrier\nUA\n")
    landed = landing.scan("demo", "flights")
    assert [*landed.digests] == ["2013-06-30", "2013-07-02"]
    ((path, problem),) = landed.faults.items()
    assert problem == "the name is not that of one day; legal: <YYYY-MM-DD>.csv. Rename it"
    path.encode()


@pytest.mark.parametrize("name", ["readme.txt", "_SUCCESS", ".2013-07-01.csv.77.part", ".new-2013-07-01.csv", "checksums.md5"])
def test_a_file_that_is_clearly_no_delivery_is_no_fault(landing: Landing, name: str) -> None:
    (folder(landing) / name).write_bytes(b"")
    assert landing.scan("demo", "flights").faults == {}


@pytest.mark.parametrize("name", ["Flights", "flights.csv", "FLIGHTS ", "f-lights"])
def test_a_folder_that_is_nearly_that_of_a_table_is_a_fault(landing: Landing, name: str) -> None:
    (landing.root / "demo" / name).mkdir()
    (landing.root / "demo" / "outcomes").mkdir()
    problem = "it is not read; legal: flights/<YYYY-MM-DD>.csv. Move its files there"
    assert landing.scan("demo", "flights").faults == {f"../{name}": problem}


def test_a_table_that_is_no_folder_is_a_fault_of_that_table(landing: Landing) -> None:
    (landing.root / "demo" / "weather").write_bytes(b"")
    assert landing.scan("demo", "weather") == ({}, {"weather": "the folder cannot be read: Not a directory"})
    assert len(landing.scan("demo", "flights").digests) == 2
    assert landing.scan("demo", "outcomes") == ({}, {})


def test_a_link_to_a_file_is_read(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"carrier\nUA\n")
    (folder(landing) / NAME).symlink_to(tmp_path / "elsewhere")
    assert "2013-07-01" in landing.digests("demo", "flights")
    assert landing.read("demo", FLIGHTS, [DAY], required=True)["carrier"].to_list() == ["UA"]


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in SPOILT.values()], ids=[*SPOILT])
def test_an_entry_that_is_no_file_ends_no_erasure(landing: Landing, spoil: Callable[[Path], object]) -> None:
    spoil(folder(landing) / NAME)
    assert {path.name for path in landing.files("demo", "flights")} >= {"2013-06-30.csv", "2013-07-02.csv"}


DAMAGES = {
    "half": b'{"2013-07-02": ', "empty": b"", "no text": b"\xff\0", "a list": b"[]", "a number": b'{"2013-07-02": 3}',
    "no file": b'{"2013-07-02": {"failed": {}, "waiver": null}}', "a word": b'{"2013-07-02": {"file": "a", "failed": "b", "waiver": null}}',
}  # fmt: skip


@pytest.mark.parametrize("damage", [*DAMAGES, "a folder"])
def test_a_damaged_record_of_refused_files_is_a_fault_of_its_table_and_is_not_written_over(landing: Landing, damage: str) -> None:
    refusals = landing.refusals("demo", "flights")
    refusals.path.mkdir() if damage == "a folder" else refusals.path.write_bytes(DAMAGES[damage])
    digests, faults = landing.scan("demo", "flights")
    assert [*digests] == ["2013-06-30", "2013-07-02"] and [*faults] == ["../.flights.refused.json"]
    assert faults["../.flights.refused.json"].startswith("the record of the refused files is damaged: ")
    remedy = r"Restore it from its backup, or remove it and land the refused files again\.$"
    with pytest.raises(UnreadableRefusals, match=remedy):
        refusals.record({"2013-07-02": ""}, {"2013-07-02": Refusal("", {"check": "failed"})})
    assert damage == "a folder" or refusals.path.read_bytes() == DAMAGES[damage]
    assert landing.scan("demo", "outcomes") == ({}, {})


def reads() -> int:
    """Bytes that this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_file_is_read_again_only_after_a_change_and_every_change_is_noticed(landing: Landing) -> None:
    path, clock, size = folder(landing) / NAME, landing.clock, 10_000_000
    path.write_bytes(size * b"a")
    fresh = landing.digests("demo", "flights")
    path.write_bytes(size * b"b")  # possibly within one time stamp of the file system
    assert landing.digests("demo", "flights") != fresh
    clock.now = path.stat().st_ctime + 2 * SETTLED_S  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]
    first, before = landing.digests("demo", "flights"), reads()
    assert landing.digests("demo", "flights") == first
    assert reads() - before < size / 10
    path.write_bytes(size * b"c")
    assert landing.digests("demo", "flights") != first
