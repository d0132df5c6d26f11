"""A real service whose prediction log is on a small file system that fills up and is emptied again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import Home
from tests.foundation.disks import fill, small
from tests.integration.running_service import Server, started, wait_until
from tests.integration.traffic import Difference, given, traffic
from tests.promotion.model_line import ModelLine

pytestmark = pytest.mark.integration

ASKS = (given, lambda turn: given(turn, 60), lambda turn: given(turn, 250))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Version 1 serves, and answers also without a log."""
    line = ModelLine(tmp_path)
    line.bless(1)
    line.promote(1)
    home = Home(tmp_path)
    server = Server(home, "tests.integration.varied_services:Lenient")
    with small(home.prediction_log, "64m"), started(server):
        wait_until(lambda: server.answers("/readyz"), 30, server.last_words)
        yield server


def live_line(server: Server) -> str:
    """Of `mlops status`."""
    variables = {"MLOPS_HOME": str(server.home.root), "MLOPS_ENV": "test", "MLOPS_SERVICE_URL": f"http://127.0.0.1:{server.port}"}
    result = CliRunner(env=variables | {"COLUMNS": "1000"}).invoke(app, ["status", "flight_delay"])
    return next(line for line in result.output.splitlines() if line.startswith("live: "))


def test_answers_go_on_the_loss_is_shown_and_the_log_goes_on_once_there_is_space(server: Server) -> None:
    folder = server.home.prediction_log
    with traffic(server, asks=ASKS) as flow:
        wait_until(lambda: flow.answers > 5, 10, server.last_words)
        filler = fill(folder)
        wait_until(lambda: server.counted("mlops_unlogged_total") > 100, 20, server.last_words)
        assert "it cannot be written: No space left on device; " in live_line(server)
        filler.unlink()
        answers = flow.answers
        wait_until(lambda: flow.answers > answers + 3 and not server.plan()["log_error"].count("cannot"), 10, server.last_words)
    lost = int(server.counted("mlops_unlogged_total"))
    assert flow.sent == flow.answers and flow.refused.total() == 0
    assert flow.difference() == Difference(lost, 0, 0, 0)
    assert live_line(server).endswith(
        f"; prediction log: {lost:,} rows answered without a log entry since this server process started"
    )
    lines = [line for segment in (folder / "flight_delay").glob("*.jsonl") for line in segment.read_bytes().split(b"\n")[:-1]]
    assert len(lines) == len([json.loads(line) for line in lines]) == len(flow.logged) > 0
