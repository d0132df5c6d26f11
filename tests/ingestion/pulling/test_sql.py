"""A database that grows and changes between runs: only new rows are read, and none is lost or doubled."""

import datetime as dt
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mlops_assets.ingestion.pulling.positions import positions_of
from mlops_assets.ingestion.pulling.rows import CannotPull
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv
from tests.ingestion.pulling.shop import NOW, ORDERS, SQL, Shop, day
from tests.servers.postgres_server import PASSWORD, PostgresServer

COLUMNS = "number, amount, note, paid, ordered_at, updated_at"
CREATE = (
    "CREATE TABLE orders (number bigint PRIMARY KEY, amount numeric, note text, paid boolean, ordered_at {t}, updated_at {t})"
)


class Database:
    """A table of orders, and a shop that pulls it."""

    def __init__(self, url: str, root: Path, time_type: str) -> None:
        self.url, self.engine = url, sa.create_engine(url, poolclass=sa.NullPool)
        self.execute(CREATE.format(t=time_type))
        self.shop = Shop(root, SQL, {"ORDERS_URL": url})

    def execute(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def put(self, number: int, amount: Any, ordered: datetime, updated: datetime | None, connection: Any = None) -> None:
        """Inserts or updates one order."""
        statement = sa.text(
            f"INSERT INTO orders ({COLUMNS}) VALUES (:number, :amount, 'x', true, :ordered, :updated) "
            "ON CONFLICT (number) DO UPDATE SET amount = excluded.amount, ordered_at = excluded.ordered_at, updated_at = excluded.updated_at"
        )
        values = {
            "number": number,
            "amount": amount,
            "ordered": self.moment(ordered),
            "updated": updated and self.moment(updated),
        }
        if connection is not None:
            connection.execute(statement, values)
        else:
            self.execute(str(statement), **values)

    def moment(self, moment: datetime) -> Any:
        """SQLite has text."""
        is_sqlite = self.engine.dialect.name == "sqlite"
        text = moment.replace(tzinfo=None).isoformat(" ")
        return text if is_sqlite else moment


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'orders.db'}", tmp_path / "landing", "timestamp")
    server: PostgresServer = request.getfixturevalue("postgres")
    return Database(server.new_database(), tmp_path / "landing", "timestamptz")


@pytest.fixture
def postgres_orders(postgres: PostgresServer, tmp_path: Path) -> Database:
    return Database(postgres.new_database(), tmp_path / "landing", "timestamptz")


def test_only_new_rows_are_read_and_a_changed_row_corrects_its_day(database: Database) -> None:
    shop = database.shop
    for number in range(6):
        database.put(number, number, day(number % 3), day(3, minutes=number))
    assert shop.pull() == (6, 0, ["2024-03-01", "2024-03-02", "2024-03-03"])
    before = shop.files()
    database.put(6, 60, day(1), day(3, minutes=30))
    database.put(2, 22, day(2), day(3, minutes=31))  # a change
    read, outside, files = shop.pull()
    assert (read, outside, files) == (3, 0, ["2024-03-02", "2024-03-03"])  # with the row at the boundary
    assert shop.accepted() == {0: 0, 1: 1, 2: 22, 3: 3, 4: 4, 5: 5, 6: 60}
    assert shop.files()["2024-03-01.csv"] == before["2024-03-01.csv"]
    assert shop.pull() == (1, 0, [])


def test_rows_with_the_highest_cursor_value_are_neither_lost_nor_doubled(database: Database) -> None:
    at = day(3)
    database.put(1, 1, day(1), at)
    database.shop.pull()
    database.put(2, 2, day(1), at)
    database.put(3, 3, day(1), at)
    assert database.shop.pull().read == 3
    assert database.shop.accepted() == {1: 1, 2: 2, 3: 3}


def test_a_transaction_that_commits_late_is_read_within_the_lag(postgres_orders: Database) -> None:
    shop = postgres_orders.shop
    shop.source = SQL.but(lag=timedelta(minutes=10))
    with postgres_orders.engine.connect() as slow, slow.begin():
        postgres_orders.put(1, 1, day(1), day(3), slow)
        postgres_orders.put(2, 2, day(1), day(3, minutes=9))
        shop.pull()
        assert shop.accepted() == {2: 2}
    shop.pull()
    assert shop.accepted() == {1: 1, 2: 2}


