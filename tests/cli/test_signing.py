"""`mlops signing` as people use it, on real keys."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_SIGNING_KEY", raising=False)
    return lambda *arguments: CliRunner().invoke(app, ["signing", *arguments])


def test_before_the_first_blessing_the_list_says_so(run: Run):
    assert run("list").output == "No keys yet; the first blessing creates one.\n"


def test_the_list_marks_the_key_that_signs_which_only_another_can_replace(run: Run):
    first = run("rotate").output.split()[4]
    assert run("list").output == f"{first}  signs now\n"
    refused = run("withdraw", first)
    assert refused.exit_code == 1 and "signs new blessings. Run `mlops signing rotate`" in refused.output
    second = run("rotate").output.split()[4]
    assert set(run("list").output.splitlines()) == {first, f"{second}  signs now"}
    assert run("withdraw", first).output.startswith(f"Withdrew {first}: servers refuse what it signed")
    assert run("list").output == f"{second}  signs now\n"


def test_an_external_key_that_is_missing_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(tmp_path / "nowhere.pem"))
    result = run("list")
    assert (
        result.exit_code == 1
        and "nowhere.pem · the file is missing; legal: an Ed25519 key in PEM. Restore the file" in result.output
    )
