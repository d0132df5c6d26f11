"""Each source that is read, with each grain, over both changes of the clock: landed, validated, corrected, retracted and late."""

import datetime as dt
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mlops_assets.foundation.grains import calendar_of
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.grain import Daily, Grain, Hourly, Monthly, Snapshot, Weekly
from mlops_assets.spec.pulled_source import Http, PulledSource, Sql, Stream
from mlops_assets.spec.spec import IllegalDeclaration
from tests.ingestion.pulling.api import running_api
from tests.ingestion.pulling.shop import Shop
from tests.servers.kafka_cluster import running_kafka

BERLIN = "Europe/Berlin"
GRAINS: tuple[Grain, ...] = (Hourly(tz=BERLIN), Daily(tz=BERLIN), Weekly(tz=BERLIN), Monthly(tz=BERLIN))
SQL = Sql(table="orders", time="ordered_at", url_variable="ORDERS_URL", from_table="orders")
HTTP = Http(table="orders", time="ordered_at", url="http://127.0.0.1/orders", records="$.items")
STREAM = Stream(table="orders", time="ordered_at", brokers_variable="KAFKA", topic="orders", group="shop")
CHANGES = (dt.datetime(2024, 3, 31, 1, tzinfo=dt.UTC), dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC))
# From three hours before each change until three hours after it, and at the last moment before it.
MOMENTS = [change + dt.timedelta(hours=hours) for change in CHANGES for hours in range(-3, 4)]
MOMENTS += [change - dt.timedelta(microseconds=1) for change in CHANGES]
NOW, YEAR = dt.datetime(2024, 12, 1, tzinfo=dt.UTC), {"first_day": dt.date(2024, 1, 1), "last_day": dt.date(2024, 12, 31)}
SECOND = 10  # the number of the order at the first moment of the second time of the repeated hour
LATE = 3  # the number of the order at the first moment of the first change
Order = dict[str, Any]
Put = Callable[[list[Order]], None]  # all orders of a source; a stream has those that are new or changed


@contextmanager
def database(root: Path) -> Generator[tuple[Sql, dict[str, str], Put]]:
    url = f"sqlite:///{root / 'orders.db'}"
    engine = sa.create_engine(url, poolclass=sa.NullPool)

    def put(orders: list[Order]) -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS orders"))
            connection.execute(sa.text("CREATE TABLE orders (number, amount, note, paid, ordered_at)"))
            insert = sa.text("INSERT INTO orders VALUES (:number, :amount, :note, :paid, :ordered_at)")
            connection.execute(insert, orders)

    yield SQL, {"ORDERS_URL": url}, put


@contextmanager
def api(_: Path) -> Generator[tuple[Http, dict[str, str], Put]]:
    with running_api() as server:

        def put(orders: list[Order]) -> None:
            server.answer = {"items": orders}

        yield HTTP.but(url=server.url), {}, put


@contextmanager
def stream(_: Path) -> Generator[tuple[Stream, dict[str, str], Put]]:
    with running_kafka() as kafka:
        kafka.create_topic("orders", 2)
        sent: list[Order] = []

        def put(orders: list[Order]) -> None:
            kafka.send("orders", *[json.dumps(order).encode() for order in orders if order not in sent], partition=1)
            sent.extend(orders)

        yield STREAM, {"KAFKA": kafka.brokers}, put


def orders_of(amounts: dict[int, float]) -> list[Order]:
    return [
        {"number": number, "amount": amount, "note": "x", "paid": True, "ordered_at": MOMENTS[number].isoformat()}
        for number, amount in amounts.items()
    ]


def validated(shop: Shop) -> dict[str, dict[int, float]]:
    """The accepted orders of each landed file, without any that is refused."""
    calendar = calendar_of(shop.source.grain)
    names = sorted(path.stem for path in (shop.root / "shop" / "orders").glob("*.csv"))
    partitions = [calendar.parse(name) for name in names]
    rows = shop.landing.read("shop", shop.contract, partitions, required=False, calendar=calendar)
    split = split_rows(rows, shop.contract, shop.source.form, calendar)
    assert split.quarantined.is_empty(), split.quarantined["reasons"].to_list()
    accepted = {name: dict[int, float]() for name in names}
    for partition, number, amount in split.accepted.select(calendar.column, "number", "amount").iter_rows():
        accepted[calendar.key(partition)][number] = amount
    return accepted


def expected(shop: Shop, amounts: dict[int, float], *empty: str) -> dict[str, dict[int, float]]:
    calendar = calendar_of(shop.source.grain)
    files = {key: dict[int, float]() for key in empty}
    for number, amount in amounts.items():
        files.setdefault(calendar.key(calendar.of(MOMENTS[number])), {})[number] = amount
    return dict(sorted(files.items()))


@pytest.mark.parametrize("grain", GRAINS, ids=lambda grain: type(grain).__name__)
@pytest.mark.parametrize("running", (database, api, stream), ids=lambda running: running.__name__)
def test_rows_land_in_the_partitions_of_their_moments(tmp_path: Path, running: Any, grain: Grain) -> None:
    with running(tmp_path) as (source, secrets, put):
        shop = Shop(tmp_path / "landing", source.but(grain=grain), secrets, now=NOW, fields=YEAR)
        amounts = {number: 10.0 * number for number in range(len(MOMENTS)) if number != LATE}
        put(orders_of(amounts))
        assert shop.pull().outside == 0
        assert validated(shop) == expected(shop, amounts)
        amounts |= {LATE: 5.0, SECOND: 700.0}  # a new one, and another amount
        put(orders_of(amounts))
        calendar = calendar_of(grain)
        changed = sorted({calendar.key(calendar.of(MOMENTS[number])) for number in (LATE, SECOND)})
        assert shop.pull().files == changed
        assert validated(shop) == expected(shop, amounts)
        retracted = {number: amounts.pop(number) for number in (0, 7)}
        put(orders_of(amounts))
        gone = [calendar.key(calendar.of(MOMENTS[number])) for number in retracted]
        shop.pull()
        # A database is read as a whole; an API and a stream do not say that a record is gone, and it stays.
        left = expected(shop, amounts, *gone) if isinstance(source, Sql) else expected(shop, amounts | retracted)
        assert validated(shop) == {name: dict(sorted(rows.items())) for name, rows in left.items()}
        assert shop.pull().files == []


@pytest.mark.parametrize("source", (SQL, HTTP, STREAM), ids=lambda source: type(source).__name__)
def test_a_snapshot_is_refused_where_rows_land_by_their_time(source: PulledSource) -> None:
    with pytest.raises(IllegalDeclaration, match=r"grain · a Snapshot has no time, by which rows that are read land; legal: "):
        source.but(grain=Snapshot())