def test_a_row_of_the_future_or_without_a_cursor_value_hides_no_other(database: Database) -> None:
    database.put(1, 1, day(1), day(40_000))
    database.put(2, 2, day(1), None)
    database.shop.pull()
    assert database.shop.accepted() == {1: 1, 2: 2}
    database.put(2, 3, day(1), None)
    database.put(4, 4, day(1), NOW + timedelta(seconds=1))
    database.shop.pull()
    assert database.shop.accepted() == {1: 1, 2: 3, 4: 4}


def test_a_kill_before_the_position_is_stored_loses_and_doubles_nothing(database: Database) -> None:
    shop = database.shop
    database.put(1, 1, day(1), day(3))
    shop.pull()
    stored = shop.position.read_bytes()
    database.put(1, 10, day(1), day(4))
    database.put(2, 2, day(2), day(4))
    shop.pull()
    shop.position.write_bytes(stored)  # as after a kill right before the last step
    assert shop.pull() == (2, 0, [])
    assert shop.accepted() == {1: 10, 2: 2}


def test_random_changes_kills_and_late_commits_end_in_the_rows_of_the_table(postgres_orders: Database) -> None:
    shop, draw = postgres_orders.shop, random.Random(7)
    shop.source = SQL.but(lag=timedelta(minutes=5))
    current: dict[int, int] = {}
    for step in range(25):
        for _ in range(draw.randrange(8)):
            number, amount = draw.randrange(40), draw.randrange(1000)
            late = timedelta(minutes=draw.randrange(5))
            postgres_orders.put(number, amount, day(number % 6), day(0, minutes=step * 10) + timedelta(minutes=5) - late)
            current[number] = amount
        stored, files = shop.position.read_bytes() if shop.position.exists() else None, shop.files()
        shop.pull()
        if stored and draw.random() < 0.5:  # as after a kill: the files up to some day, and the old position
            shop.position.write_bytes(stored)
            killed_at = draw.randrange(7)
            for name in [*files][killed_at:]:
                (shop.root / "shop" / "orders" / name).write_bytes(files[name])
            continue
        assert shop.accepted() == current


def test_without_a_cursor_every_run_replaces_the_files_and_deleted_rows_are_retracted(database: Database) -> None:
    shop = database.shop
    shop.source = SQL.but(cursor=None, lag=None)
    database.put(1, 1, day(1), None)
    database.put(2, 2, day(2), None)
    shop.pull()
    database.execute("DELETE FROM orders WHERE number = 2")
    assert shop.pull() == (1, 0, ["2024-03-03"])
    assert shop.accepted() == {1: 1}
    assert shop.files()["2024-03-03.csv"] == b"number,amount,note,paid,ordered_at\r\n"
    database.execute("DELETE FROM orders")
    assert failure(shop) == (
        "shop · orders · the source has no rows, and would retract the 2 landed files. Correct the source, or delete the files."
    )


HARD = Contract(
    table="orders",
    description="Every type.",
    columns=(
        Column(name="number", dtype="int", description="x"),
        Column(name="big", dtype="int", nullable=True, description="x"),
        Column(name="exact", dtype="string", nullable=True, description="x"),
        Column(name="ratio", dtype="float", nullable=True, description="x"),
        Column(name="note", dtype="string", nullable=True, description="x"),
        Column(name="paid", dtype="bool", nullable=True, description="x"),
        Column(name="ordered_at", dtype="datetime", description="x"),
        Column(name="local_at", dtype="datetime", nullable=True, description="x"),
        Column(name="on_day", dtype="datetime", nullable=True, description="x"),
    ),
    unique=("number",),
)
NOTES = [
    'a "quoted" one',
    "two\nlines\r\nand\rmore",
    "comma, semicolon; tab\t",
    " spaces ",
    "ümlaut 日本 🙂",
    "'",
    "\\N",
    "NULL",
    "1\n2,3,4\n" * 20,
]


