"""`mlops new` on the command line: what it refuses, what it asks, what it downloads; and the test that it writes."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.cli.new import find_leaks_of
from mlops_assets.foundation.home import PROJECT
from mlops_assets.inspection.new_use_case import download
from mlops_assets.inspection.table_file import NoTable
from mlops_assets.use_cases import new_use_cases
from tests.inspection.messy_tables import CLEAN, csv
from tests.inspection.test_new_use_case import made


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["new", *arguments])
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tumor", "NAME · 'tumor' is taken: "),
        ("polars_later", "NAME · 'polars_later' is taken: "),
        ("Meine Kunden", "NAME · found 'Meine Kunden'; legal: lower-case letters, digits and _, the first a letter, and no word of Python, such as meine_kunden. Choose another name."),
        ("class", "NAME · found 'class'; legal: "),
    ],
)  # fmt: skip
def test_an_illegal_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(csv())
    code, output = run(name, "--from", str(tmp_path / "t.csv"), "--yes")
    assert code == 1 and output.startswith(message), output


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    code, output = run("kunden", "--from", str(tmp_path / "t.csv"), "--yes")
    assert (code, output) == (1, f"{tmp_path / 't.csv'} · there is no such file. Name a file with a table.")


def test_without_a_terminal_a_doubtful_label_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(csv(header=["id", "moment", "amount", "age", "colour", "left"]))
    code, output = run("kunden", "--from", str(tmp_path / "t.csv"))
    assert code == 2 and not (new_use_cases()[0] / "kunden").exists()
    assert "It may be left, colour, age, amount. Name one with --label, or use --yes for left." in output


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_downloaded_once_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "t.csv").write_bytes(csv())
    with served(tmp_path / "web") as url:
        assert download(f"{url}/t.csv?version=2", tmp_path) == tmp_path / "t.csv"
        assert (tmp_path / "t.csv").read_bytes() == csv()
        with pytest.raises(NoTable, match=r"t.csv exists already. Use it in place of the address, or remove it."):
            download(f"{url}/t.csv", tmp_path)
        with pytest.raises(NoTable, match="cannot be fetched: Client error '404 File not found'"):
            download(f"{url}/other.csv", tmp_path)
    with pytest.raises(NoTable, match="cannot be fetched: .*Correct the address, or download the file yourself."):
        download(f"{url}/u.csv", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "web"]


def test_a_leak_is_named_and_nothing_else(tmp_path: Path) -> None:
    def refund(row: dict[str, str]) -> str:
        return "12.50" if row["churn"] == "yes" else "0.00"

    (leak,) = find_leaks_of(made(tmp_path, "t.csv", csv(300, refund=refund), ["--label", "churn"]))
    assert str(leak).startswith("leak · `refund` alone predicts the label with AUC 1.000"), leak
    (tmp_path / "clean").mkdir()
    assert not [*find_leaks_of(made(tmp_path / "clean", "t.csv", csv(300), ["--label", "churn"]))]


CASES = ("german", "by day", "imbalanced text", "no identifier", "names twice and none", "personal data")


@pytest.mark.slow  # ruff and pytest as processes
def test_the_written_use_case_is_formatted_and_its_test_passes(tmp_path: Path) -> None:
    for case in CASES:
        folder = tmp_path / case.replace(" ", "_")
        folder.mkdir()
        new = made(folder, *CLEAN[case])
        assert "p1000@example.com" not in new.files[2].read_text()  # the sample is committed with the code
    config = ["--config", str(PROJECT / "pyproject.toml"), "."]
    own = ["--config", 'lint.isort.known-first-party = ["mlops_assets", "models"]']
    for check in (["check", *own], ["format", "--check", "--diff"]):
        ruff = subprocess.run(
            [sys.executable, "-m", "ruff", *check, *config], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ruff.returncode == 0, ruff.stdout + ruff.stderr
    python = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "tests"]
    environment = {"PYTHONPATH": f"{PROJECT}:{tmp_path / 'german'}", "PATH": ""}
    tested = subprocess.run(python, cwd=tmp_path / "german", env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr
