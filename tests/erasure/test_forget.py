"""A customer is erased from a complete, real home: no file contains them, and all other rows stay."""

import datetime as dt
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis
from deltalake import DeltaTable

from mlops_assets.erasure.forget import Forgotten, forget_subject, look_for
from mlops_assets.erasure.stores import Stores
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.ingestion.landing import Landing
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.serving.log.keyed_hash import keyed_hash, log_secret
from mlops_assets.serving.log.prediction_log import PredictionLog
from tests.erasure.killed_forget import opened
from tests.erasure.shop import DAYS, FIRST, LAST, ONE, OTHERS, SHOP, environment_of, orders
from tests.features.feast.lookups import lookup
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.slow

NOW = dt.datetime.now(dt.UTC)
SCRIPT = Path(__file__).with_name("killed_forget.py")
TABLES = sorted([
    *(f"{stage}/{table}" for stage in ("raw", "validated") for table in ("orders", "returns", "customers")),
    "quarantine/orders", "feature/customer_spend", "feature/pair_spend", "predictions", "outcomes",
])  # fmt: skip


def forgotten(root: Path, whom: str = ONE) -> Forgotten:
    subject, stores = opened(root, whom)
    return forget_subject(SHOP, subject, stores, why="letter of 3 May", by="Ada", at=NOW)


def naming(root: Path, whom: str = ONE) -> set[str]:
    """The files under the home that contain the customer, in clear or hashed; Parquet also decoded."""
    home = environment_of(root).home
    texts = [whom.encode(), keyed_hash(whom, log_secret(home.keys)).encode()]
    return {
        path.relative_to(home.root).as_posix() for path in home.root.rglob("*") if any(text in content(path) for text in texts)
    }


def content(path: Path) -> bytes:
    if path.is_dir():
        return b""
    decoded = pl.read_parquet(path, glob=False, hive_partitioning=False).to_dicts() if path.suffix == ".parquet" else []
    return path.read_bytes() + json.dumps(decoded, default=str).encode()


def rows_of_the_others(root: Path) -> dict[str, pl.DataFrame]:
    """Every table and log without the customer's rows, in one order."""
    home = environment_of(root).home
    tables, secret = DeltaTables(home.tables), log_secret(home.keys)
    frames = {"/".join(asset): tables.scan(asset).collect() for asset in tables.assets("shop")}
    frames |= {folder.name: PredictionLog(folder, SHOP).read()[0] for folder in (home.prediction_log, home.shadow_log)}
    theirs = [ONE, keyed_hash(ONE, secret)]
    kept = {
        name: frame.filter(~pl.col("customer_id").str.strip_chars().is_in(theirs)) if "customer_id" in frame.columns else frame
        for name, frame in frames.items()
    }
    order = ["day", "source_file", "source_line", "prediction_id", "order_id", "customer_id", "city", "event_timestamp"]
    return {
        name: frame.sort([column for column in order if column in frame.columns], maintain_order=True)
        for name, frame in kept.items()
    }


def lines_of_the_others(root: Path) -> dict[str, list[bytes]]:
    files = sorted((environment_of(root).home.landing).rglob("*.csv"))
    return {
        path.name + path.parent.name: [line for line in path.read_bytes().splitlines() if ONE.encode() not in line]
        for path in files
    }


def looked_up(stores: Stores, *whom: str) -> pl.DataFrame:
    entities = pl.DataFrame({"customer_id": whom, "city": "Ulm", "event_timestamp": dt.datetime(2024, 4, 1)})
    return lookup(stores.features, entities)


def test_no_file_contains_the_customer_any_more(root: Path) -> None:
    before = naming(root)
    places = ("landing/", "tables/shop/raw", "tables/shop/validated", "tables/shop/quarantine", "tables/shop/feature", "tables/shop/pred",
              "tables/shop/outcomes", "tables/shop/training_set", "prediction_log/", "shadow_log/", "feast/online", "feast/mirror")  # fmt: skip
    assert all(any(name.startswith(place) for name in before) for place in places)
    assert not any("_delta_log" in name for name in before), "statistics are not written"
    done = forgotten(root)
    assert naming(root) == set()
    assert done.still == {}


