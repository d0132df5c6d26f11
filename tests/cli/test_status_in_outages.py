"""What `mlops status` and `mlops plan` say, at once, while the event log's Postgres and the online store's Redis do not answer."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from mlops_assets.foundation.home import PROJECT, Home
from tests.graph.line import variables
from tests.promotion.model_line import ModelLine

pytestmark = [pytest.mark.slow, pytest.mark.integration]
NOBODY = "127.0.0.1:1"
POSTGRES = "telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: 'postgresql://u:secret@{}/db'}}}}\n"
REDIS = f"online store · Redis at {NOBODY}/0 does not answer: "


class Database(NamedTuple):
    """A server that is not ready: it closes each connection, or never replies. `connections` are those that came."""

    address: str
    connections: list[socket.socket]


@pytest.fixture(params=["closes", "hangs"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = list[socket.socket]()

        def accept() -> None:
            while connection := _accepted(server):
                connections.append(connection)
                if request.param == "closes":
                    connection.close()

        thread = Thread(target=accept)
        thread.start()
        yield Database(f"127.0.0.1:{server.getsockname()[1]}", connections)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


def _accepted(server: socket.socket) -> socket.socket | None:
    try:
        return server.accept()[0]
    except OSError:  # the test has ended
        return None


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Home:
    """Version 1 serves."""
    line = ModelLine(tmp_path)
    line.bless(1)
    line.promote(1)
    home = Home(tmp_path)
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text(POSTGRES.format(database.address))
    return home


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    names = variables(home.root) | {"MLOPS_ONLINE_STORE": f"redis://:secret@{NOBODY}/0", "COLUMNS": "1000"}
    command = [sys.executable, "-m", "mlops_assets", *words]
    return subprocess.run(command, env=names, cwd=PROJECT, capture_output=True, text=True, check=False)


def unanswered(database: Database) -> str:
    return f"event log · postgresql://u:***@{database.address}/db · does not answer: "


def test_status_says_what_serves_and_has_a_line_for_each_store(home: Home, database: Database) -> None:
    result = run(home, "status", "flight_delay")
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert len([line for line in lines if line.startswith(f"runs: {home.dagster} cannot be read: {unanswered(database)}")]) == 1
    assert [line.startswith(f"features: {REDIS}") for line in lines].count(True) == 1
    assert any(line.startswith("serving: version 1 since ") for line in lines)
    assert "secret" not in result.stdout
    assert len(database.connections) == 1, "each further try is one more pause"


def test_the_overview_names_both_stores(home: Home, database: Database) -> None:
    result = run(home, "status", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert unanswered(database) in result.stdout and REDIS in result.stdout
    assert len(database.connections) == 1


def test_plan_fails_with_one_line(home: Home, database: Database) -> None:
    result = run(home, "plan", "flight_delay")
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert result.stderr.startswith(unanswered(database)) and "secret" not in result.stderr
    assert result.stderr.endswith(f"Start the database, or correct `storage` in {home.dagster / 'dagster.yaml'}.\n")
    assert len(database.connections) == 1
