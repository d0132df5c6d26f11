"""`mlops run` where what has landed is in no folder that a table reads."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app

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
