"""Two real processes that promote different blessed versions at once, and one that is killed on the way, on SQLite and Postgres."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.promotion.model_line import ModelLine

# It reads the ledger, says so, waits for a word, and only then writes: both have read the same when the first of them writes.
PROMOTE = """
import json, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.ledger import Ledger, ConcurrentWrite
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.use_cases.flight_delay import USE_CASE
root, url, version, by, ending = sys.argv[1:]
class Waiting(Ledger):
    def append(self, *arguments, **more):
        print("has read", flush=True)
        sys.stdin.readline()
        return super().append(*arguments, **more)
class Dying(Deployment):
    def publish(self, plan):
        os.kill(os.getpid(), signal.SIGKILL)
home = Home(Path(root))
deployment = (Dying if ending == "killed" else Deployment)(home.deployments, USE_CASE.name)
promotions = Promotions(USE_CASE, Waiting(url), deployment, SigningKeys(home.keys))
try:
    plan = promotions.promote(int(version), reason="the better one", by=by, at=datetime.now(UTC))
    print(json.dumps({"by": by, "champion": plan.champion, "plan": plan.number}))
except ConcurrentWrite as outrun:
    print(json.dumps({"by": by, "outrun": str(outrun)}))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ModelLine, str]:
    """A line in which version 1 serves and 2 and 3 are blessed, and the address of its ledger."""
    sqlite = f"sqlite:///{tmp_path / 'ledger.db'}"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    line = ModelLine(tmp_path, url=url)
    line.bless(1, 2, 3)
    line.promote(1)
    return line, url


def promoting(line: ModelLine, url: str, version: int, by: str, ending: str = "lives") -> "subprocess.Popen[str]":
    """A process that has read the ledger and waits for a line before it writes."""
    command = [sys.executable, "-c", PROMOTE, str(line.folder.parents[1]), url, str(version), by, ending]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        assert process.stdout and process.stdout.readline() == "has read\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()


def result_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    return json.loads(process.communicate(timeout=60)[0])


@pytest.mark.slow  # two processes for each kind of ledger
def test_one_of_two_promotions_at_once_wins_and_the_other_names_the_winner(shared: tuple[ModelLine, str]):
    line, url = shared
    server = line.server()
    processes = [promoting(line, url, 2, "ana"), promoting(line, url, 3, "bob")]
    begin(*processes)
    ended = [result_of(process) for process in processes]
    (won,) = [result for result in ended if "champion" in result]
    (lost,) = [result for result in ended if "outrun" in result]
    record = line.ledger.records("flight_delay")[-1]
    assert (record.number, record.by, record.body["version"]) == (5, won["by"], won["champion"])
    assert f"after record 4 came record 5 (promotion by {won['by']} at {record.at})" in lost["outrun"]
    assert "Read it and decide again." in lost["outrun"]
    server.poll()
    assert server.lineup and server.lineup.plan.number == won["plan"] == 5
    assert server.lineup.champion.version == won["champion"] and server.lineup.plan == line.state().plan
    assert line.ledger.verify("flight_delay", mirrored=(5, server.lineup.plan.record)) == []
    assert line.state().previous_champion == 1  # the loser never answered
    other = ({2, 3} - {won["champion"]}).pop()
    assert line.promote(other).previous == won["champion"]  # decided again


def test_a_promotion_that_is_killed_before_servers_see_it_is_in_force_and_the_next_look_shows_it(shared: tuple[ModelLine, str]):
    line, url = shared
    server = line.server()
    process = promoting(line, url, 2, "ana", "killed")
    begin(process)
    assert process.wait(timeout=60) == -signal.SIGKILL
    server.poll()
    assert server.lineup and server.lineup.champion.version == 1
    assert line.state().plan and line.state().previous_champion == 1 and line.ledger.verify("flight_delay") == []
    line.deployment.publish(line.state().plan)
    server.poll()
    assert server.lineup.champion.version == 2 and server.lineup.plan == line.state().plan
