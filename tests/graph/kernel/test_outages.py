"""Which errors of real libraries, from real servers, ports, locks and disks, are tried again, how often, and which are not."""

import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread, Timer
from types import SimpleNamespace
from typing import Any, cast

import boto3
import dagster as dg
import httpx
import polars as pl
import pytest
import redis
import requests
import sqlalchemy as sa
from botocore.config import Config
from filelock import FileLock
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlops_assets.features.online.key_value_stores import unavailable_when_down
from mlops_assets.foundation.outages import OUTAGES, Outage, outage_of
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.lasting_failures import FailingByRule
from mlops_assets.graph.kernel.outages import tried_again
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.spec.task import Binary
from mlops_assets.spec.use_case import UseCase
from tests.servers.postgres_server import PostgresServer, running_postgres

CLOSED = "http://127.0.0.1:1"
RATE, SERVICE, LOCK, DISK, DATABASE, NETWORK = OUTAGES
Caller = Callable[[], object]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


class _Status(BaseHTTPRequestHandler):
    """The status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/").partition("/")[0].partition("?")[0]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Status) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def error_of(call: Caller) -> Exception:
    with pytest.raises(Exception) as raised:
        call()
    return raised.value


def from_error(call: Caller) -> None:
    """As our own errors are raised, without their cause for people."""
    try:
        call()
    except Exception:  # noqa: BLE001
        raise ValueError("one sentence") from None


def read_bucket(url: str) -> None:
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = cast(Any, boto3).client("s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **keys)
    client.get_object(Bucket=url.rpartition("/")[2], Key="file")


def read_redis() -> None:
    with unavailable_when_down("redis://127.0.0.1:1"):
        redis.Redis(port=1, retry=Retry(NoBackoff(), 0)).ping()


def query(url: str, statement: str = "SELECT 1") -> None:
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        connection.execute(sa.text(statement))


def get(url: str) -> None:
    httpx.get(url, trust_env=False).raise_for_status()


def write_full() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


CLOSED_PORT: dict[str, Caller] = {
    "httpx": lambda: get(CLOSED),
    "requests": lambda: requests.get(CLOSED, timeout=5),
    "urllib": lambda: urllib.request.urlopen(CLOSED),
    "redis": read_redis,
    "s3": lambda: read_bucket(f"{CLOSED}/503"),
}


@pytest.mark.parametrize("name", CLOSED_PORT)
def test_a_server_that_does_not_answer_is_tried_again(name: str) -> None:
    assert outage_of(error_of(CLOSED_PORT[name])) is NETWORK
    assert outage_of(error_of(lambda: from_error(CLOSED_PORT[name]))) is NETWORK


@pytest.mark.parametrize(("status", "outage"), [(429, RATE), (503, SERVICE), (500, SERVICE), (404, None), (401, None)])
def test_an_http_status_decides_whether_a_request_is_tried_again(server: str, status: int, outage: Outage | None) -> None:
    url = f"{server}/{status}"
    calls: list[Caller] = [
        lambda: get(url),
        lambda: requests.get(url, timeout=5).raise_for_status(),
        lambda: urllib.request.urlopen(url),
        lambda: read_bucket(url),
    ]
    assert [outage_of(error_of(call)) for call in calls] == [outage] * len(calls)


def test_a_database_that_is_stopped_is_tried_again_and_a_wrong_query_or_password_is_not(postgres: PostgresServer) -> None:
    url, wrong = postgres.new_database(), postgres.url().replace("p%40ss", "sesame")
    for legal, statement in ((wrong, "SELECT 1"), (f"{url}x", "SELECT 1"), (url, "SELECT nothing"), (url, "SELECT 1/0")):
        assert outage_of(error_of(lambda legal=legal, statement=statement: query(legal, statement))) is None
    assert outage_of(error_of(Ledger(wrong).use_cases)) is None
    postgres.kill()
    try:
        assert outage_of(error_of(lambda: query(url))) is DATABASE
        assert outage_of(error_of(Ledger(url).use_cases)) is DATABASE
    finally:
        postgres.start()


def test_a_lock_that_another_holds_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "one.db"
    with closing(sqlite3.connect(file, timeout=0)) as writer, closing(sqlite3.connect(file, timeout=0)) as other:
        writer.execute("BEGIN EXCLUSIVE")
        assert outage_of(error_of(lambda: other.execute("CREATE TABLE t (a)"))) is LOCK
        assert outage_of(error_of(lambda: query(f"sqlite:///{file}?timeout=0", "CREATE TABLE t (a)"))) is LOCK
    with FileLock(tmp_path / "lock"):
        assert outage_of(error_of(FileLock(tmp_path / "lock", timeout=0).acquire)) is LOCK


def test_a_full_disk_is_tried_again() -> None:
    assert outage_of(error_of(write_full)) is DISK
    assert outage_of(error_of(lambda: pl.DataFrame({"a": range(9)}).write_parquet("/dev/full"))) is DISK
    with closing(sqlite3.connect(":memory:")) as small:
        small.execute("PRAGMA max_page_count = 1")
        assert outage_of(error_of(lambda: small.execute("CREATE TABLE t (a)"))) is DISK


WRONG: dict[str, Caller] = {
    "a declaration": lambda: UseCase(
        name="No name", owner="me", question="?", sources=(), contracts=(), task=Binary(label="a", positive=1)
    ),
    "a missing file": lambda: Path("/nowhere").read_text(),
    "a folder in place of a file": lambda: Path("/").read_text(),
    "a value": lambda: int("x"),
    "a column": lambda: pl.DataFrame({"a": [1]}).select("b"),
    "a table": lambda: query("sqlite://", "SELECT * FROM nothing"),
    "a file without rows": lambda: pl.read_parquet("/dev/null"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_that_a_person_has_to_correct_is_not_tried_again(name: str) -> None:
    assert outage_of(error_of(WRONG[name])) is None


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda one: one.noun)
def test_the_pauses_grow_and_end_within_five_minutes(outage: Outage) -> None:
    assert [*outage.pauses_s] == sorted({*outage.pauses_s})
    assert 60 <= sum(outage.pauses_s) <= 300


def run(function: Callable[..., Any], **resources: Any) -> tuple[dg.ExecuteInProcessResult, list[float]]:
    """One run of an asset, and the pauses before it was tried again."""
    made = asset(key=["any", "asset"], description="", code_version="1", io_manager_key="values")(function)
    values = {"values": FailingByRule(dg.InMemoryIOManager())}
    result = dg.materialize([made], resources=values | resources, raise_on_error=False)
    again = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]
    return result, [event.step_retry_data.seconds_to_wait or 0 for event in again]


def test_a_run_waits_for_a_database_that_is_started_again(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    postgres.kill()
    starter = Timer(0.5, postgres.start)  # after the first try

    def ledger() -> int:
        with suppress(RuntimeError):  # it has been started
            starter.start()
        return len(Ledger(url).use_cases())

    result, pauses = run(ledger)
    starter.join()
    assert (result.success, pauses) == (True, [2, 4][: len(pauses) or 1])


def test_a_run_waits_for_a_lock_of_its_io_manager(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "lock", thread_local=False)
    held.acquire()
    Timer(0.8, held.release).start()

    class Locked(dg.InMemoryIOManager):
        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            with FileLock(tmp_path / "lock", timeout=0):
                super().handle_output(context, obj)

    def number() -> int:
        return 1

    result, pauses = run(number, values=FailingByRule(Locked()))
    assert (result.success, pauses) == (True, [1])


def test_a_run_with_bad_data_fails_at_once() -> None:
    def number() -> int:
        return int("x")

    result, pauses = run(number)
    assert (result.success, pauses) == (False, [])


def test_an_outage_that_lasts_fails_the_step_with_its_own_error() -> None:
    tries, legal = len(NETWORK.pauses_s), list[float | None]()
    for number in range(tries + 1):
        context: Any = SimpleNamespace(retry_number=number, log=SimpleNamespace(warning=legal.append))
        with pytest.raises(dg.RetryRequested if number < tries else httpx.ConnectError) as raised, tried_again(context):
            get(CLOSED)
        if isinstance(raised.value, dg.RetryRequested):
            assert (raised.value.max_retries, isinstance(raised.value.__cause__, httpx.ConnectError)) == (tries, True)
    assert len(legal) == tries
