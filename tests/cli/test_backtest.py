"""`mlops backtest` refuses what has no past to replay, in one sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import mlops_assets.cli.arguments
from mlops_assets.cli.app import app
from mlops_assets.use_cases.tumor import USE_CASE as TUMOR
from tests.backtest.past_loans import PAST_LOANS, environment
from tests.graph.line import variables

DECLARED = (PAST_LOANS, TUMOR)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    environment(root)
    return root


def files_of(project: Path) -> list[Path]:
    """Without bytecode, which Python may store."""
    return sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts)


def refused(project: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, home: str = "home") -> str:
    """What the command says."""
    monkeypatch.setattr(mlops_assets.cli.arguments, "USE_CASES", DECLARED)
    monkeypatch.chdir(project)
    (project / "pyproject.toml").write_text('[tool.mlops]\nuse_cases = "tests.cli"\n')
    before = files_of(project)
    result = CliRunner().invoke(app, ["backtest", *arguments], env=variables(project / home))
    assert result.exit_code in (1, 2)
    assert files_of(project) == before, "nothing is left behind"
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2024-03-20", "2024-03-10", "--from 2024-03-20 is after --to 2024-03-10. Swap them."),
        ("2023-01-01", "2024-03-10", "the history is 2024-03-01 to 2024-04-04"),
        ("2024-03-20", "2025-01-01", "the history is 2024-03-01 to 2024-04-04"),
        ("2024-03-01", "2024-03-10", "the first model needs some days of it. Choose days inside it."),
        ("March", "2024-03-10", "--from · found 'March'; legal: a day as YYYY-MM-DD. Correct it."),
        ("2024-02-30", "2024-03-10", "--from · found '2024-02-30'"),
    ],
)
def test_days_outside_the_history_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, first: str, last: str, message: str
) -> None:
    assert message in refused(project, monkeypatch, "loans", "--from", first, "--to", last)


def test_a_snapshot_has_no_past(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(project, monkeypatch, "tumor", "--from", "2024-03-02", "--to", "2024-03-10")
    assert "tumor · samples is a snapshot, which has no time, so there is no past to replay." in message


def test_a_home_without_files_says_where_to_put_them(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("loans", "--from", "2024-03-20", "--to", "2024-03-30")
    message = refused(project, monkeypatch, *arguments, home="empty")
    assert "loans · no file of applications has landed, and no example is declared." in message
    assert "landing/loans/applications/" in message


@pytest.mark.slow
def test_too_little_history_says_what_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(project, monkeypatch, "loans", "--from", "2024-03-03", "--to", "2024-03-10")
    assert "loans · the history before --from 2024-03-03 is too short for a first model. The first training waits: " in message
    assert message.endswith("Choose a later day.")
