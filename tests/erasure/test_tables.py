"""Rows erased from real Delta tables for good: from every version, every left file and the table's own log."""

import datetime as dt
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.erasure.stores import erase_from_parquet, erase_older_files, erase_rows
from mlops_assets.erasure.subject import Subject
from mlops_assets.foundation.delta_tables import NO_STATISTICS, DeltaTables, VersionGone
from tests.erasure.subjects import build_subject

NOW = dt.datetime.now(dt.UTC)
DAYS = [dt.date(2024, 1, day) for day in (1, 2, 3)]
ZZ = build_subject("zz'9", "who")


def people(*who: str | None, day: dt.date = DAYS[0]) -> pl.DataFrame:
    return pl.DataFrame({"who": who, "n": range(len(who)), "day": [day] * len(who)}, schema_overrides={"who": pl.String})


def put(table: Path, rows: pl.DataFrame, day: dt.date | None = None) -> None:
    """As the platform overwrites a day."""
    predicate = {"predicate": f"day >= DATE '{day}' AND day <= DATE '{day}'"} if day else {}
    rows.write_delta(
        str(table), mode="overwrite", delta_write_options={"partition_by": "day", "configuration": NO_STATISTICS, **predicate}
    )


def forget(table: Path, subject: Subject = ZZ, *, dry_run: bool = False) -> tuple[int, int]:
    return erase_rows(table, subject, dry_run=dry_run), erase_older_files(table, subject, dry_run=dry_run)


def read_files(table: Path) -> str:
    """The content of every file; Parquet also decoded."""
    texts: list[str] = []
    for path in table.rglob("*"):
        if path.is_file():
            texts.append(path.read_bytes().decode("utf-8", "replace"))
            if path.suffix == ".parquet":
                texts.append(
                    json.dumps(pl.read_parquet(path, hive_partitioning=False).to_dicts(), default=str, ensure_ascii=False)
                )
    return "\n".join(texts)


def rows(table: Path) -> list[str | None]:
    return pl.scan_delta(str(table)).sort("day", "n").collect()["who"].to_list()


def test_no_file_of_any_version_contains_the_value_and_all_other_rows_remain(tmp_path: Path) -> None:
    put(tmp_path, pl.concat([people("zz'9", "a", None), people("b", "zz'9", day=DAYS[1])]))
    put(tmp_path, people("a", "zz'9"), DAYS[0])
    DeltaTable(str(tmp_path)).create_checkpoint()
    put(tmp_path, people("c", day=DAYS[2]), DAYS[2])
    assert forget(tmp_path, dry_run=True) == (2, 1)
    assert read_files(tmp_path).count("zz'9") > 6
    forget(tmp_path)
    assert forget(tmp_path, dry_run=True) == (0, 0)
    content = read_files(tmp_path)
    assert "zz'9" not in content and "zz''9" not in content
    assert rows(tmp_path) == ["a", "b", "c"]
    put(tmp_path, people("d", day=DAYS[2]), DAYS[2])
    assert rows(tmp_path) == ["a", "b", "d"]


def test_versions_without_the_subject_can_still_be_read(tmp_path: Path) -> None:
    tables, asset = DeltaTables(tmp_path), ["shop", "training_set"]
    table = tables.path(asset)
    for who in (("a",), ("a", "zz'9"), ("b",), ("b", "zz'9")):
        put(table, people(*who))
    forget(table)
    assert tables.read_version(asset, 0)["who"].to_list() == ["a"]
    assert tables.read_version(asset, 2)["who"].to_list() == ["b"]
    for version in (1, 3):
        with pytest.raises(VersionGone):
            tables.read_version(asset, version)
    assert rows(table) == ["b"]


def test_erasing_again_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, people("zz'9", "a"))
    forget(tmp_path)
    assert "zz'9" not in read_files(tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    forget(tmp_path)
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}


def test_a_table_without_the_column_is_not_changed(tmp_path: Path) -> None:
    rows = people("zz'9").rename({"who": "author"})
    rows.write_delta(str(tmp_path))
    rows.write_delta(str(tmp_path), mode="overwrite")
    forget(tmp_path)
    assert DeltaTable(str(tmp_path)).version() == 1
    assert pl.scan_delta(str(tmp_path), version=0).collect().height == 1


