"""A week of a backtest lands on the real platform while kill -9 ends its daemon, the worker of its run and its service, in an
order drawn by a seed. It ends with the tables, online features and records of a week that nothing disturbed.
"""

import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import dagster as dg
import httpx
import polars as pl
import psutil
import pytest

from mlops_assets.backtest.history import History
from mlops_assets.backtest.ingestion import plan_ingestion
from mlops_assets.backtest.replay import Replayer
from mlops_assets.backtest.settings import Settings
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.graph.in_process import InProcess
from mlops_assets.graph.kernel.conditions import UNFINISHED
from mlops_assets.graph.kernel.warm_launcher import PROCESS
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.platform import running_platform
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.resources import build_resources
from mlops_assets.serving.log.prediction_log import PredictionLog
from tests.backtest.past_loans import DAY, PAST_LOANS, REPO, day_of, land
from tests.graph.line import ON_ANY_PORT, environment_of, variables
from tests.integration.test_kill import tables_of
from tests.integration.test_platform import processes_of

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

SEED, FIRST, LAST = 7, 8, 14  # the week
SETTINGS = Settings(PAST_LOANS, day_of(FIRST), day_of(LAST), (LAST - FIRST + 1) * DAY)
DAEMON, SERVICE, WORKER = "dagster-daemon", "bentoml", "the worker of a run"  # the first two: in the command line
OF_THE_WEEK = ("raw", "validated", "quarantine", "feature")
PATIENCE_S = 400.0  # of a busy machine


def project(root: Path) -> Environment:
    """Whose code location declares the past loans."""
    made = environment_of(root, {"past_loans": REPO})
    package = root / "killed_week" / "past_loans"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text("from tests.backtest.past_loans import PAST_LOANS as USE_CASE\n")
    (root / "pyproject.toml").write_text('[tool.mlops]\nuse_cases = "killed_week"\n')
    return made


def nothing(_text: str, _steps: float) -> None: ...


def trained(environment: Environment, files: Landing) -> None:
    """The home before the week: the history has landed, and the first model serves."""
    with InProcess.opened(PAST_LOANS, environment) as platform:
        Replayer(SETTINGS, environment, History(PAST_LOANS, files), platform, nothing).begin()


def replayed(environment: Environment, files: Landing) -> None:
    """The week in this process."""
    landing, history, (start, end) = Landing(environment.home.landing), History(PAST_LOANS, files), (SETTINGS.start, SETTINGS.end)
    delivered = history.deliver(landing, after=start, until=end)
    with InProcess.opened(PAST_LOANS, environment) as platform:
        for paths, keys in plan_ingestion(PAST_LOANS, delivered, History(PAST_LOANS, landing).partitions, after=start, until=end):
            assert platform.materialize(paths, at=end, keys=keys).succeeded


def week_of(environment: Environment) -> dict[str, pl.DataFrame]:
    return {name: rows for name, rows in tables_of(environment.home).items() if name.split("/")[1] in OF_THE_WEEK}


def online_of(environment: Environment) -> Any:
    """The newest values of every customer, at the end of the week."""
    store = build_resources(environment)["feature_store"].open(PAST_LOANS.features.service)
    customers = [f"c{number}" for number in range(7)]
    return store.look_up({"customer": customers, "event_timestamp": [SETTINGS.end] * len(customers)})


class Requests(threading.Thread):
    """Sends one request after the other, to whatever server is up, and keeps the ids of the answers."""

    def __init__(self, url: str, use_case: str = PAST_LOANS.name) -> None:
        super().__init__(daemon=True)
        self.url, self.use_case, self.ended = f"{url}/{use_case}/predict", use_case, threading.Event()
        self.answered = list[str]()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            while not self.ended.wait(0.05):
                self._send(client)

    def _send(self, client: httpx.Client) -> None:
        row = {"number": 1 + len(self.answered), "customer": "c1", "amount": 30.0, "purpose": "car"}
        try:
            reply = client.post(self.url, json={"rows": [row | {"applied_at": datetime.now(UTC).isoformat()}]})
        except httpx.TransportError:  # it was killed
            return
        if reply.is_success:
            self.answered += [one["prediction_id"] for one in reply.json()["predictions"]]


@contextmanager
def requests(url: str) -> Generator[Requests]:
    sent = Requests(url)
    sent.start()
    try:
        yield sent
    finally:
        sent.ended.set()
        sent.join()


def processes(word: str) -> list[psutil.Process]:
    matching = list[psutil.Process]()
    for process in psutil.Process().children(recursive=True):
        try:
            matching += [process] if any(word in part for part in process.cmdline()) else []
        except psutil.Error:
            continue
    return matching


def workers(instance: dg.DagsterInstance) -> list[psutil.Process]:
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    pids = [int(run.tags[PROCESS].split()[1]) for run in runs if PROCESS in run.tags]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return result


def kill(word: str, instance: dg.DagsterInstance) -> None:
    """Once there is one; the worker of a run as soon as the run has begun."""
    victim = wait_until(lambda: workers(instance) if word == WORKER else processes(word), f"no process of {word}")[0]
    victim.kill()


def disturb(landing: Landing, instance: dg.DagsterInstance, chance: Random) -> None:
    """The days land one by one, and a process is killed after some of them."""
    victims = chance.sample([DAEMON, WORKER, SERVICE], 3)
    after = chance.sample(range(FIRST, LAST + 1), len(victims))
    for day in range(FIRST, LAST + 1):
        land(landing, range(day, day + 1))
        if day in after:
            kill(victims[after.index(day)], instance)
        time.sleep(chance.uniform(0.2, 1))


def is_over(instance: dg.DagsterInstance, environment: Environment, expected: dict[str, pl.DataFrame]) -> bool:
    if instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1):
        return False
    actual = week_of(environment)
    return actual.keys() == expected.keys() and all(actual[name].equals(rows) for name, rows in expected.items())


def test_a_week_in_which_every_process_is_killed_ends_as_one_without(tmp_path: Path) -> None:
    calm = project(tmp_path)
    land(files := Landing(tmp_path / "files"), range(LAST + 1))
    trained(calm, files)
    shutil.copytree(calm.home.root, tmp_path / "killed")
    killed = read_environment(variables(tmp_path / "killed") | ON_ANY_PORT, tmp_path)
    replayed(calm, files)
    expected, messages = week_of(calm), list[str]()
    with (
        running_platform(killed, everything=False, on_restart=messages.append) as addresses,
        dg.DagsterInstance.from_config(str(killed.home.dagster)) as instance,
        requests(addresses["service"]) as sent,
    ):
        wait_until(lambda: sent.answered, "the service does not answer")
        disturb(Landing(killed.home.landing), instance, Random(SEED))
        wait_until(lambda: is_over(instance, killed, expected), "the tables of the week differ")
        count = len(sent.answered)
        wait_until(lambda: len(sent.answered) > count, "the service does not answer after the week")
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert processes_of(killed.home.root) == []
    assert failed and {message.partition(" ")[0] for message in messages} >= {"service", "daemon"}, "something was killed"
    assert online_of(killed) == online_of(calm)
    assert Deployment(killed.home.deployments, "loans").plan() == Deployment(calm.home.deployments, "loans").plan()
    records = [Ledger(one.ledger_url).records("loans") for one in (killed, calm)]
    assert [record.digest for record in records[0]] == [record.digest for record in records[1]]
    logged = PredictionLog(killed.home.root / "prediction_log", PAST_LOANS).read()[0]["prediction_id"].to_list()
    assert len(logged) == len({*logged}) and {*sent.answered} <= {*logged}
