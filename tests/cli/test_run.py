"""`mlops run` where nothing has landed that a table reads."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.cli.run import exit_code_of
from tests.cli.loans import LOANS

NOT_READ = {
    "tumor/sample": "tumor: tumor/sample/ is the folder of no table, so nothing in it is read. Is it samples? Rename it.",
    "tumors/samples": "tumor: tumors/ is the folder of no use case, so nothing in it is read. Is it tumor? Rename it.",
}


@pytest.mark.parametrize("folder", NOT_READ)
def test_a_misspelt_folder_has_not_landed_and_no_example_lands_next_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    landing = tmp_path / "home" / "landing"
    (landing / folder).mkdir(parents=True)
    (landing / folder / "snapshot.csv").write_text("sample,diagnosis\n")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["run", "tumor"])
    assert (result.exit_code, result.stderr.splitlines()) == (1, [NOT_READ[folder]])
    assert result.stdout.startswith("Took ") and len(result.stdout.splitlines()) == 1
    assert [path.name for path in landing.rglob("*.csv")] == ["snapshot.csv"]


def test_all_names_every_use_case_that_has_nothing_to_read_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = tmp_path / "home" / "landing"
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    without = LOANS.but(name="leases")
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (LOANS, without))
    result = CliRunner().invoke(app, ["run", "--all"])
    assert result.exit_code == 1
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["loans", "leases"]
    assert all("nothing has landed, and it declares no example" in line for line in result.stderr.splitlines())
    assert not any(landing.rglob("*.csv"))


@pytest.mark.parametrize(("codes", "expected"), [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 1, 0], 1), ([0, 1], 1)])
def test_a_failure_of_one_use_case_goes_before_a_refusal_of_another(codes: list[int], expected: int) -> None:
    assert exit_code_of(codes) == expected