def test_all_other_rows_lines_predictions_and_online_values_stay(root: Path) -> None:
    rows, lines, (_, stores) = rows_of_the_others(root), lines_of_the_others(root), opened(root)
    online = looked_up(stores, *OTHERS)
    assert looked_up(stores, ONE)["spent"].is_not_null().item()
    forgotten(root)
    after = rows_of_the_others(root)
    assert {name: frame.equals(rows[name]) for name, frame in after.items()} == dict.fromkeys(rows, True)
    assert sum(map(len, rows.values())) > 3000
    assert lines_of_the_others(root) == lines
    assert looked_up(stores, *OTHERS).equals(online)
    assert looked_up(stores, ONE).select("spent", "spent_there").row(0) == (None, None)


def test_counts_are_returned_and_recorded_without_the_value(root: Path) -> None:
    subject, stores = opened(root)
    expected = look_for(SHOP, subject, stores)
    done = forgotten(root)
    assert done.found == expected
    rows = done.found.rows
    assert sorted(name for name in rows if name.partition(" ")[0] in TABLES and "(" not in name) == TABLES
    assert {name: rows[name] for name in ("raw/orders", "quarantine/orders", "validated/orders", "landing/orders")} == {
        "raw/orders": 12, "quarantine/orders": 3, "validated/orders": 9, "landing/orders": 12,
    }  # fmt: skip
    assert (rows["prediction_log"], rows["shadow_log"], rows["predictions"], rows["outcomes"]) == (3, 3, 3, 3)
    assert rows["training_set (older versions)"] == 9 and "training_set" not in rows
    assert "aggregates that include" in done.found.left[0] and done.found.left[0].startswith("feature/city_spend")
    (record,) = Ledger(environment_of(root).ledger_url).records("shop")
    assert record == done.record
    assert (record.kind, record.by, record.at) == ("erasure", "Ada", NOW.isoformat())
    body = record.body
    assert body["rows"] == rows and body["why"] == "letter of 3 May"
    assert (body["tag"], body["entity"], body["trained_on"], body["possibly_trained_on"]) == ("customer_id", "customer", [1], [])
    assert ONE not in json.dumps(body) and body["subject"] == subject.digest != subject.hashed


def _content(path: Path) -> Any:
    if path.suffix != ".db":
        return path.read_bytes()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [*database.iterdump()]


def test_counting_changes_nothing(root: Path) -> None:
    def files() -> dict[Path, Any]:
        home = environment_of(root).home.root
        # SQLite keeps -wal and -shm files as long as a connection is open, which ends whenever it is collected.
        kept = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
        return {path: _content(path) for path in kept if "feast" not in path.parts}

    subject, stores = opened(root)
    assert look_for(SHOP, subject, stores).rows  # the first opening of a copied home gives MLflow's artifacts new addresses
    before, named = files(), naming(root)
    assert look_for(SHOP, subject, stores).rows
    assert files() == before and naming(root) == named


def test_statistics_in_the_log_of_an_older_table_are_reported_as_left(root: Path) -> None:
    path = DeltaTables(environment_of(root).home.tables).path(names.raw("shop", "orders"))
    DeltaTable(str(path)).alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "32"})
    subject, stores = opened(root)
    assert [text.split(":")[0] for text in look_for(SHOP, subject, stores).left if "statistics" in text] == ["raw/orders"]


def test_a_second_call_finds_and_records_nothing(root: Path) -> None:
    forgotten(root)
    again = forgotten(root)
    assert (again.found.rows, again.record, again.still) == ({}, None, {})
    ledger = Ledger(environment_of(root).ledger_url)
    assert len(ledger.records("shop")) == 1 and ledger.verify("shop") == []


def test_models_whose_training_table_is_gone_are_reported_as_possibly_trained(root: Path) -> None:
    tables, asset = DeltaTables(environment_of(root).home.tables), names.stage("shop", "training_set")
    forgotten(root)
    with pytest.raises(VersionGone):
        tables.read_version(asset, 0)
    assert tables.read_version(asset, 1).height > 100, "the second model's table never held the first customer"
    second = forgotten(root, OTHERS[0])
    assert (second.found.trained_on, second.found.possibly_trained_on) == ([2], [1])
    assert naming(root, OTHERS[0]) == set()


def test_rows_delivered_again_are_erased_by_the_next_call(root: Path) -> None:
    done = forgotten(root)
    assert done.still == {}
    Landing(environment_of(root).home.landing).put("shop", "orders", day=FIRST, rows=orders(FIRST))
    again = forgotten(root)
    assert again.found.rows == {"landing/orders": 3}
    assert again.record is not None and again.record.number == 2
    assert naming(root) == set()


