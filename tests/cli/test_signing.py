"""`mlops signing` as people use it, on real keys."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from tests.promotion.model_line import ModelLine
from tests.serving.flights import flip_a_bit

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    (tmp_path / "keys").mkdir()
    for variable in ("MLOPS_SIGNING_KEY", "MLOPS_LEDGER"):
        monkeypatch.delenv(variable, raising=False)
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


def test_a_key_that_versions_need_is_withdrawn_once_they_are_signed_again(run: Run, tmp_path: Path):
    line = ModelLine(tmp_path)
    line.bless(1, 2)
    line.promote(1)
    first = line.keys.current()
    assert first is not None
    refused = run("reissue", first)
    assert refused.exit_code == 1 and refused.output.endswith("signs new blessings. Run `mlops signing rotate` first.\n")
    second = run("rotate").output.split()[4]
    refused = run("withdraw", first)
    assert (
        refused.exit_code == 1 and "flight_delay version 1, flight_delay version 2. Run `mlops signing reissue" in refused.output
    )
    reissued = run("reissue", first, "--by", "ana")
    assert (reissued.exit_code, reissued.output.splitlines()) == (0, [
        f"flight_delay: version {version} is signed with {second} instead of {first} (record {record})."
        for version, record in ((1, 4), (2, 5))
    ])  # fmt: skip
    assert line.kinds()[-2:] == ["reissue", "reissue"]
    assert run("withdraw", first).exit_code == 0 and run("list").output == f"{second}  signs now\n"
    lineup = line.server().lineup
    assert lineup and lineup.champion.version == 1
    assert run("reissue", first).output == f"No placed version has a blessing that '{first}' signed.\n"


def test_a_version_that_cannot_be_signed_again_is_named_and_the_others_are_signed(run: Run, tmp_path: Path):
    line = ModelLine(tmp_path)
    line.bless(1, 2)
    first = line.keys.current()
    assert first is not None
    run("rotate")
    flip_a_bit(line.folder / "models" / "1" / "model.onnx")
    result = run("reissue", first)
    assert result.exit_code == 1 and "Not signed again: flight_delay · the model's digest is" in result.output
    assert "flight_delay: version 2 is signed with" in result.output


def test_an_external_key_that_is_missing_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_SIGNING_KEY", str(tmp_path / "nowhere.pem"))
    result = run("list")
    assert (
        result.exit_code == 1
        and "nowhere.pem · the file is missing; legal: an Ed25519 key in PEM. Restore the file" in result.output
    )
