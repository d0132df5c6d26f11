"""`mlops replay` of an answer after its version was replaced, mixed up with another one or archived, or the answer erased."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from mlops_assets.foundation.home import Home
from mlops_assets.serving.log.prediction_log import BLANK
from tests.integration.small_line import SMALL
from tests.provenance.conftest import NETWORK, TREES, Line

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]
Replay = Callable[[], Result]


@pytest.fixture
def later(
    line: Line, answered: list[dict[str, Any]], run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Line, Replay]:
    """A copy of the home, in which another version serves since the answer, and the replay of the answer there."""
    copy = Line(Home(Path(shutil.copytree(line.home.root, tmp_path / "home"))))
    copy.promote(NETWORK)
    monkeypatch.setenv("MLOPS_HOME", str(copy.home.root))
    return copy, lambda: run("replay", answered[0]["prediction_id"], "--use-case", SMALL.name)


def placed(line: Line, version: int) -> Path:
    (model,) = (path for path in line.home.deployments.rglob("*.onnx") if path.parent.name == str(version))
    return model.parent


def test_an_answer_of_a_former_champion_is_replayed_with_that_version(later: tuple[Line, Replay]) -> None:
    result = later[1]()
    assert (result.exit_code, "same answer: the log has" in result.output) == (0, True), result.output
    assert f"version {TREES} computes" in result.output


def test_versions_whose_files_are_mixed_up_are_not_run(later: tuple[Line, Replay]) -> None:
    line, replay = later
    trees, network = placed(line, TREES), placed(line, NETWORK)
    trees.rename(aside := trees.with_name("aside"))
    network.rename(trees)
    aside.rename(network)
    result = replay()
    assert result.exit_code == 1 and "NOT REPLAYED" in result.output
    assert f"version {TREES} has the blessing of version {NETWORK}. Restore the files of version {TREES}." in result.output


def test_an_archived_version_is_named_with_the_command_that_places_it_again(later: tuple[Line, Replay], tmp_path: Path) -> None:
    line, replay = later
    placed(line, TREES).rename(tmp_path / "archive")
    result = replay()
    assert result.exit_code == 1 and "NOT REPLAYED" in result.output
    why = f"the model is not run: {SMALL.name} · version {TREES} is not placed; placed: {NETWORK}."
    assert why in result.output and f"`mlops ledger mirror {SMALL.name}` places it again" in result.output


def test_an_erased_answer_is_not_known_and_the_message_says_where_to_look(
    later: tuple[Line, Replay], answered: list[dict[str, Any]]
) -> None:
    line, replay = later
    lines = line.segment.read_bytes().splitlines(keepends=True)
    erased = [BLANK * (len(one) - 1) + b"\n" if answered[0]["prediction_id"].encode() in one else one for one in lines]
    line.segment.write_bytes(b"".join(erased))
    result = replay()
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert f"no answer '{answered[0]['prediction_id']}'" in result.output and "or among what was erased." in result.output