def test_every_value_lands_exactly(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    types = "number bigint, big bigint, exact numeric(38,10), ratio double precision, note text, paid boolean, ordered_at timestamptz, local_at timestamp, on_day date"
    with engine.begin() as connection:
        connection.execute(sa.text("SET TIME ZONE 'America/New_York'"))
        connection.execute(sa.text(f"CREATE TABLE orders ({types})"))
        insert = sa.text("INSERT INTO orders VALUES (:number, :big, :exact, :ratio, :note, :paid, :ordered, :local, :day)")
        for number, note in enumerate(NOTES):
            connection.execute(insert, {
                "number": number, "big": 2**63 - 1 - number, "exact": Decimal("1234567890123456789.0000000001"), "ratio": 0.1 + number,
                "note": note, "paid": number % 2 == 0, "ordered": "2024-03-02T23:30:00.123456-05:00", "local": "2024-03-02 23:30:00",
                "day": "2024-03-02",
            })  # fmt: skip
        connection.execute(sa.text("INSERT INTO orders (number, ordered_at) VALUES (100, '2024-03-02T00:00:00Z')"))
    shop = Shop(tmp_path, SQL.but(cursor=None, lag=None), {"ORDERS_URL": url}, HARD)
    shop.pull()
    rows = shop.rows()
    assert rows.quarantined.is_empty()
    accepted = {row["number"]: row for row in rows.accepted.to_dicts()}
    for number, note in enumerate(NOTES):
        assert accepted[number] == {
            "number": number, "big": 2**63 - 1 - number, "exact": "1234567890123456789.0000000001", "ratio": 0.1 + number, "note": note,
            "paid": number % 2 == 0, "ordered_at": datetime(2024, 3, 3, 4, 30, 0, 123456, UTC),
            "local_at": datetime(2024, 3, 2, 23, 30, tzinfo=UTC), "on_day": datetime(2024, 3, 2, tzinfo=UTC), "day": dt.date(2024, 3, 3),
        }  # fmt: skip
    assert accepted[100] | {"number": 0, "ordered_at": 0, "day": 0} == dict.fromkeys(accepted[100]) | {
        "number": 0,
        "ordered_at": 0,
        "day": 0,
    }


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("a\0b", "line holds bytes that are not UTF-8 text"),
        ("line\n" * 60, "line has 6 of 5 fields; beyond the last: 'the row has 60 line breaks; legal: fewer than 50'"),
        ("x," * 60_000, "line has 6 of 5 fields; beyond the last: 'a value has 120,000 characters; legal: at most 100,000'"),
    ],
)
def test_a_text_that_no_line_of_a_file_can_hold_goes_to_quarantine_once(note: str, reason: str, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'orders.db'}", tmp_path / "landing", "timestamp")
    database.execute("INSERT INTO orders VALUES (1, 1.5, :note, 1, '2024-03-02 10:00:00', '2024-03-03 10:00:00')", note=note)
    database.execute("INSERT INTO orders VALUES (2, 2.5, 'sound', 0, '2024-03-02 10:00:00', '2024-03-03 10:00:00')")
    database.shop.pull()
    assert database.shop.pull() == (2, 0, [])
    assert database.shop.accepted() == {2: 2.5}
    assert database.shop.reasons() == [reason]


def test_a_query_is_read_like_a_table(database: Database) -> None:
    database.put(1, 10, day(1), day(3))
    database.put(2, 20, day(1), day(3))
    text = "SELECT number, amount * 2 AS amount, 'at 10:30, 50%, :odd' AS note, paid, ordered_at, updated_at FROM orders WHERE note LIKE '%x%' AND amount > 10;"
    database.shop.source = SQL.but(from_table=None, query=text)
    database.shop.pull()
    assert database.shop.pull().read == 1
    assert database.shop.accepted() == {2: 40}
    assert database.shop.rows().accepted["note"].to_list() == ["at 10:30, 50%, :odd"]


def test_rows_of_undeclared_days_are_counted_and_do_not_land(database: Database) -> None:
    database.put(1, 1, day(-1), day(3))
    database.put(2, 2, day(0), day(3))
    assert database.shop.pull() == (2, 1, ["2024-03-01"])


def failure(shop: Shop) -> str:
    before = shop.files()
    with pytest.raises(CannotPull) as caught:
        shop.pull()
    assert shop.files() == before
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_a_query_that_the_database_refuses_is_one_clear_error_and_nothing_lands(postgres_orders: Database) -> None:
    shop = postgres_orders.shop
    postgres_orders.put(1, 1, day(1), day(3))
    shop.source = SQL.but(from_table="sales.missing")
    assert failure(shop) == (
        'shop · orders · ORDERS_URL · the database refuses: relation "sales.missing" does not exist LINE 2: FROM sales.missing ^. '
        "Correct the declaration or the variable, or ask the owner of the database."
    )
    shop.source = SQL
    postgres_orders.execute("ALTER TABLE orders RENAME COLUMN amount TO total")
    assert failure(shop) == (
        "shop · orders · orders has no column amount; its columns: number, total, note, paid, ordered_at, updated_at. "
        "Correct the contract or the source, or ask the owner of the database."
    )
    postgres_orders.execute("ALTER TABLE orders RENAME COLUMN total TO amount")
    shop.source = SQL.but(cursor="changed_at")
    assert "orders has no column changed_at" in failure(shop)
    query = "SELECT *, number AS version FROM orders"
    shop.source = SQL.but(from_table=None, query=query, cursor="version", lag=timedelta(minutes=1))
    shop.pull()
    assert failure(shop) == (
        "shop · orders · the cursor has values such as 1, from which the lag datetime.timedelta(seconds=60) cannot be subtracted. "
        "Declare a lag in units of the cursor, or 0."
    )


