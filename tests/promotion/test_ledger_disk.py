"""A ledger on a full or read-only disk: it is read, and a write says what to do."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.ledger import Ledger, LedgerDown
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.foundation.disks import full, read_only

AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)
Disk = Callable[[Path], AbstractContextManager[None]]
disks = pytest.mark.parametrize("disk", [full, read_only])


@pytest.fixture
def home() -> Iterator[Home]:
    """With one record. Not under tmp_path, which only its owner can enter."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    Ledger(f"sqlite:///{root / 'ledger.db'}").append(USE_CASE.name, "refusal", {"version": 1, "reason": "poor"}, by="ana", at=AT)
    yield Home(root)
    shutil.rmtree(root)


@disks
def test_every_record_is_read(home: Home, disk: Disk) -> None:
    with disk(home.root):
        ledger = Ledger(f"sqlite:///{home.ledger}")
        assert [record.by for record in ledger.records(USE_CASE.name)] == ["ana"]
        assert (ledger.verify(USE_CASE.name), ledger.use_cases()) == ([], [USE_CASE.name])
    assert ledger.append(USE_CASE.name, "refusal", {}, by="ben", at=AT).number == 2


@disks
def test_records_that_only_the_write_ahead_log_has_are_read_or_the_reason_is_given(home: Home, disk: Disk) -> None:
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
        other.execute("SELECT * FROM mlops_ledger").fetchall()
        Ledger(f"sqlite:///{home.ledger}").append(USE_CASE.name, "refusal", {}, by="ben", at=AT)
        with disk(home.root):
            assert [record.by for record in Ledger(f"sqlite:///{home.ledger}").records(USE_CASE.name)] == ["ana", "ben"]
        copy = home.root / "copy"
        copy.mkdir()
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(home.root / name, copy / name)
    copied = Ledger(f"sqlite:///{copy / 'ledger.db'}")
    with read_only(home.root):  # from a copy in the temporary folder
        assert [record.by for record in copied.records(USE_CASE.name)] == ["ana", "ben"]
    with full(home.root), pytest.raises(LedgerDown, match="free space on its disk"):
        copied.records(USE_CASE.name)


@disks
def test_a_write_says_what_to_do_and_changes_nothing(home: Home, disk: Disk) -> None:
    with disk(home.root):
        ledger = Ledger(f"sqlite:///{home.ledger}")
        with pytest.raises(LedgerDown, match=r"writable, or free space on its disk \([0-9,]+ bytes are free\)") as refused:
            ledger.append(USE_CASE.name, "refusal", {}, by="ben", at=AT)
        assert str(home.root) in str(refused.value) and "MLOPS_LEDGER" not in str(refused.value)
    assert len(Ledger(f"sqlite:///{home.ledger}").records(USE_CASE.name)) == 1


@disks
@pytest.mark.parametrize("command", [("status",), ("ledger", "show", USE_CASE.name), ("ledger", "verify"), ("keys", "list")])
def test_reading_commands_work(home: Home, disk: Disk, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(home.root))
    monkeypatch.setenv("MLOPS_SERVICE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("MLOPS_LEDGER", raising=False)
    with disk(home.root):
        result = CliRunner().invoke(app, [*command])
    assert result.exit_code == 0, result.output


@disks
def test_a_file_that_cannot_be_written_is_named_and_stays_as_it_was(home: Home, disk: Disk) -> None:
    file = home.root / "file"
    file.write_bytes(b"old")
    with disk(home.root), pytest.raises(OSError, match=f"'{file}'"):
        replace_file(file, b"new")
    assert (file.read_bytes(), sorted(os.listdir(home.root))) == (b"old", ["file", "ledger.db"])
