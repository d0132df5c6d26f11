import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.serving.decode import RequestDecoder
from mlops_assets.serving.request import MAX_PROBLEMS, Asked, BadRequest, read_request
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT

MAX_ROWS = USE_CASE.serving.limits.max_rows
INPUTS = dict.fromkeys(USE_CASE.features.numeric, 1.5) | dict.fromkeys(USE_CASE.features.categorical, "UA")
fast = RequestDecoder(USE_CASE)


def slow(body: bytes) -> Asked:
    return read_request(body, USE_CASE)


def read(rows: object) -> list[dict[str, Any]]:
    """As both readers understand it."""
    body = json.dumps({"rows": rows}).encode()
    assert fast(body) == slow(body)
    return [dict(zip(USE_CASE.features.request, row, strict=True)) for row in fast(body).rows or ()]


def refused(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        fast(body)
    return caught.value


def refused_row(**changes: Any) -> BadRequest:
    return refused(json.dumps({"rows": [FLIGHT, FLIGHT | changes]}).encode())


def test_a_good_request_becomes_typed_rows_in_order():
    first, second = read([FLIGHT, FLIGHT | {"flight": 7, "tailnum": None}])
    assert first == FLIGHT | {"sched_dep": datetime(2013, 7, 1, 14, 5, tzinfo=UTC)}
    assert second == first | {"flight": 7, "tailnum": None}


@pytest.mark.parametrize(
    "moment", ["2013-07-01T14:05:00", "2013-07-01T14:05:00+00:00", "2013-07-01T10:05:00-04:00", "20130701T140500Z"]
)
def test_a_moment_is_utc_unless_it_says_otherwise(moment: str):
    assert read([FLIGHT | {"sched_dep": moment}])[0]["sched_dep"] == datetime(2013, 7, 1, 14, 5, tzinfo=UTC)


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
    assert len(read([FLIGHT] * MAX_ROWS)) == MAX_ROWS
    problem = refused(json.dumps({"rows": [FLIGHT] * (MAX_ROWS + 1)}).encode()).problems[0]
    assert (problem.found, problem.legal) == ("10001 rows", "1 to 10000 rows")


def test_only_the_first_problems_are_listed_and_all_are_counted():
    error = refused(json.dumps({"rows": [FLIGHT | {"flight": 0}] * 1000}).encode())
    assert len(error.problems) == MAX_PROBLEMS
    said = error.to_dict()
    assert said["total_errors"] == 1000 and said["error"] == said["errors"][0]


def test_features_may_come_with_the_request_alone_or_beside_its_rows():
    values = tuple(INPUTS.values())
    assert fast(json.dumps({"features": [INPUTS]}).encode()) == Asked(None, [values])
    both = fast(json.dumps({"rows": [FLIGHT], "features": [INPUTS | {"temp": None, "dest": None}]}).encode())
    assert both.rows and both.inputs and len(both) == 1 and None in both.inputs[0]


@pytest.mark.parametrize(
    ("said", "field", "found"),
    [
        ({"features": [INPUTS], "rows": [FLIGHT, FLIGHT]}, "features", "1 features and 2 rows"),
        ({"features": [INPUTS | {"temp": "warm"}]}, "temp", '"warm"'),
        ({"features": [INPUTS | {"dest": 7}]}, "dest", "7"),
        ({"features": [INPUTS | {"speed": 7}]}, "speed", "an unknown field"),
        ({"features": [{}]}, "minute_of_day", "nothing"),
        ({"features": []}, "features", "0 features"),
        ({"features": None}, "features", "null"),
        ({}, "rows", "{}"),
    ],
)
def test_features_that_no_model_reads_are_refused(said: dict[str, Any], field: str, found: str):
    bodies = [(problem.field, problem.found) for problem in refused(json.dumps(said).encode()).problems]
    assert any(field == where and what.startswith(found) for where, what in bodies), bodies


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


fields = st.dictionaries(st.sampled_from([*FLIGHT, "more"]), json_values)
likely = st.fixed_dictionaries(
    {
        "carrier": st.sampled_from(["UA", "ua", "U", "", None]),
        "flight": st.integers(-1, 10_001) | st.floats() | st.just(2**63),
        "tailnum": st.none() | st.text(max_size=3) | st.just("N14228"),
        "origin": st.sampled_from(["EWR", "BOS"]),
        "dest": st.just("IAH"),
        "sched_dep": st.datetimes(timezones=st.none() | st.timezones()).map(str) | st.dates().map(str),
    }
)


@given(st.lists(likely | fields | json_values, max_size=3))
def test_both_readers_understand_the_same_and_every_refusal_can_be_said(rows: list[object]):
    body = json.dumps({"rows": rows}).encode()
    outcomes: list[object] = []
    for reader in (fast, slow):
        try:
            outcomes.append(reader(body))
        except BadRequest as error:
            outcomes.append(json.dumps(error.to_dict(), allow_nan=False))
    assert outcomes[0] == outcomes[1]


@given(st.lists(st.dictionaries(st.sampled_from(list(INPUTS)), st.none() | st.floats() | st.text(), min_size=29), max_size=3))
def test_both_readers_understand_the_same_features(features: list[object]):
    body = json.dumps({"features": features}).encode()
    try:
        expected = slow(body)
    except BadRequest:
        expected = None
    try:
        assert fast(body) == expected
    except BadRequest:
        assert expected is None