def test_a_row_that_fails_in_the_middle_leaves_the_days_as_they_were(postgres_orders: Database) -> None:
    shop = postgres_orders.shop
    postgres_orders.put(0, 1, day(1), day(2))
    shop.pull()
    postgres_orders.execute(
        "INSERT INTO orders SELECT 10 + i, i, 'x', true, timestamptz '2024-03-02' , timestamptz '2024-03-04' + i * interval '1 s' FROM generate_series(1, 25000) i"
    )
    query = "SELECT number, 1 / (24000 - number) AS amount, note, paid, ordered_at, updated_at FROM orders"
    shop.source = SQL.but(from_table=None, query=query)
    assert "division by zero" in failure(shop)
    shop.source = SQL
    shop.pull()
    assert len(shop.accepted()) == 25_001


def test_no_message_and_no_file_has_the_password(postgres_orders: Database, capsys: pytest.CaptureFixture[str]) -> None:
    shop = postgres_orders.shop
    postgres_orders.put(1, 1, day(1), day(3))
    shop.pull()
    wrong = postgres_orders.url.replace("rd%25@", "rd%25x@")
    for url in (
        wrong, "not a url " + PASSWORD, f"nosuch://me:{PASSWORD}@host/db", postgres_orders.url.replace("127.0.0.1:", "127.0.0.1:1"),
        "postgresql://postgres:secret-word@nowhere.invalid/secret-word", postgres_orders.url + "?options=secret-word",
    ):  # fmt: skip
        shop.secrets = {"ORDERS_URL": url}
        message = failure(shop)
        known = ("the database refuses: ", "found no address", "the driver of this database is not installed: ")
        assert message.startswith(tuple(f"shop · orders · ORDERS_URL · {text}" for text in known))
        assert not [part for part in (PASSWORD, "p%40ss", "rd%25", "secret-word", url) if part in message], message
    stored = b"".join(path.read_bytes() for path in shop.root.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in stored
    assert b"postgresql" not in stored
    assert capsys.readouterr() == ("", "")


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path) -> None:
    assert failure(Shop(tmp_path, SQL, {"ORDERS_URL": "mysql://me:secret@host/db"})) == (
        "shop · orders · ORDERS_URL · the driver of this database is not installed: No module named 'MySQLdb'. "
        "Install it, or name another one in the variable, such as mysql+pymysql://."
    )


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    assert failure(Shop(tmp_path, SQL, {})) == (
        "shop · orders · ORDERS_URL: the environment variable is not set. Set it, and pull again."
    )


def test_two_runs_of_one_source_do_not_mix(database: Database) -> None:
    with positions_of(database.shop.landing, "shop", "orders").reserved():
        assert failure(database.shop) == "shop · orders · another run reads this source now. Wait for its end, and try again."


def test_a_new_column_of_the_contract_is_read_for_the_old_rows_too(database: Database) -> None:
    shop = database.shop
    database.put(1, 1, day(1), day(3))
    database.put(2, 2, day(1), day(4))
    shop.contract = ORDERS.but(columns=tuple(column for column in ORDERS.columns if column.name != "note"))
    shop.pull()
    shop.contract = ORDERS
    shop.pull()
    assert shop.rows().accepted.sort("number")["note"].to_list() == ["x", "x"]


def test_a_changed_declaration_reads_from_the_start(database: Database) -> None:
    database.put(1, 1, day(1), day(3))
    database.put(2, 2, day(1), day(4))
    database.shop.pull()
    database.shop.source = SQL.but(cursor="ordered_at")
    assert database.shop.pull() == (2, 0, [])
    assert database.shop.pull() == (2, 0, [])


