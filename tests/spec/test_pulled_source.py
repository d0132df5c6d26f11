"""Illegal declarations of pulled sources: one sentence for each fault, and never a credential in it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from mlops_assets.spec.contract import Column
from mlops_assets.spec.form import Csv, JsonLines
from mlops_assets.spec.pulled_source import Http, Sql, Stream
from mlops_assets.spec.spec import IllegalDeclaration
from tests.ingestion.pulling.shop import ORDERS, SQL, shop

HTTP = Http(table="orders", url="https://api.example.com/orders", time="ordered_at")
STREAM = Stream(table="orders", brokers_variable="KAFKA", topic="orders", group="shop", time="ordered_at")
FOUND = "found another text, not shown as it may contain a password"
REMEDY = "legal: the name of an environment variable, such as ORDERS_URL. Set the value in a variable, and declare its name."
Case = tuple[Callable[[], Any], str]
CASES: list[Case] = [
    (lambda: SQL.but(form=Csv(delimiter=";")), "orders · Sql · form · it declares more than a source that is read has; legal: a Csv with time_zone, doubled and missing, as rows land in one form. Leave the others out."),
    (lambda: SQL.but(form=JsonLines()), "orders · Sql · form · it declares more than a source that is read has; legal: a Csv with time_zone, doubled and missing, as rows land in one form. Leave the others out."),
    (lambda: SQL.but(query="SELECT 1"), "orders · Sql · from_table, query · both are declared; legal: one of them. Declare where the rows are."),
    (lambda: SQL.but(from_table=None), "orders · Sql · from_table, query · neither is declared; legal: one of them. Declare where the rows are."),
    (lambda: SQL.but(cursor=None), "orders · Sql · lag · it is declared without a cursor, which it refers to. Declare the cursor, or leave it out."),
    (lambda: SQL.but(lag=None), "orders · Sql · lag · it is missing: how far behind the highest 'updated_at' may a row still appear? Declare it: timedelta(minutes=10), or 0 where rows appear in the order of the cursor."),
    (lambda: SQL.but(lag=-1), "orders · Sql · lag · found -1; legal: 0 or more. Correct it."),
    (lambda: SQL.but(lag=timedelta(seconds=-1)), "orders · Sql · lag · found -1 day, 23:59:59; legal: 0 or more. Correct it."),
    (lambda: SQL.but(url_variable="postgresql://me:secret@host/db"), f"orders · Sql · url_variable · {FOUND}; {REMEDY}"),
    (lambda: SQL.but(url_variable="orders url"), f"orders · Sql · url_variable · {FOUND}; {REMEDY}"),
    (lambda: SQL.but(every=timedelta(seconds=1)), "orders · Sql · every = datetime.timedelta(seconds=1) · Input should be greater than or equal to 10 seconds. Correct it."),
    (lambda: Sql(table="orders", url_variable="ORDERS_URL", from_table="orders", password="secret", time="ordered_at"), "orders · Sql · field 'password' does not exist; legal: table, grain, form, only_when_changed, max_bytes, path, time, every, version, url_variable, from_table, query, cursor, lag. Remove or rename it."),
    (lambda: Sql(table="orders", url_variable="ORDERS_URL", from_table="orders"), "orders · Sql · field 'time' is missing; required: table, time, url_variable. Add it."),
    (lambda: HTTP.but(url="https://me:secret@api.example.com/orders"), "orders · Http · url · it has a user or a password, and is not shown. Set a token in a variable, and declare token_variable."),
    (lambda: HTTP.but(url="api.example.com/orders"), "orders · Http · url · found 'api.example.com/orders'; legal: https://host/path or http://host/path. Correct it."),
    (lambda: HTTP.but(params={"api_key": "secret"}), "orders · Http · params · 'api_key' is the name of a credential. Set its value in a variable, and declare token_variable."),
    (lambda: HTTP.but(url="https://api.example.com/orders?token=secret"), "orders · Http · params · 'token' is the name of a credential. Set its value in a variable, and declare token_variable."),
    (lambda: HTTP.but(token_variable="Bearer secret"), f"orders · Http · token_variable · {FOUND}; {REMEDY}"),
    (lambda: HTTP.but(cursor="ordered_at", lag=0), "orders · Http · cursor, since_param · one is declared without the other. Declare both, or none to read all records each time."),
    (lambda: HTTP.but(cursor="id", since_param="since"), "orders · Http · lag · it is missing: how far behind the highest 'id' may a row still appear? Declare it: timedelta(minutes=10), or 0 where rows appear in the order of the cursor."),
    (lambda: STREAM.but(brokers_variable="host:9092"), f"orders · Stream · brokers_variable · {FOUND}; {REMEDY}"),
    (lambda: STREAM.but(login_variable="KAFKA_LOGIN"), "orders · Stream · protocol is plaintext, and login_variable is 'KAFKA_LOGIN'; legal: a login with a sasl protocol, and with no other. Correct one."),
    (lambda: STREAM.but(protocol="sasl_ssl"), "orders · Stream · protocol is sasl_ssl, and login_variable is None; legal: a login with a sasl protocol, and with no other. Correct one."),
    (lambda: shop(SQL.but(time="created_at")), "shop · UseCase · sources[orders].time · 'created_at' is no datetime or date column of the contract; legal: ordered_at. Use one."),
    (lambda: shop(SQL.but(version="note")), "shop · UseCase · sources[orders].version · 'note' is no number or datetime column of the contract; legal: number, amount, ordered_at. Use one, or leave it out."),
    (lambda: shop(SQL.but(time="note")), "shop · UseCase · sources[orders].time · 'note' is no datetime or date column of the contract; legal: ordered_at. Use one."),
    (lambda: shop(SQL.but(time="other_at"), ORDERS.but(columns=(*ORDERS.columns, Column(name="other_at", dtype="datetime", description="x")))), "shop · UseCase · sources[orders].time · it is 'other_at', and the contract's day is 'ordered_at', by which rows would be on the wrong day. Use one column for both."),
    (lambda: shop(SQL.but(cursor="ordered_at", lag=5)), "shop · UseCase · sources[orders].lag · the cursor 'ordered_at' is of type datetime, and the lag is 5; legal: a timedelta of datetimes, a number of numbers. Correct it."),
]  # fmt: skip


@pytest.mark.parametrize(("build", "message"), CASES)
def test_an_illegal_source_is_refused_with_one_sentence(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(IllegalDeclaration) as caught:
        build()
    assert str(caught.value) == message
    assert "secret" not in message


@pytest.mark.parametrize("source", [SQL, HTTP, STREAM], ids=lambda source: type(source).__name__)
def test_a_pulled_source_is_a_source_of_a_use_case(source: Any) -> None:
    use_case = shop(source)
    assert use_case.sources[1] == source
    assert not use_case.is_due("orders")
