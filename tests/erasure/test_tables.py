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

from mlops_assets.erasure.subject_matcher import SubjectMatcher
from mlops_assets.erasure.tables import OlderFiles, ParquetRows, TableLog, TableRows
from mlops_assets.foundation.delta_tables import NO_STATISTICS, DeltaTables, VersionGone

NOW = dt.datetime.now(dt.UTC)
DAYS = [dt.date(2024, 1, day) for day in (1, 2, 3)]
ZZ = SubjectMatcher(columns=frozenset(["who"]), text="zz'9", hashed="f" * 32, is_number=False)


def people(*who: str | None, day: dt.date = DAYS[0]) -> pl.DataFrame:
    return pl.DataFrame({"who": who, "n": range(len(who)), "day": [day] * len(who)}, schema_overrides={"who": pl.String})


def put(table: Path, rows: pl.DataFrame, day: dt.date | None = None) -> None:
    """As the platform overwrites a day."""
    predicate = {"predicate": f"day >= DATE '{day}' AND day <= DATE '{day}'"} if day else {}
    rows.write_delta(
        str(table), mode="overwrite", delta_write_options={"partition_by": "day", "configuration": NO_STATISTICS, **predicate}
    )


def forget(table: Path, sought: SubjectMatcher = ZZ) -> None:
    TableRows(table, sought).erase()
    OlderFiles(table, sought).erase()
    TableLog(table, sought).erase()


def told_by_files(table: Path) -> str:
    """Everything that the files say, Parquet and its footers decoded."""
    told: list[str] = []
    for path in table.rglob("*"):
        if path.is_file():
            told.append(path.read_bytes().decode("utf-8", "replace"))
            if path.suffix == ".parquet":
                told.append(
                    json.dumps(pl.read_parquet(path, hive_partitioning=False).to_dicts(), default=str, ensure_ascii=False)
                )
    return "\n".join(told)


def rows(table: Path) -> list[str | None]:
    return pl.scan_delta(str(table)).sort("day", "n").collect()["who"].to_list()


def test_no_file_of_any_version_names_it_and_everybody_else_is_still_there(tmp_path: Path) -> None:
    put(tmp_path, pl.concat([people("zz'9", "a", None), people("b", "zz'9", day=DAYS[1])]))
    put(tmp_path, people("a", "zz'9"), DAYS[0])
    DeltaTable(str(tmp_path)).create_checkpoint()
    put(tmp_path, people("c", day=DAYS[2]), DAYS[2])
    assert (TableRows(tmp_path, ZZ).count(), OlderFiles(tmp_path, ZZ).count()) == (2, 1)
    assert told_by_files(tmp_path).count("zz'9") > 6
    forget(tmp_path)
    assert (TableRows(tmp_path, ZZ).count(), OlderFiles(tmp_path, ZZ).count()) == (0, 0)
    told = told_by_files(tmp_path)
    assert "zz'9" not in told and "zz''9" not in told
    assert rows(tmp_path) == ["a", "b", "c"]
    put(tmp_path, people("d", day=DAYS[2]), DAYS[2])
    assert rows(tmp_path) == ["a", "b", "d"]


def test_versions_that_did_not_hold_it_can_still_be_read(tmp_path: Path) -> None:
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
    (tmp_path / "_delta_log" / ".new-ab12").write_text("zz'9")  # of a call that was killed
    forget(tmp_path)
    assert "zz'9" not in told_by_files(tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    forget(tmp_path)
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}


def test_a_table_that_names_nobody_is_not_touched(tmp_path: Path) -> None:
    rows = people("zz'9").rename({"who": "author"})
    rows.write_delta(str(tmp_path))
    rows.write_delta(str(tmp_path), mode="overwrite")
    forget(tmp_path)
    assert DeltaTable(str(tmp_path)).version() == 1
    assert pl.scan_delta(str(tmp_path), version=0).collect().height == 1