@pytest.mark.parametrize(
    ("cursor_type", "values", "lag"),
    [
        ("date", [dt.date(2024, 3, day) for day in (1, 1, 2)], timedelta(minutes=10)),
        ("timestamp", [datetime(2024, 3, 1, 12, 0, 0, micro) for micro in (1, 1, 2)], timedelta(0)),
        ("numeric(20,6)", [Decimal("1.000001"), Decimal("1.000001"), Decimal("1.000002")], 0),
        ("bigint", [2**62, 2**62, 2**62 + 1], 1),
        ("text", ["01HA", "01HA", "01HB"], 0),
        ("double precision", [0.1, 0.1, 0.3], 0),
    ],
)
def test_a_cursor_may_be_of_any_type_that_has_an_order(
    postgres_orders: Database, cursor_type: str, values: list[Any], lag: Any
) -> None:
    shop = postgres_orders.shop
    shop.source = SQL.but(cursor="version", lag=lag)
    postgres_orders.execute(f"ALTER TABLE orders ADD COLUMN version {cursor_type}")
    for number, value in enumerate(values):
        postgres_orders.put(number, number, day(1), day(1))
        postgres_orders.execute("UPDATE orders SET version = :value WHERE number = :number", value=value, number=number)
        assert shop.pull().read == number + 1  # each time those of the highest value again
    assert shop.accepted() == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [("ordered_at", "'infinity'", "timestamp too large"), ("updated_at", "'-infinity'", "timestamp too small")],
)
def test_a_value_that_python_cannot_hold_is_an_error(postgres_orders: Database, column: str, value: str, part: str) -> None:
    postgres_orders.put(1, 1, day(1), day(1))
    postgres_orders.execute(f"UPDATE orders SET {column} = {value}")
    assert part in failure(postgres_orders.shop)


def test_moments_of_sqlite_are_read_in_every_form_within_the_lag(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'orders.db'}", tmp_path / "landing", "timestamp")
    shop = database.shop
    shop.source = SQL.but(lag=timedelta(minutes=10))
    texts = [
        "2024-03-03 12:00:00",
        "2024-03-03T12:00:00",
        "2024-03-03T12:00:00Z",
        "2024-03-03 12:00:00.000000",
        "2024-03-03T12:00:00.5+00:00",
    ]
    for number, text in enumerate([*texts, "2024-03-03 12:01:00", *texts]):  # the last ones are late
        database.execute(f"INSERT INTO orders VALUES ({number}, {number}, 'x', 1, '2024-03-02 10:00:00', '{text}')")
        shop.pull()
    assert [*shop.accepted()] == [*range(11)]
    database.execute("INSERT INTO orders VALUES (99, 99, 'x', 1, '2024-03-02 10:00:00', 'yesterday')")
    shop.pull()
    assert failure(shop) == (
        "shop · orders · the cursor has values such as 'yesterday', from which the lag datetime.timedelta(seconds=600) "
        "cannot be subtracted. Declare a lag in units of the cursor, or 0."
    )


def test_columns_have_the_names_words_and_time_zone_of_the_database(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                'CREATE TABLE "Bestellungen" ("Nr." bigint, "Preis €" numeric, "Bezahlt?" text, "Zeit" timestamp, "Tag" date)'
            )
        )
        insert = "INSERT INTO \"Bestellungen\" VALUES (1, 1.10, 'ja', '2024-03-02 00:30', '2024-03-02'), (2, 2.20, 'Nein', '2024-03-02 01:30', NULL)"
        connection.execute(sa.text(insert))
    columns = (
        Column(name="number", dtype="int", source="Nr.", description="x"),
        Column(name="price", dtype="decimal", precision=10, scale=2, source="Preis €", description="x"),
        Column(name="paid", dtype="bool", source="Bezahlt?", yes=("ja",), no=("nein",), description="x"),
        Column(name="ordered_at", dtype="datetime", source="Zeit", description="x"),
        Column(name="on_day", dtype="date", source="Tag", nullable=True, description="x"),
    )
    contract = Contract(table="orders", description="x", columns=columns, unique=("number",), day="ordered_at")
    source = SQL.but(from_table="Bestellungen", cursor="Zeit", form=Csv(time_zone="Europe/Berlin"))
    shop = Shop(tmp_path, source, {"ORDERS_URL": url}, contract)
    assert shop.pull().files == ["2024-03-01", "2024-03-02"]  # UTC days
    assert shop.pull() == (1, 0, [])
    rows = shop.rows()
    assert rows.quarantined.is_empty()
    assert rows.accepted.sort("number").drop("day").rows() == [
        (1, Decimal("1.10"), True, datetime(2024, 3, 1, 23, 30, tzinfo=UTC), dt.date(2024, 3, 2)),
        (2, Decimal("2.20"), False, datetime(2024, 3, 2, 0, 30, tzinfo=UTC), None),
    ]
