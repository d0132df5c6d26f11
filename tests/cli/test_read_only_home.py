"""Commands that only read, on a home on which nothing can be written, and what they write where they could."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import Home
from mlops_assets.graph.kernel import dagster_storage
from mlops_assets.spec.source import Files
from tests.cli.test_plan import WATCHED, report
from tests.foundation.disks import full, read_only
from tests.graph.line import variables
from tests.graph.test_first_model import Trigger, applications

NAME = WATCHED.name
UNREAD = "data: applications · 1 landed file (2024-03-03) has not been read yet."
READING = {
    ("plan", NAME): ("raw_applications", UNREAD), ("plan",): ("raw_applications", UNREAD),
    ("status", NAME): ("daemon: no heartbeat yet", "drift: not judged yet", UNREAD),
    ("status", "--json"): ("daemon: no heartbeat yet", "has not been read yet"),
}  # fmt: skip


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Two files were read, and a third has landed since. Not under tmp_path, which only its owner can enter."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    home = Home(root)
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        report(instance, 1, 2)
        Trigger(home, instance, WATCHED).validate(applications(1, 2))
    close_files()
    (folder := home.landing / NAME / "applications").mkdir(parents=True)
    applications(3).write_csv(folder / "2024-03-03.csv")
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (WATCHED,))
    for name, value in (variables(root) | {"COLUMNS": "1000"}).items():
        monkeypatch.setenv(name, value)
    yield home
    shutil.rmtree(root)


def close_files() -> None:
    """A new process has no open files."""
    for engine in dagster_storage._ENGINES.values():
        engine.pool.dispose()


def run(*words: str) -> Result:
    return CliRunner().invoke(app, [*words])


@pytest.mark.parametrize("disk", [full, read_only])
@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_shows_as_much_as_elsewhere(
    home: Home, words: tuple[str, ...], disk: Callable[[Path], AbstractContextManager[None]]
) -> None:
    with disk(home.root):
        result = run(*words)
    assert result.exit_code == 0, result.output
    assert all(text in result.output for text in READING[words]), result.output


def test_records_that_no_checkpoint_has_taken_are_read_from_a_read_only_disk(home: Home) -> None:
    for words in READING:  # imports what another user cannot read
        run(*words)
    close_files()
    folder, file = home.dagster / "history", "runs.db"
    with closing(sqlite3.connect(folder / file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE of_a_killed_process (id INTEGER)")
        copies = {name: (folder / name).read_bytes() for name in (file, f"{file}-wal")}
    assert copies[f"{file}-wal"]
    for name, content in copies.items():
        (folder / name).write_bytes(content)
    with read_only(home.root):
        for words, texts in READING.items():
            result = run(*words)
            assert result.exit_code == 0, result.output
            assert all(text in result.output for text in texts), result.output


def test_a_command_that_reads_copies_no_file_of_another_address(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applications(4).write_csv(tmp_path / "2024-03-04.csv")
    elsewhere = WATCHED.but(sources=(Files(table="applications", path=f"{tmp_path}/*.csv"),))
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (elsewhere,))
    before = {path for path in home.landing.rglob("*")}
    for words in READING:
        assert run(*words).exit_code == 0
    assert {path for path in home.landing.rglob("*")} == before
