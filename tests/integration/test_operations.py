"""Real servers watched by the sensor: exact counts over restarts, failures, a dead server, and what becomes of the check."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.kernel.check_verdict import CheckVerdict
from mlops_assets.graph.kernel.dagster_internals import newest_check
from mlops_assets.graph.monitoring import build_monitoring, build_monitoring_sensors
from mlops_assets.monitoring import operations
from mlops_assets.resources import build_resources
from mlops_assets.spec.monitor import Operations, Skew
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.trigger import OnAlarm
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.graph.line import variables
from tests.integration.running_service import AT, Server, started, wait_until
from tests.serving.flights import FLIGHT, place_blessed
from tests.serving.loan_models import LOAN, place_loan_model

pytestmark = pytest.mark.integration

BOUNDS = Operations(
    interval=timedelta(seconds=10), max_error_rate=0.01, max_latency_p99_ms=5000, cost_per_server_hour=3600, min_requests=10
)


@dataclass
class Watch:
    """The sensor and the asset of one use case, whose servers these are."""

    use_case: UseCase
    home: Home
    servers: list[Server]
    instance: dg.DagsterInstance
    cursor: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def key(self) -> dg.AssetCheckKey:
        return dg.AssetCheckKey(dg.AssetKey(names.stage(self.use_case.name, "operations")), Operations.CHECK)

    def resources(self) -> Any:
        urls = ",".join(f"http://127.0.0.1:{server.port}" for server in self.servers)
        own = build_resources(read_environment(variables(self.home.root) | {"MLOPS_SERVICE_URL": urls}, PROJECT))
        return {name: own[name] for name in ("live_services", "deployment", "warehouse")}  # type: ignore[literal-required]

    def tick(self, *, is_due: bool = True) -> Any:
        """As the daemon does; a sensor that is due has no cursor."""
        (sensor,) = build_monitoring_sensors(self.use_case)
        cursor = None if is_due else self.cursor
        with dg.build_sensor_context(instance=self.instance, cursor=cursor, resources=self.resources()) as context:
            result = sensor.evaluate_tick(context)
        self.cursor = result.cursor or self.cursor
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        return result

    def look(self) -> CheckVerdict:
        self.tick()
        event = self.instance.get_latest_materialization_event(self.key.asset_key)
        assert event and event.asset_materialization
        self.metadata = {
            name: getattr(entry, "records", entry.value) for name, entry in event.asset_materialization.metadata.items()
        }
        verdict = CheckVerdict.of_record(newest_check(self.instance, self.key))
        assert verdict and verdict.reason_to_train == 0
        return verdict

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(record.data) for record in self.metadata[table]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    home = Home(tmp_path_factory.mktemp("home"))
    place_blessed(home, 1, bias=0).point(1, AT, "first")
    servers = [Server(home, "tests.integration.several_services:Several") for _ in range(2)]
    with started(*servers):
        yield servers


@pytest.fixture
def watch(servers: list[Server]) -> Iterator[Watch]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watch(USE_CASE.but(monitors=(Skew(), BOUNDS), triggers=()), servers[0].home, servers[:1], instance)


def send(server: Server, count: int, use_case: UseCase = USE_CASE, *, rows: Any = FLIGHT, status: int = 200) -> None:
    for _ in range(count):
        assert server.predict({"rows": [rows]}, f"/{use_case.name}/predict").status == status


def test_two_servers_and_a_restart_are_counted_exactly_and_a_dead_one_is_an_alarm_that_names_it(
    watch: Watch, servers: list[Server]
) -> None:
    second, first = watch.servers = [*servers]
    assert watch.look().verdict == "not enough data" and watch.metadata["requests"] == 0
    send(first, 30)
    send(second, 20)
    send(second, 4, rows={}, status=400)
    verdict = watch.look()
    assert verdict.verdict == "healthy", verdict
    assert (watch.metadata["requests"], watch.metadata["predictions"]) == (54, 50)
    assert watch.rows("statuses") == [
        {"status": 200, "requests": 50, "share": 0.9259},
        {"status": 400, "requests": 4, "share": 0.07407},
    ]
    assert [(row["requests"], row["processes"]) for row in watch.rows("servers")] in ([(30, 1), (24, 1)], [(24, 1), (30, 1)])
    assert watch.metadata["error_rate"] == 0 and watch.metadata["cpu_s"] > 0 and 50 < watch.metadata["resident_mb"] < 2000
    assert 0 < watch.metadata["latency_p50_ms"] <= watch.metadata["latency_p95_ms"] <= watch.metadata["latency_p99_ms"] < 5000

    first.kill()
    silent, short = f"http://127.0.0.1:{first.port}", timedelta(milliseconds=1)
    verdict = watch.look()
    assert verdict.verdict == "not enough data" and f"{silent} does not answer" in verdict.message, "it may be restarting"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(operations, "GRACE", short)
        verdict = watch.look()
    assert verdict.verdict == "alarm" and verdict.symptoms == (silent,)
    assert verdict.message.startswith(f"{silent} has not answered since ") and "54 requests in 1 h" in verdict.message
    with started(first):
        send(first, 5)
        assert watch.look().verdict == "healthy"
        assert watch.metadata["requests"] == 59, "those before the restart and after it"
        assert {row["server"]: row["processes"] for row in watch.rows("servers")}[silent] == 2
    watch.servers.remove(first)
    assert watch.look().verdict == "healthy", "what is not named any more need not answer"
    assert watch.metadata["requests"] == 59, "and has served"


def test_failures_of_the_server_are_an_alarm_and_the_cost_is_shown_with_its_formula(watch: Watch) -> None:
    watch.use_case = LOANS.but(monitors=(BOUNDS.but(max_cost_per_1000=1e-6),))
    (server,) = watch.servers
    send(server, 12, LOANS, rows=LOAN, status=503)  # without a champion
    assert watch.look().message.endswith("No version serves yet.")
    place_loan_model(watch.home, 1, bias=0, use_case=LOANS).point(1, AT)
    wait_until(lambda: server.answers(f"/{LOANS.name}/readyz"), 10, server.last_words)
    send(server, 20, LOANS, rows=LOAN)
    verdict = watch.look()
    assert verdict.verdict == "alarm" and verdict.symptoms == ("error_rate", "cost_per_1000")
    assert "37.50% of 32 requests failed (12 with 503), and 1.00% may." in verdict.message
    formula = watch.metadata["cost_formula"]
    assert formula.startswith("1000 × (") and formula.endswith(" server h × 3600) / 20 predictions")
    hours = float(formula.removeprefix("1000 × (").split()[0])
    assert watch.metadata["cost_per_1000"] == pytest.approx(1000 * hours * 3600 / 20, rel=1e-3)


def test_the_check_runs_again_at_its_interval_whatever_else_happens_and_by_hand(watch: Watch) -> None:
    send(watch.servers[0], BOUNDS.min_requests)
    before = datetime.now(UTC)
    result = watch.tick()
    assert len(result.asset_events) == 2
    due = datetime.fromisoformat(watch.cursor or "")
    assert before + BOUNDS.interval <= due <= datetime.now(UTC) + BOUNDS.interval
    assert watch.tick(is_due=False).skip_message == "Servers are looked at every 10 s."
    asset = next(one for one in build_monitoring(watch.use_case) if watch.key.asset_key in one.keys)
    made = dg.materialize([asset], resources=watch.resources(), instance=watch.instance)
    (check,) = made.get_asset_check_evaluations()
    assert made.success and check.metadata["verdict"].value == "healthy"
    (event,) = made.asset_materializations_for_node(asset.node_def.name)
    assert str(event.metadata["pictures"].value).startswith("![latency]")


def test_a_server_of_other_use_cases_is_named_where_there_is_no_other(watch: Watch) -> None:
    other = LOANS.but(name="cars", monitors=(BOUNDS,))
    place_loan_model(watch.home, 1, bias=0, use_case=other).point(1, AT)
    watch.use_case = other
    verdict = watch.look()
    assert verdict.verdict == "alarm" and verdict.message.startswith("No server of cars is at http://127.0.0.1:")


def test_no_trigger_trains_for_it() -> None:
    with pytest.raises(
        IllegalDeclaration, match="OnAlarm reads the result of the monitor OwnMonitor or Estimation; monitors: Operations"
    ):
        LOANS.but(monitors=(BOUNDS,), triggers=(OnAlarm(monitor="operations"),))