def test_a_row_that_is_about_to_be_committed_stays_and_is_counted(root: Path) -> None:
    table = DeltaTables(environment_of(root).home.tables).path(names.validated("shop", "orders"))
    young = table / f"day={LAST}" / "part-of-a-run.parquet"
    pl.DataFrame({"order_id": [1], "customer_id": [ONE]}).write_parquet(young)
    done = forgotten(root)
    assert done.still == {"validated/orders (older versions)": 1}
    assert naming(root) == {young.relative_to(environment_of(root).home.root).as_posix()}


@contextmanager
def slow_run(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has read the customer and has not written yet."""
    command = [sys.executable, "-m", "tests.erasure.slow_run", str(root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=SCRIPT.parents[2]) as run:
        while not (root / "read").exists():
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.05)
        yield run


def test_a_run_that_read_the_customer_before_does_not_bring_them_back(root: Path) -> None:
    before, spend, (subject, stores) = rows_of_the_others(root), "shop/feature/customer_spend", opened(root)
    cause = {"why": "letter", "by": "Ada", "at": NOW}
    with slow_run(root) as run:
        hasty = forget_subject(SHOP, subject, stores, **cause)
        assert hasty.still == {} and not hasty.is_final
        done = forget_subject(SHOP, subject, stores, **cause, patience_s=60, on_wait=(root / "go").touch)
        run.communicate()
    assert run.returncode == 0
    assert (done.still, done.is_final, naming(root)) == ({}, True, set())
    assert rows_of_the_others(root)[spend].equals(before[spend])
    assert forget_subject(SHOP, subject, stores, **cause) == Forgotten(done.found._replace(rows={}), None, {}, True)


@pytest.mark.slow  # two processes that load every store
@pytest.mark.integration
def test_the_next_call_completes_a_killed_erasure(root: Path) -> None:
    rows, lines = rows_of_the_others(root), lines_of_the_others(root)
    named = [len(naming(root))]
    for change in (25, 40):
        killed = subprocess.run(
            [sys.executable, str(SCRIPT), str(root), str(change)], check=False, capture_output=True, cwd=SCRIPT.parents[2]
        )
        assert killed.returncode == -9, killed.stderr.decode()
        named.append(len(naming(root)))
    assert named[0] > named[1] > named[2] > 0
    done = forgotten(root)
    assert naming(root) == set() and done.still == {}
    assert all(frame.equals(rows[name]) for name, frame in rows_of_the_others(root).items())
    assert lines_of_the_others(root) == lines
    ledger = Ledger(environment_of(root).ledger_url)
    records = ledger.records("shop")
    assert ledger.verify("shop") == []
    assert records[0].body["trained_on"] == [1], "recorded before anything was erased"


def test_online_values_in_redis_are_erased_too(root: Path, redis_server: RedisServer) -> None:
    subject, stores = opened(root, redis_url=redis_server.url)
    for view in SHOP.features.views:
        stores.features.materialize(view.name, dt.datetime(2024, 3, 1, tzinfo=dt.UTC))
    before = looked_up(stores, *OTHERS)
    assert ONE.encode() in in_redis(redis_server)
    scope = forget_subject(SHOP, subject, stores, why="letter", by="Ada", at=NOW).found
    assert (scope.rows["online store"], scope.rows["online mirrors"]) == (3, 3)
    assert ONE.encode() not in in_redis(redis_server)
    assert all(other.encode() in in_redis(redis_server) for other in OTHERS)
    assert looked_up(stores, *OTHERS).equals(before)


def in_redis(redis_server: RedisServer) -> bytes:
    with redis.Redis.from_url(redis_server.url) as client:
        return b"".join(key + b"".join(field + value for field, value in client.hgetall(key).items()) for key in client.keys("*"))


def test_the_next_materialization_leaves_the_customer_out_of_every_aggregate(root: Path) -> None:
    from tests.erasure.shop import Shop  # the graph opens seconds of imports

    tables = DeltaTables(environment_of(root).home.tables)
    sums = tables.scan(names.feature("shop", "city_spend"))
    before = sums.select(pl.col("city_spent").sum()).collect().item()
    forgotten(root)
    (root / "dagster").rename(root / "dagster_before")
    shutil.rmtree(root / "feature_repo")
    Shop(root).carry(FIRST, LAST)
    spent = sum(frame["amount"].sum() for frame in (orders(day).filter(pl.col("customer_id") == ONE) for day in DAYS))
    spent += 3 * 1.0  # the second day was delivered again, each order a euro dearer
    after = tables.scan(names.feature("shop", "city_spend")).select(pl.col("city_spent").sum()).collect().item()
    assert before - after == pytest.approx(spent)
    assert naming(root) == set()
