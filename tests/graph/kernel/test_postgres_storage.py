"""Canary: what graph/kernel/dagster_storage.py changes in Dagster's Postgres storages stores and reads the same, and connects once.

A failure after an upgrade: compare the functions of dagster_postgres that it replaces or calls with those of the new release.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import dagster as dg
import psycopg
import pytest
import yaml
from sqlalchemy import Engine, event

from mlops_assets.graph.kernel import dagster_storage as storage
from mlops_assets.graph.kernel.one_daemon import NoEventStored, claim_instance
from tests.graph.kernel.test_dagster_storage import CHANGING, FILES, RANGE, validate
from tests.servers.postgres_server import PostgresServer, dagster_storage, running_postgres

OTHER_FILES = dg.AssetKey("other_files")
CONNECTS = """
import sys
import dagster
from sqlalchemy import Engine, event
from mlops_assets.graph.kernel.one_daemon import NoEventStored, claim_instance
from mlops_assets.graph.kernel.dagster_storage import share_engines
connects = []
with dagster.DagsterInstance.from_config(sys.argv[1]) as before:
    share_engines()
    event.listen(Engine, "connect", lambda *_: connects.append(1))
    for _ in range(3):
        with dagster.DagsterInstance.from_ref(before.get_ref()) as opened:
            for instance in (before, opened):
                instance.get_runs(), instance.get_asset_keys(), instance.all_instigator_state()
                instance.report_runless_asset_event(dagster.AssetMaterialization("rows"))
print(len(connects))
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def configured(folder: Path, url: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(yaml.safe_dump({"storage": dagster_storage(url)}))
    return folder


def write(folder: Path, url: str) -> tuple[dict[str, Any], list[str]]:
    """What the tables have after two runs over eight days and the reports of the files of two tables, and the statements."""
    statements = list[str]()

    def keep(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    with dg.DagsterInstance.from_config(str(configured(folder, url))) as instance:
        storage.share_engines()
        event.listen(Engine, "before_cursor_execute", keep)
        runs = [dg.materialize([validate], instance=instance, tags=RANGE).run_id for _ in range(2)]
        days = [(key, str(day)) for key in (FILES, OTHER_FILES) for day in range(7)]
        made = [dg.AssetMaterialization(key, partition=day, tags={"dagster/data_version": day}) for key, day in days]
        storage.report_events(instance, [dg.AssetCheckEvaluation(FILES, "fine", passed=True), *made])
        event.remove(Engine, "before_cursor_execute", keep)
    return stored(url, runs), statements


def stored(url: str, runs: list[str]) -> dict[str, Any]:
    def plain(value: Any) -> str:
        text = str(value)
        for number, run in enumerate(runs):
            text = text.replace(run, f"run {number}").replace(run[:8], f"run {number}")
        return CHANGING.sub("*", text)

    # Without the ids of asset_keys: each update of a row skips one.
    tables = {
        "event_logs": "select * from event_logs order by id",
        "asset_keys": "select asset_key, last_materialization, last_run_id, asset_details from asset_keys order by 1",
        "asset_event_tags": "select event_id, asset_key, key, value from asset_event_tags order by 1, 3",
    }
    with psycopg.connect(url) as connection:
        read = {table: connection.execute(cast(Any, query)).fetchall() for table, query in tables.items()}
    return {table: [[*map(plain, row)] for row in rows] for table, rows in read.items()}


def test_events_in_batches_are_stored_in_postgres_as_one_by_one_and_in_few_statements(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    one_by_one, _ = write(tmp_path / "one", postgres.new_database())
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    together, statements = write(tmp_path / "many", postgres.new_database())
    assert together == one_by_one
    assert len(together["event_logs"]) > 2 * 2 * 2 * 8 + 14, "of two runs, kinds and assets on eight days, and of files"
    inserts = [one for one in statements if one.startswith("INSERT INTO event_logs")]
    single = sum("Materialization" not in row[2] for row in together["event_logs"])
    assert len(inserts) < single + 2 * 4 + 4, "one for each batch, and for each event of another kind"


def test_no_query_connects_to_postgres_again_also_of_an_instance_that_was_open_before(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    folder = configured(tmp_path / "dagster", postgres.new_database())
    command = [sys.executable, "-W", "ignore", "-c", CONNECTS, str(folder)]
    connects = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(connects.stdout.split()[-1]) <= 2, connects.stdout


def test_a_restarted_postgres_fails_no_query(postgres: PostgresServer, tmp_path: Path) -> None:
    storage.share_engines()
    with dg.DagsterInstance.from_config(str(configured(tmp_path / "dagster", postgres.new_database()))) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(FILES))
        storage.share_engines()
        assert instance.get_asset_keys() == [FILES]
        postgres.kill()
        postgres.start()
        assert instance.get_asset_keys() == [FILES] and not instance.get_runs()


def test_no_daemon_starts_on_an_address_by_which_no_event_is_stored(postgres: PostgresServer, tmp_path: Path) -> None:
    tmp_path.joinpath("dagster.yaml").write_text(
        yaml.safe_dump({"storage": {"postgres": {"postgres_url": postgres.new_database()}}})
    )
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        pytest.raises(
            NoEventStored, match=r"names the driver psycopg; legal: psycopg2, by an address .* postgresql\+psycopg2://"
        ),
    ):
        claim_instance(instance)
