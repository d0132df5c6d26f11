import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.serving.request import MAX_PROBLEMS, MAX_ROWS, BadRequest, read_rows, request_columns
from mlops_assets.spec.contract import Column
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT

COLUMNS = request_columns(USE_CASE)


def read(rows: object) -> pl.DataFrame:
    return read_rows(json.dumps({"rows": rows}).encode(), COLUMNS)


def refused(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_rows(body, COLUMNS)
    return caught.value


def refused_row(**changes: Any) -> BadRequest:
    return refused(json.dumps({"rows": [FLIGHT, FLIGHT | changes]}).encode())


def test_a_good_request_becomes_typed_rows_in_order():
    frame = read([FLIGHT, FLIGHT | {"flight": 7, "tailnum": None}])
    assert frame.columns == list(USE_CASE.features.request)
    assert frame["flight"].to_list() == [1545, 7]
    assert frame["tailnum"].to_list() == ["N14228", None]
    assert frame["sched_dep"].dtype == pl.Datetime("us", "UTC")
    assert frame["sched_dep"][0] == datetime(2013, 7, 1, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment", ["2013-07-01T14:05:00", "2013-07-01T14:05:00+00:00", "2013-07-01T10:05:00-04:00", "20130701T140500Z"]
)
def test_a_moment_is_utc_unless_it_says_otherwise(moment: str):
    assert read([FLIGHT | {"sched_dep": moment}])["sched_dep"][0] == datetime(2013, 7, 1, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "found", "legal"),
    [
        ("carrier", 7, "7", "text matching ^[A-Z0-9]{2}$, such as UA"),
        ("carrier", "UAL", '"UAL"', "matching"),
        ("carrier", "UA\n", '"UA\\n"', "matching"),
        ("carrier", None, "null", "matching"),
        ("tailnum", "\ud800", '"\\ud800"', "or null"),
        ("origin", "BOS", '"BOS"', "one of EWR, JFK, LGA"),
        ("flight", "1545", '"1545"', "a whole number from 1 to 9999"),
        ("flight", 1.5, "1.5", "a whole number"),
        ("flight", True, "true", "a whole number"),
        ("flight", 0, "0", "from 1 to 9999"),
        ("flight", 10**400, "1000", "a whole number"),
        ("flight", float("nan"), "NaN", "a whole number"),
        ("sched_dep", "tomorrow", '"tomorrow"', "ISO 8601"),
        ("sched_dep", 1372687500, "1372687500", "ISO 8601"),
        ("sched_dep", "0001-01-01T00:00:00+14:00", '"0001', "ISO 8601"),
        ("sched_dep", "9999-12-31T00:00:00Z", '"9999', "ISO 8601"),
        ("sched_dep", {}, "{}", "ISO 8601"),
    ],
)
def test_an_illegal_value_is_named_with_its_row_and_what_is_legal(field: str, value: object, found: str, legal: str):
    problem = refused_row(**{field: value}).problems[0]
    assert (problem.row, problem.field) == (1, field)
    assert problem.found.startswith(found) and legal in problem.legal and problem.next


def test_a_missing_field_and_an_unknown_field_are_both_named():
    row = {name: value for name, value in FLIGHT.items() if name != "dest"} | {"destination": "IAH"}
    problems = refused(json.dumps({"rows": [row]}).encode()).problems
    assert [(problem.field, problem.found) for problem in problems] == [("dest", "nothing"), ("destination", "an unknown field")]
    assert "carrier, dest, flight" in problems[1].legal


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\x80\x04", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"rows": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "[]"),
        (b'{"rows": {}}', "{}"),
        (b'{"row": []}', '{"row": []}'),
        (b'{"rows": [], "more": 1}', '{"rows": [], "more": 1}'),
        (b'{"rows": []}', "0 rows"),
        (b'{"rows": [[]]}', "[]"),
        (b'{"rows": [null]}', "null"),
    ],
)
def test_a_body_that_is_no_request_says_what_one_is(body: bytes, found: str):
    problem = refused(body).problems[0]
    assert problem.found.startswith(found)
    assert "object" in problem.legal or "rows" in problem.legal


def test_too_many_rows_are_refused_and_the_most_are_read():
    assert read([FLIGHT] * MAX_ROWS).height == MAX_ROWS
    problem = refused(json.dumps({"rows": [FLIGHT] * (MAX_ROWS + 1)}).encode()).problems[0]
    assert (problem.found, problem.legal) == ("10001 rows", "1 to 10000 rows")


def test_only_the_first_problems_are_listed_and_all_are_counted():
    error = refused(json.dumps({"rows": [FLIGHT | {"flight": 0}] * 1000}).encode())
    assert len(error.problems) == MAX_PROBLEMS
    said = error.to_dict()
    assert said["total_errors"] == 1000 and said["error"] == said["errors"][0]


def test_floats_and_truths_are_read_too():
    columns = (Column(name="x", dtype="float", description="", max=2), Column(name="yes", dtype="bool", description=""))
    assert read_rows(b'{"rows": [{"x": 1, "yes": true}]}', columns).row(0) == (1.0, True)
    with pytest.raises(BadRequest) as caught:
        read_rows(b'{"rows": [{"x": Infinity, "yes": 1}, {"x": 2.5, "yes": false}]}', columns)
    assert [(problem.row, problem.field) for problem in caught.value.problems] == [(0, "x"), (0, "yes"), (1, "x")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(st.dictionaries(st.sampled_from(list(FLIGHT)), json_values) | json_values, max_size=3))
def test_whatever_is_sent_is_read_or_refused_and_the_refusal_can_be_said(rows: list[object]):
    body = json.dumps({"rows": rows}).encode()
    try:
        assert read_rows(body, COLUMNS).height == len(rows)
    except BadRequest as error:
        json.dumps(error.to_dict(), allow_nan=False).encode()
