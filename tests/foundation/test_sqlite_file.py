"""A database on a disk that cannot be written, with records in its write-ahead log that no checkpoint has taken."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.foundation.sqlite_file import ImmutableFile, connect
from tests.foundation.disks import full, read_only


@pytest.fixture
def file() -> Iterator[Path]:
    """As a killed process leaves it. Not under tmp_path, which only its owner can enter."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    writer = sqlite3.connect(root / "live.db", isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE runs (id INTEGER)")
    writer.execute("INSERT INTO runs VALUES (7)")
    for suffix in ("", "-wal"):
        shutil.copyfile(root / f"live.db{suffix}", root / f"killed.db{suffix}")
    writer.close()
    yield root / "killed.db"
    shutil.rmtree(root)


def test_what_only_the_log_has_is_read_and_nothing_is_written(file: Path) -> None:
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    with read_only(file.parent):
        connection = connect(file, busy_s=1)
        assert isinstance(connection, ImmutableFile)
        assert connection.execute("SELECT id FROM runs").fetchall() == [(7,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO runs VALUES (8)")
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        connection.close()
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before


def test_without_space_for_a_copy_the_error_is_that_of_the_database(file: Path) -> None:
    with full(file.parent), pytest.raises(sqlite3.OperationalError):
        connect(file, busy_s=1)
