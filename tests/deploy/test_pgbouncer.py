"""Ledger, MLflow and Dagster's event log behind a real pgbouncer whose clients share connections by transaction."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.training.model_registry import ModelRegistry
from tests.servers.pgbouncer import needs_pgbouncer, pooled
from tests.servers.postgres_server import PostgresServer, running_postgres
from tests.training.mlflow_runs import new_run

pytestmark = [pytest.mark.slow, needs_pgbouncer]  # MLflow creates its tables
CLIENTS, TIMES = 8, 20  # a driver prepares a statement at its fifth use
AT = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def test_every_record_of_the_ledger_is_written_once(postgres: PostgresServer) -> None:
    with pooled(postgres.new_database()) as url, ThreadPoolExecutor(CLIENTS) as pool:

        def write(client: int) -> None:
            for _ in range(TIMES):
                Ledger(url).append("loans", "refusal", {"version": client, "reason": "too weak"}, by="a test", at=AT)

        _ = [*pool.map(write, range(CLIENTS))]
        assert len(Ledger(url).records("loans")) == CLIENTS * TIMES and Ledger(url).verify("loans") == []


def test_runs_and_models_of_mlflow_are_written_and_read(postgres: PostgresServer, tmp_path: Path) -> None:
    with pooled(postgres.new_database()) as url, ThreadPoolExecutor(CLIENTS) as pool:
        registry = ModelRegistry(tmp_path / "mlflow", url)
        run_id = new_run(registry, "loans").run_id
        version = registry.register("loans", b"a model", run_id=run_id, tags={}, description="a model")
        assert {*pool.map(lambda _: registry.load("loans", version), range(CLIENTS * TIMES))} == {b"a model"}


def test_events_of_runs_are_stored(postgres: PostgresServer, tmp_path: Path) -> None:
    @dg.asset
    def rows() -> None: ...

    with pooled(postgres.new_database()) as url:
        address = url.replace("postgresql:", "postgresql+psycopg2:")
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"postgres": {"postgres_url": address}}}))
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            share_engines()
            runs = {dg.materialize([rows], instance=instance).run_id for _ in range(3)}
            events = instance.fetch_materializations(rows.key, limit=10).records
            assert {event.run_id for event in events} == runs == {run.run_id for run in instance.get_runs()}
