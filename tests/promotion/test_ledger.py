"""One ledger on SQLite and on Postgres: what is written, read back, refused and kept."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger, Record
from tests.promotion.ledger_tamper import NAMES, connected, overwrite, sealed, stored, unguard

AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def wrote(ledger: Ledger, times: int = 1, use_case: str = "flights", **fields: Any) -> Record:
    record = [ledger.append(use_case, "plan", {"champion": turn}, by="ana", at=AT, **fields) for turn in range(times)]
    return record[-1]


def test_written_records_are_read_back_and_form_a_chain(ledger_url: str):
    ledger = Ledger(ledger_url)
    assert (ledger.records("flights"), ledger.use_cases(), ledger.verify("flights")) == ([], [], [])
    written = [wrote(ledger), wrote(ledger, after=1), wrote(ledger, use_case="census", after=0)]
    first, second, other = written
    assert Ledger(ledger_url).records("flights") == [first, second] and ledger.records("census") == [other]
    assert (first.number, first.previous, second.number, second.previous) == (1, 64 * "0", 2, first.digest)
    assert (other.number, other.previous, other.at) == (1, 64 * "0", "2013-06-01T12:30:00+00:00")
    assert ledger.records("flights", after=1) == [second] and ledger.records("flights", after=2) == []
    assert ledger.use_cases() == ["census", "flights"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    use_case=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    bodies=st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=4),
    at=st.datetimes(min_value=datetime(1990, 1, 2), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])),
)
def test_any_json_comes_back_as_it_was_and_the_chain_is_whole(
    ledger_url: str, use_case: str, bodies: list[dict[str, Any]], at: datetime
):
    ledger = Ledger(ledger_url)
    before = len(ledger.records(use_case))
    written = [ledger.append(use_case, "blessing", body, by="Bjørn Ål", at=at) for body in bodies]
    assert [record.body for record in written] == bodies
    assert ledger.records(use_case, after=before) == written
    assert all(datetime.fromisoformat(record.at) == at and record.at.endswith("+00:00") for record in written)
    assert ledger.verify(use_case) == []
    rows = [row for row in stored(ledger_url) if row["use_case"] == use_case]
    assert [sealed(row)["digest"] for row in rows] == [row["digest"] for row in rows]


def test_a_body_is_kept_as_it_was_when_it_was_written(ledger_url: str):
    body: dict[str, Any] = {"steps": (0.05, 1.0)}
    ledger = Ledger(ledger_url)
    record = ledger.append("flights", "plan", body, by="ana", at=AT)
    body["steps"] = ()
    assert record.body == {"steps": [0.05, 1.0]} and ledger.records("flights") == [record]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"body": {"loss": float("nan")}}, r"flights · ledger · body of the plan: .*; legal: plain JSON, no NaN"),
        ({"body": {"loss": float("-inf")}}, "legal: plain JSON"),
        ({"body": {"at": AT}}, "datetime is not JSON serializable; legal: plain JSON"),
        ({"body": {1: "a", "b": 2}}, "legal: plain JSON"),
        ({"by": ""}, "by = ''; legal: printable text"),
        ({"by": "a\nb"}, "by = 'a.nb'; legal: printable text"),
        ({"use_case": "\udcff"}, "use_case = .*; legal: printable text"),
        ({"at": datetime(2013, 6, 1)}, "has no time zone; legal: an aware datetime"),
    ],
)
def test_a_record_that_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path: Path, changed: dict[str, Any], message: str):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    fields: dict[str, Any] = {"use_case": "flights", "kind": "plan", "body": {}, "by": "ana", "at": AT}
    with pytest.raises(ValueError, match=message):
        ledger.append(**fields | changed)
    assert ledger.use_cases() == []


UPSERT = (
    "INSERT INTO mlops_ledger SELECT * FROM mlops_ledger WHERE true ON CONFLICT (use_case, number) DO UPDATE SET kind = 'step'"
)
FORBIDDEN = ["UPDATE mlops_ledger SET kind = 'step'", "DELETE FROM mlops_ledger", UPSERT]
THEIR_OWN = {"sqlite": "INSERT OR REPLACE INTO mlops_ledger SELECT * FROM mlops_ledger", "postgresql": "TRUNCATE mlops_ledger"}


def test_the_database_itself_refuses_to_change_a_record(ledger_url: str):
    ledger = Ledger(ledger_url)
    wrote(ledger, 2)
    before = stored(ledger_url)
    for statement in [*FORBIDDEN, THEIR_OWN[ledger_url.partition(":")[0]]]:
        refused = pytest.raises((sqlite3.Error, psycopg.Error), match="append-only: no record")
        with closing(connected(ledger_url)) as connection, refused:
            connection.execute(statement)
        assert stored(ledger_url) == before
    assert ledger.verify("flights") == []


def test_a_unique_number_is_kept_by_the_database(ledger_url: str):
    wrote(Ledger(ledger_url))
    (row,) = stored(ledger_url)
    values = ", ".join(repr(value) for value in (row | {"kind": "step"}).values())
    with closing(connected(ledger_url)) as connection, pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)):
        connection.execute(f"INSERT INTO mlops_ledger ({NAMES}) VALUES ({values})")


def test_an_unreadable_record_is_reported(ledger_url: str):
    ledger = Ledger(ledger_url)
    wrote(ledger, 3)
    rows = stored(ledger_url)
    unguard(ledger_url)
    overwrite(ledger_url, [rows[0], rows[1] | {"body": "{"}, rows[2]])
    with pytest.raises(DamagedLedger, match=r"flights · record 2 · body cannot be read: .*Run `mlops ledger verify flights`"):
        ledger.records("flights")
    assert [record.number for record in ledger.records("flights", after=2)] == [3]


def test_ten_thousand_records_are_read_and_verified_in_seconds(ledger_url: str):
    ledger, rows, previous = Ledger(ledger_url), [], 64 * "0"
    wrote(ledger)
    (row,) = stored(ledger_url)
    body = json.dumps({"plan": {"champion": 3, "share": 0.25}, "note": 300 * "x"}, sort_keys=True, separators=(",", ":"))
    for number in range(1, 10_001):
        rows.append(sealed(row | {"number": number, "previous": previous, "body": body}))
        previous = rows[-1]["digest"]
    unguard(ledger_url)
    overwrite(ledger_url, rows)
    begun = time.process_time()  # of this process, whatever else the machine does
    assert len(ledger.records("flights")) == 10_000
    read_s = time.process_time() - begun
    assert ledger.verify("flights", mirrored=(10_000, previous)) == []
    verified_s = time.process_time() - begun - read_s
    assert read_s < 20 and verified_s < 20, f"{read_s:.2f} s, {verified_s:.2f} s"  # 0.1 s and 0.3 s on a quiet machine
