"""What `mlops` does with errors, interrupts and its help."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.cli.arguments import Commands
from mlops_assets.foundation.home import IllegalEnvironment
from mlops_assets.training.model_registry import RegistryError

PROJECT = Path(__file__).parents[2]
failing = typer.Typer(cls=Commands)


@failing.callback()
def main(debug: bool = False) -> None: ...


@failing.command()
def correctable() -> None:
    raise IllegalEnvironment("MLOPS_ENV · found 'x'")


@failing.command()
def missing() -> None:
    Path("/nowhere/file").read_bytes()


@failing.command()
def registry() -> None:
    raise RegistryError("Model 'flights' not found")


@failing.command()
def defect() -> None:
    raise ValueError("not a date")


@failing.command()
def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("correctable", 1, "MLOPS_ENV · found 'x'"),
        ("missing", 1, "[Errno 2] No such file or directory: '/nowhere/file'"),
        ("registry", 1, "Model 'flights' not found"),
        ("defect", 70, "internal error · ValueError: not a date. Run the same with --debug to see where."),
        ("interrupted", 130, "Interrupted."),
    ],
)
def test_an_error_is_one_line_on_stderr(command: str, code: int, message: str) -> None:
    result = CliRunner().invoke(failing, [command])
    assert (result.exit_code, result.stderr, result.stdout) == (code, f"{message}\n", "")


def test_a_command_with_a_typing_error_is_suggested_once() -> None:
    for arguments, suggestion in ((["stauts"], "'status'"), (["ledger", "shwo"], "'show'")):
        assert CliRunner().invoke(app, arguments).stderr.count(f"Did you mean {suggestion}?") == 1


@pytest.mark.parametrize("address", ["3002", ":3002", "127.0.0.1:http"])
def test_a_page_is_served_at_a_host_and_a_port_alone(address: str) -> None:
    result = CliRunner().invoke(app, ["status", "--serve", address])
    assert result.exit_code == 2 and "legal: HOST:PORT" in result.stderr


@pytest.mark.parametrize("arguments", [["--debug", "defect"], ["defect", "--debug"]])
def test_debug_anywhere_on_the_line_shows_the_traceback(arguments: list[str]) -> None:
    assert isinstance(CliRunner().invoke(failing, arguments).exception, ValueError)


@pytest.mark.parametrize(
    ("table", "file", "message"),
    [("arrivals", "2013-05-01.csv", "found table 'arrivals'; declared: "), ("outcomes", "today.csv", "Rename it.")],
)
def test_a_push_that_is_illegal_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, file: str, message: str
) -> None:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "landing").mkdir(parents=True)
    (tmp_path / file).write_text("")
    result = CliRunner().invoke(app, ["push", "flight_delay", table, str(tmp_path / file)])
    assert result.exit_code == 1 and message in result.stderr and len(result.stderr.splitlines()) == 1, result.output


def test_days_in_reverse_are_refused_and_nothing_lands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "1000")
    result = CliRunner().invoke(app, ["land", "flight_delay", "2013-04-30", "2013-01-01"])
    assert result.exit_code == 2 and "2013-04-30 to 2013-01-01: legal is the first day first. Swap them." in result.output
    assert not (tmp_path / "home").exists()


def test_an_interrupt_while_the_modules_load_shows_no_traceback() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mlops_assets", "--help"]
    with subprocess.Popen(command, cwd=PROJECT, env=os.environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        while not process.stderr.readline().endswith(b" typer\n"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=30) == -signal.SIGINT