def test_a_table_whose_newer_schema_lacks_the_column_is_freed_of_its_older_rows(tmp_path: Path) -> None:
    put(tmp_path, people("zz'9", "a"))
    people("a").drop("who").write_delta(str(tmp_path), mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
    assert (TableRows(tmp_path, ZZ).count(), OlderFiles(tmp_path, ZZ).count()) == (0, 1)
    forget(tmp_path)
    assert "zz'9" not in told_by_files(tmp_path)
    assert pl.scan_delta(str(tmp_path)).collect().height == 1


def test_a_young_file_that_nobody_has_committed_stays_and_is_told_and_an_old_one_goes(tmp_path: Path) -> None:
    put(tmp_path, people("a"))
    left = tmp_path / "day=2024-01-01" / "part-left-by-a-killed-run.parquet"
    people("zz'9").drop("day").write_parquet(left)
    older = OlderFiles(tmp_path, ZZ)
    older.erase()
    assert left.exists() and older.count() == 1
    os.utime(left, (NOW.timestamp() - 3601,) * 2)
    older.erase()
    assert not left.exists() and older.count() == 0


def test_a_writer_that_began_before_either_fails_or_loses_nothing(tmp_path: Path) -> None:
    """The files that commits add and remove stay on record: a stale overwrite cannot bring rows back unseen."""
    put(tmp_path, people("zz'9", "a", "b"))
    stale = DeltaTable(str(tmp_path))
    forget(tmp_path)
    with pytest.raises(Exception, match=r"(?i)conflict|concurrent|commit|no such file"):
        stale.delete("\"who\" = 'a'")
    assert rows(tmp_path) == ["a", "b"]


def test_a_run_that_writes_meanwhile_fails_and_is_run_again_or_loses_nothing(tmp_path: Path) -> None:
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
    assert "zz'9" not in told_by_files(tmp_path)


def test_broken_lines_go_by_where_they_stood(tmp_path: Path) -> None:
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
    assert TableRows(tmp_path, ZZ).count() == 3
    forget(tmp_path)
    assert pl.scan_delta(str(tmp_path)).collect()["source_line"].to_list() == [4, 6]


@settings(max_examples=15, deadline=None)
@given(
    versions=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(DAYS)), min_size=1, max_size=8), min_size=1, max_size=3
    ),
    number=st.integers(0, 3),
)
def test_any_table_keeps_exactly_the_rows_of_the_others(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[tuple[int, dt.date]]], number: int
) -> None:
    table = tmp_path_factory.mktemp("table")
    for version in versions:
        frame = pl.DataFrame(version, schema={"who": pl.Int64, "day": pl.Date}, orient="row")
        put(table, frame.with_columns(n=pl.int_range(pl.len()), text=pl.format("is {}", "who")))
    sought = SubjectMatcher(columns=frozenset(["who"]), text=str(number), hashed="f" * 32, is_number=True)
    forget(table, sought)
    kept = pl.scan_delta(str(table)).sort("n").collect()
    expected = [(n, who, day) for n, (who, day) in enumerate(versions[-1]) if who != number]
    assert list(zip(kept["n"], kept["who"], kept["day"], strict=True)) == expected
    assert f"is {number}" not in told_by_files(table)


def test_rows_of_single_files_are_taken_out(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    people("zz'9", "a", None).write_parquet(tmp_path / "run" / "training_sample.parquet")
    people("zz'9").rename({"who": "author"}).write_parquet(tmp_path / "other.parquet")
    samples = ParquetRows(tmp_path, ZZ)
    assert samples.count() == 1
    samples.erase()
    assert samples.count() == 0
    assert pl.read_parquet(tmp_path / "run" / "training_sample.parquet")["who"].to_list() == ["a", None]
    assert pl.read_parquet(tmp_path / "other.parquet")["author"].to_list() == ["zz'9"]


def test_a_log_with_statistics_of_an_earlier_release_is_freed_once_its_commits_are_an_hour_old(tmp_path: Path) -> None:
    for frame in (people("zz'9", "a"), people("b", "zz'9"), people("c")):
        frame.write_delta(str(tmp_path), mode="overwrite", delta_write_options={"partition_by": "day"})
    DeltaTable(str(tmp_path)).create_checkpoint()
    people("d", "zz'9").write_delta(str(tmp_path), mode="append")
    DeltaTable(str(tmp_path)).delete("who = 'zz''9'")
    log = TableLog(tmp_path, ZZ)
    assert log.count() == 4
    forget(tmp_path)
    assert log.count() == 4, "a concurrent writer may not have seen these commits yet"
    for file in (tmp_path / "_delta_log").iterdir():
        os.utime(file, (NOW.timestamp() - 3700,) * 2)
    forget(tmp_path)
    assert log.count() == 0 and "zz'9" not in told_by_files(tmp_path) and "zz''9" not in told_by_files(tmp_path)
    assert sorted(filter(None, rows(tmp_path))) == ["c", "d"]
    assert DeltaTable(str(tmp_path)).metadata().configuration["delta.logRetentionDuration"] == "interval 30 days"
    people("zz'9").write_delta(str(tmp_path), mode="append")
    forget(tmp_path)
    assert "zz'9" not in told_by_files(tmp_path)
