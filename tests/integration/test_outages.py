"""The stores of the real platform are out of order for half a minute while days land: a Postgres that has everything, and Redis."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.graph.failed_runs import WILL_RETRY, read_failed_runs
from mlops_assets.graph.kernel.conditions import UNFINISHED
from mlops_assets.graph.trainings import error_of
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.platform import running_platform
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.resources import build_resources
from mlops_assets.serving.log.prediction_log import PredictionLog
from tests.backtest.past_loans import A_DAY, PAST_LOANS, day_of, land, rows_of
from tests.graph.line import ON_ANY_PORT, variables
from tests.integration.test_killed_week import Requests, project, requests, wait_until
from tests.servers.postgres_server import PostgresServer, running_postgres
from tests.servers.redis_server import RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
OUTAGE_S, SLICE_S = 30.0, 5.0
LANDED, CUSTOMERS = 8, 7  # days before the first outage
OUTAGE = re.compile("connection to server|server closed|terminating connection|starting up|shutting down|outage of its database")


@dataclass
class Platform:
    environment: Environment
    instance: dg.DagsterInstance
    postgres: PostgresServer
    redis: RedisServer
    sent: Requests
    restarts: list[str]
    days: int = LANDED

    def land(self) -> None:
        """One more day."""
        land(Landing(self.environment.home.landing), range(self.days, self.days + 1))
        self.days += 1

    def is_running(self) -> bool:
        return bool(self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]), limit=1))

    def answers_while(self, stop: Callable[[], None], start: Callable[[], None]) -> None:
        """The outage: the service answers all the time."""
        stop()
        for _ in range(int(OUTAGE_S / SLICE_S)):
            count = len(self.sent.answered)
            time.sleep(SLICE_S)
            assert len(self.sent.answered) > count, "the service has not answered for seconds"
        start()

    def rows(self, stage: Callable[[str, str], names.AssetPath], name: str) -> pl.DataFrame:
        tables, path = DeltaTables(self.environment.home.tables), stage(PAST_LOANS.name, name)
        return tables.scan(path).collect() if tables.exists(path) else pl.DataFrame()

    def is_done(self) -> bool:
        """Every row of the landed days is stored once, the newest values are online, and nothing runs."""
        applied, filled = self.rows(names.validated, "applications"), self.rows(names.feature, "last_payment")
        is_whole = (len(applied), len(filled)) == (A_DAY * self.days, CUSTOMERS * self.days)
        with suppress(OnlineStoreDown):
            return is_whole and self.source() == ["online"] and self.is_idle()
        return False

    def source(self) -> list[str]:
        """Where a lookup finds the newest payment; nowhere while it is on its way."""
        store = build_resources(self.environment)["feature_store"].open(PAST_LOANS.features.service)
        at = datetime.combine(day_of(self.days), datetime.min.time(), UTC)
        result = store.look_up({"customer": ["c1"], "event_timestamp": [at]})
        is_newest = result.features["last_paid"] == [rows_of(self.days - 1)[1]["paid"][1]]
        return result.features_from if is_newest else []

    def is_idle(self) -> bool:
        return not self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root, redis = tmp_path_factory.mktemp("project"), RedisServer(tmp_path_factory.mktemp("redis"), durable=False)
    project(root)
    with ExitStack() as open_, running_postgres() as postgres, pytest.MonkeyPatch.context() as patched:
        redis.start()
        open_.callback(redis.kill)
        dagster = postgres.new_database().replace("postgresql:", "postgresql+psycopg2:")
        settings = yaml.safe_load(Path("dagster.yaml").read_text()) | {"storage": {"postgres": {"postgres_url": dagster}}}
        (root / "dagster.yaml").write_text(yaml.safe_dump(settings))
        stores = {
            "MLOPS_LEDGER": postgres.new_database(), "MLOPS_MLFLOW_STORE": postgres.new_database(),
            "MLOPS_ONLINE_STORE": redis.url,
        }  # fmt: skip
        for name, value in stores.items():
            patched.setenv(name, value)
        environment = read_environment(variables(root / "home") | ON_ANY_PORT | stores, root)
        land(Landing(environment.home.landing), range(LANDED))
        restarts = list[str]()
        with (
            running_platform(environment, everything=False, on_restart=restarts.append) as addresses,
            dg.DagsterInstance.from_config(str(environment.home.dagster)) as instance,
            requests(addresses["service"]) as sent,
        ):
            yield Platform(environment, instance, postgres, redis, sent, restarts)


def test_runs_that_begin_during_an_outage_of_postgres_succeed(platform: Platform) -> None:
    """The home is new, its first run is under way, and nothing serves yet."""
    wait_until(platform.is_running, "no run begins")
    platform.postgres.kill()
    time.sleep(OUTAGE_S)
    platform.postgres.start()
    wait_until(lambda: platform.sent.answered, "no version serves")
    wait_until(platform.is_done, "the tables are not those of what has landed")
    records = Ledger(platform.environment.ledger_url).records(PAST_LOANS.name)
    assert [record.kind for record in records] == ["blessing", "promotion"], "one training"


@pytest.mark.parametrize("outage", ["is gone", "hangs"])
def test_the_service_answers_while_postgres(platform: Platform, outage: str) -> None:
    server = platform.postgres
    platform.land()
    wait_until(platform.is_running, "no run begins")
    platform.answers_while(*((server.kill, server.start) if outage == "is gone" else (server.suspend, server.resume)))
    wait_until(platform.is_done, "the tables are not those of what has landed")


def test_each_run_that_failed_names_the_cause_and_was_retried(platform: Platform) -> None:
    failed = read_failed_runs(platform.instance)
    errors = [error_of(platform.instance, run.run_id) for run in failed]
    assert errors and all(OUTAGE.search(error) for error in errors), errors
    assert all(run.tags[WILL_RETRY] == "true" for run in failed)


def test_online_features_are_there_again_after_redis_was_gone_and_comes_back_empty(platform: Platform) -> None:
    wait_until(platform.is_done, "the tables are not those of what has landed")
    platform.redis.kill()
    platform.land()
    wait_until(platform.is_running, "no run begins")
    time.sleep(OUTAGE_S)
    platform.redis.start()
    wait_until(platform.is_done, "the newest values are not online")
    platform.redis.kill()
    platform.redis.start()  # and nothing lands
    assert platform.source() == ["point_in_time"]
    wait_until(platform.is_done, "the newest values are not online")


def test_no_answer_is_lost_or_logged_twice_and_the_ledger_is_whole(platform: Platform) -> None:
    wait_until(lambda: platform.sent.answered, "no version serves")
    answered = {*platform.sent.answered}
    logged = PredictionLog(platform.environment.home.prediction_log, PAST_LOANS).read()[0]["prediction_id"].to_list()
    assert len(logged) == len({*logged}) and answered <= {*logged}
    assert Ledger(platform.environment.ledger_url).verify(PAST_LOANS.name) == []
    assert platform.restarts == [], "no process ended"
