"""An online store that a restart of Redis has emptied is filled again, by one run and without a person."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.refill import build_refill
from mlops_assets.resources import FeatureStoreResource
from tests.cli.loans import LOANS
from tests.graph.loan_line import LoanLine, moment, running_loans
from tests.servers.redis_server import RedisServer

JOB = names.job(LOANS.name, "refill_online")


@pytest.fixture
def line(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoanLine]:
    monkeypatch.setenv("MLOPS_ONLINE_STORE", redis_server.url)
    with running_loans(tmp_path) as line:
        line.environment = replace(line.environment, redis_url=redis_server.url)
        line.declare(LOANS)
        line.land_sound(0, 1)
        yield line


class Sensor:
    def __init__(self, line: LoanLine, redis: RedisServer) -> None:
        self.line, self.cursor, (self.sensor,) = line, None, build_refill(LOANS)["sensors"]
        self.store = FeatureStoreResource(
            home=str(line.home), project=str(line.environment.project), redis_url=redis.url
        )  # fmt: skip

    def tick(self) -> str:
        """Why no run is requested, or that one is."""
        resources = {"feature_store": self.store}
        with dg.build_sensor_context(self.line.instance, cursor=self.cursor, resources=resources) as context:
            result = self.sensor.evaluate_tick(context)
            self.cursor = result.cursor or self.cursor
        return result.skip_message or f"{len(result.run_requests)} run"

    def source(self) -> list[str]:
        """Where a lookup finds the newest payment of a customer."""
        result = self.store.open(LOANS.features.service).look_up({"customer": ["c1"], "event_timestamp": [moment(2)]})
        assert result.features["last_paid"] == [11.0]
        return result.features_from


def test_an_emptied_redis_is_filled_by_one_run(line: LoanLine, redis_server: RedisServer) -> None:
    sensor = Sensor(line, redis_server)
    assert sensor.tick() == "No run has filled the online store yet.", "the first delivery fills it"
    line.ingest("payments", 0, 1)
    line.fill(0, 1)
    assert sensor.tick() == "Every feature view is online." and sensor.source() == ["online"]
    redis_server.kill()
    assert "does not answer" in sensor.tick()
    redis_server.start()
    assert sensor.source() == ["point_in_time"]
    assert [sensor.tick() for _ in range(2)] == ["1 run", "No run has filled the online store yet."]
    assert line.definitions.resolve_job_def(JOB).execute_in_process(instance=line.instance).success
    assert sensor.tick() == "Every feature view is online." and sensor.source() == ["online"]
    redis_server.kill()
    redis_server.start()
    assert sensor.tick() == "1 run", "another loss"
