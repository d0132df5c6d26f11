"""A pulled source in the graph: its asset before the landed files, the sensor that runs it, and the way of its rows from there."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT
from mlops_assets.graph.ingestion import build_ingestion
from mlops_assets.graph.pulling import build_pulling
from mlops_assets.spec.form import Excel, JsonLines, Parquet
from mlops_assets.spec.grain import Hourly
from mlops_assets.spec.pulled_source import Http, Stream
from mlops_assets.spec.source import Files
from tests.graph.kernel.switching import switch
from tests.graph.line import Line, failed_checks, failure, running_line
from tests.graph.test_refused_days import run_cli
from tests.ingestion.pulling.shop import FIRST, SQL, shop
from tests.servers.postgres_server import running_postgres

USE_CASE = shop(SQL.but(every=timedelta(minutes=7)))
PULLED, LANDED = names.pulled("shop", "orders"), names.landing("shop", "orders")


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setenv("ORDERS_URL", f"sqlite:///{tmp_path / 'orders.db'}\n")  # as a mounted secret
    with running_line(tmp_path / "home", USE_CASE) as line:
        yield line


def execute(line: Line, *statements: str) -> None:
    engine = sa.create_engine(f"sqlite:///{line.home.parent / 'orders.db'}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def insert(*numbers: int, amount: float, updated: str) -> list[str]:
    return [
        f"INSERT OR REPLACE INTO orders VALUES ({number}, {amount}, 'x', 1, '2024-03-01 10:00:00', '{updated}')"
        for number in numbers
    ]


CREATE = "CREATE TABLE orders (number, amount, note, paid, ordered_at, updated_at)"
UNIQUE = "CREATE UNIQUE INDEX orders_number ON orders (number)"


def pull(line: Line) -> dg.ExecuteInProcessResult:
    job = line.definitions.resolve_job_def("shop_pull_orders")
    return job.execute_in_process(instance=line.instance, raise_on_error=False)


def test_rows_of_a_database_reach_the_validated_table_and_a_changed_row_corrects_it(line: Line) -> None:
    execute(line, CREATE, UNIQUE, *insert(*range(40), amount=1.0, updated="2024-03-01 11:00:00"))
    (materialization,) = pull(line).asset_materializations_for_node("shop__pulled_orders")
    metadata = {name: value.value for name, value in materialization.metadata.items()}
    assert metadata | {"rows_read": 40, "rows_outside": 0, "files_changed": 1, "files": "2024-03-01"} == metadata
    assert failed_checks(line.ingest("orders", 0)) == {}
    assert line.rows(names.validated("shop", "orders"))["amount"].to_list() == [1.0] * 40
    execute(line, *insert(7, amount=70.0, updated="2024-03-01 12:00:00"))
    assert pull(line).success
    line.ingest("orders", 0)
    rows = line.rows(names.validated("shop", "orders"))
    assert (rows.height, rows["amount"].sum()) == (40, 39 + 70.0)
    assert rows["day"].unique().to_list() == [FIRST]


def test_an_engineer_reads_a_source_now(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(line, CREATE, UNIQUE, *insert(*range(40), amount=1.0, updated="2024-03-01 11:00:00"))
    sensor = "A platform that runs reads them within seconds. Where none runs: `mlops run shop`, or `mlops up`.\n"
    for arguments, files in (((), 1), ((), 0), (("--anew",), 0)):
        result = run_cli(line, monkeypatch, "land", "shop", *arguments)
        assert (result.exit_code, result.output) == (0, f"orders: 40 rows read; files new or changed: {files}.\n{sensor}")
    monkeypatch.delenv("ORDERS_URL")
    result = run_cli(line, monkeypatch, "land", "shop")
    assert result.exit_code == 1 and "ORDERS_URL: the environment variable is not set" in result.output


def test_nothing_is_read_into_files_of_another_grain_than_that_of_the_table(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(line, CREATE, UNIQUE, *insert(1, amount=1.0, updated="2024-03-01 11:00:00"))
    assert pull(line).success and line.ingest("orders", 0).success
    files = {path: path.read_bytes() for path in line.landing.root.rglob("*") if path.is_file()}
    execute(line, *insert(2, amount=2.0, updated="2024-03-01 12:00:00"))
    line.declare(shop(SQL.but(grain=Hourly())))
    problem = "orders · its rows are stored by days in UTC, and declared by hours in UTC; nothing is mixed."
    assert problem in failure(pull(line))
    by_hand = run_cli(line, monkeypatch, "land", "shop")
    assert by_hand.exit_code == 1 and by_hand.output.startswith(problem)
    assert {path: path.read_bytes() for path in line.landing.root.rglob("*") if path.is_file()} == files
    line.declare(USE_CASE)
    assert pull(line).success and line.ingest("orders", 0).success
    assert line.rows(names.validated("shop", "orders"))["number"].to_list() == [1, 2]


def test_the_lineage_has_the_source_before_the_landed_files(line: Line) -> None:
    graph = line.definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(LANDED)).parent_keys == {dg.AssetKey(PULLED)}
    assert graph.get(dg.AssetKey(names.landing("shop", "applications"))).parent_keys == set()
    assert graph.get(dg.AssetKey(PULLED)).group_name == "shop_raw"


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        (Files(table="orders", form=Parquet()), {"parquet"}),
        (Files(table="orders", form=JsonLines()), {"json"}),
        (Files(table="orders", form=Excel()), {"excel"}),
        (SQL, {"sql", "csv"}),
        (Http(table="orders", url="http://host/", time="ordered_at"), {"http", "csv"}),
        (Stream(table="orders", brokers_variable="KAFKA", topic="t", group="g", time="ordered_at"), {"kafka", "csv"}),
    ],
    ids=lambda source: type(source).__name__,
)
def test_the_assets_show_where_rows_come_from_and_the_form_of_their_files(source: Files, kinds: set[str]) -> None:
    landed, raw, _ = build_ingestion(shop(SQL).but(sources=(Files(table="applications"), source)))[3:]
    assert isinstance(landed, dg.AssetSpec) and isinstance(raw, dg.AssetsDefinition)
    assert (landed.kinds, raw.get_asset_spec().kinds) == (kinds, {*kinds, "deltalake"})


def test_the_asset_is_stale_after_three_runs_that_failed(line: Line) -> None:
    policy = line.definitions.resolve_asset_graph().get(dg.AssetKey(PULLED)).freshness_policy
    assert policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=21))


def test_the_libraries_of_a_source_load_when_it_is_read(line: Line) -> None:
    code = "import sys, mlops_assets.graph.compile, mlops_assets.spec.pulled_source as s; print(s.__name__ in sys.modules, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} & {"True", "httpx", "confluent_kafka", "polars", "psycopg"} == {"True"}


def test_a_failed_pull_fails_its_run_and_names_the_cause_without_the_password(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_postgres() as server:  # one that does not answer would be tried again
        monkeypatch.setenv("ORDERS_URL", server.url().replace("postgres:p%40ss%3Aw%2Frd%25", "me:se%40cret"))
        result = pull(line)
    assert not result.success
    assert "CannotPull: shop · orders · ORDERS_URL · the database refuses: " in failure(result)
    logged = "".join(str(record) for record in line.instance.all_logs(result.run_id))
    assert not [secret for secret in ("se%40cret", "se@cret") if secret in logged + failure(result)]
    monkeypatch.delenv("ORDERS_URL")
    assert "shop · orders · ORDERS_URL: the environment variable is not set. Set it, and pull again." in failure(pull(line))


def test_nothing_is_pulled_for_a_use_case_that_is_stopped(tmp_path: Path) -> None:
    (sensor,) = build_pulling(USE_CASE)["sensors"]
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, dg.build_sensor_context(instance) as context:
        switch(instance, "shop_automation", on=False)
        assert "shop_automation is stopped" in sensor.evaluate_tick(context).skip_message
        switch(instance, "shop_automation", on=True)
        assert sensor.evaluate_tick(context).run_requests


def test_the_sensor_starts_one_run_at_a_time_at_the_declared_interval(line: Line) -> None:
    (sensor,) = build_pulling(USE_CASE)["sensors"]
    assert (sensor.name, sensor.minimum_interval_seconds, sensor.default_status.value) == ("shop_pull_orders", 420, "RUNNING")

    def tick() -> Any:
        with dg.build_sensor_context(instance=line.instance, definitions=line.definitions) as context:
            return sensor.evaluate_tick(context)

    assert len(tick().run_requests) == 1
    job = line.definitions.resolve_job_def("shop_pull_orders")
    run = line.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert (tick().run_requests, tick().skip_message) == ([], "The run before has not ended.")
    line.instance.delete_run(run.run_id)
    assert len(tick().run_requests) == 1