def test_older_rows_are_erased_where_the_newer_schema_lacks_the_column(tmp_path: Path) -> None:
    put(tmp_path, people("zz'9", "a"))
    people("a").drop("who").write_delta(str(tmp_path), mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
    assert forget(tmp_path, dry_run=True) == (0, 1)
    forget(tmp_path)
    assert "zz'9" not in read_files(tmp_path)
    assert pl.scan_delta(str(tmp_path)).collect().height == 1


def test_an_uncommitted_file_is_counted_and_erased_after_an_hour(tmp_path: Path) -> None:
    put(tmp_path, people("a"))
    left = tmp_path / "day=2024-01-01" / "part-left-by-a-killed-run.parquet"
    people("zz'9").drop("day").write_parquet(left)
    forget(tmp_path)
    assert left.exists() and forget(tmp_path) == (0, 1)
    os.utime(left, (NOW.timestamp() - 3601,) * 2)
    forget(tmp_path)
    assert not left.exists() and forget(tmp_path) == (0, 0)


def test_a_writer_that_started_before_the_erasure_fails_with_a_conflict(tmp_path: Path) -> None:
    """A stale overwrite cannot bring rows back: the log still lists the files that were removed."""
    put(tmp_path, people("zz'9", "a", "b"))
    stale = DeltaTable(str(tmp_path))
    forget(tmp_path)
    with pytest.raises(Exception, match=r"(?i)conflict|concurrent|commit|no such file"):
        stale.delete("\"who\" = 'a'")
    assert rows(tmp_path) == ["a", "b"]


def test_concurrent_appends_fail_or_are_kept(tmp_path: Path) -> None:
    put(tmp_path, pl.concat([people("zz'9", "a", day=day) for day in DAYS]))
    written: list[int] = []

    def write() -> None:
        for number in range(15):
            with suppress(CommitFailedError):
                people(f"w{number}").write_delta(str(tmp_path), mode="append")
                written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        forget(tmp_path)
    writer.join()
    forget(tmp_path)
    assert written
    assert sorted(filter(None, rows(tmp_path))) == sorted([*["a"] * 3, *(f"w{number}" for number in written)])
    assert "zz'9" not in read_files(tmp_path)


def test_lines_that_cannot_be_parsed_are_erased_by_their_place(tmp_path: Path) -> None:
    raw = pl.DataFrame(
        {
            "who": ["zz'9", " zz'9 ", "a", "a", "x"],
            "what": ["1", "2", "zz'9", "zz'9", "zz'90"],
            "day": [DAYS[0]] * 5,
            "source_file": ["o'file.csv"] * 5,
            "source_line": [2, 3, 4, 5, 6],
            "problem": [None, None, None, "line has 3 of 2 fields", "line has 3 of 2 fields"],
        }
    )
    put(tmp_path, raw)
    assert forget(tmp_path)[0] == 3
    assert pl.scan_delta(str(tmp_path)).collect()["source_line"].to_list() == [4, 6]


@settings(max_examples=15, deadline=None)
@given(
    versions=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(DAYS)), min_size=1, max_size=8), min_size=1, max_size=3
    ),
    number=st.integers(0, 3),
)
def test_any_table_keeps_exactly_the_other_rows(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[tuple[int, dt.date]]], number: int
) -> None:
    table = tmp_path_factory.mktemp("table")
    for version in versions:
        frame = pl.DataFrame(version, schema={"who": pl.Int64, "day": pl.Date}, orient="row")
        put(table, frame.with_columns(n=pl.int_range(pl.len()), text=pl.format("is {}", "who")))
    forget(table, build_subject(str(number), "who", number=True))
    kept = pl.scan_delta(str(table)).sort("n").collect()
    expected = [(n, who, day) for n, (who, day) in enumerate(versions[-1]) if who != number]
    assert list(zip(kept["n"], kept["who"], kept["day"], strict=True)) == expected
    assert f"is {number}" not in read_files(table)


def test_rows_in_single_parquet_files_are_erased(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    people("zz'9", "a", None).write_parquet(tmp_path / "run" / "training_sample.parquet")
    people("zz'9").rename({"who": "author"}).write_parquet(tmp_path / "other.parquet")
    assert [erase_from_parquet(tmp_path, ZZ, dry_run=dry) for dry in (True, False, True)] == [1, 1, 0]
    assert pl.read_parquet(tmp_path / "run" / "training_sample.parquet")["who"].to_list() == ["a", None]
    assert pl.read_parquet(tmp_path / "other.parquet")["author"].to_list() == ["zz'9"]
