"""A home that was moved to another folder or disk while it was down serves, replays, reproduces and verifies from there alone."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mlops_assets.foundation.home import Home
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import open_service
from mlops_assets.serving.services import Services
from tests.integration.small_line import SMALL
from tests.provenance.conftest import TREES, Line

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]
IN_MEMORY = Path("/dev/shm")


@pytest.fixture(params=["another folder", "a disk in memory"])
def moved(
    line: Line, answered: list[dict[str, Any]], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The place of the moved home, and an answer that it gave before; nothing is where it was."""
    if request.param == "a disk in memory" and not IN_MEMORY.is_dir():
        pytest.skip(f"{IN_MEMORY} is not there")
    parent = tmp_path if request.param == "another folder" else IN_MEMORY
    with tempfile.TemporaryDirectory(dir=parent, prefix="moved-home-") as folder:
        place, before = Path(folder) / "home", line.home.root
        shutil.copytree(before, place, symlinks=True)
        aside = before.rename(before.with_name("aside"))
        yield place, answered[0]
        aside.rename(before)


def test_a_moved_home_serves_replays_reproduces_and_verifies(
    moved: tuple[Path, dict[str, Any]], line: Line, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, earlier = moved
    monkeypatch.setenv("MLOPS_HOME", str(place))
    service = open_service(line.variables | {"MLOPS_HOME": str(place)}, SMALL)
    service.start()
    client = TestClient(ApiApp(PlainTextResponse("Bento's"), lambda: Services([service])))  # type: ignore[arg-type]
    request = {"features": [dict.fromkeys(SMALL.features.inputs)]}
    answer = client.post("/predict", json=request).json()["predictions"][0]
    service.stop()
    for prediction in (earlier, answer):
        replayed = run("replay", prediction["prediction_id"])
        assert replayed.exit_code == 0 and "same answer" in replayed.output, replayed.output
    assert run("why", earlier["prediction_id"]).exit_code == 0
    reproduced = run("reproduce", TREES)
    assert reproduced.exit_code == 0 and "same model" in reproduced.output, reproduced.output
    Ledger(f"sqlite:///{Home(place).ledger}", Home(place).deployments).require_whole(SMALL.name)
    assert not line.home.root.exists()
