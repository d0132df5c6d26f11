import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.serving.http.request import (
    MAX_COUNTED,
    MAX_DETAILED_BYTES,
    MAX_PROBLEMS,
    BadRequest,
    PredictRequest,
    RequestParser,
    request_columns,
)
from mlops_assets.serving.http.value_types import legal_values, value_schema
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import APPLICATIONS, LOANS, contract
from tests.serving.flights import FLIGHT

MAX_ROWS = USE_CASE.serving.limits.max_rows
INPUTS = dict.fromkeys(USE_CASE.features.numeric, 1.5) | dict.fromkeys(USE_CASE.features.categorical, "UA")
parse = RequestParser(USE_CASE)


def read(rows: object) -> list[dict[str, Any]]:
    request = parse(json.dumps({"rows": rows}).encode())
    return [dict(zip(USE_CASE.features.request, row, strict=True)) for row in request.rows or ()]


def refused(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    return caught.value


def refused_row(**changes: Any) -> BadRequest:
    return refused(json.dumps({"rows": [FLIGHT, FLIGHT | changes]}).encode())


def with_columns(*changed: Column) -> UseCase:
    """The flight line with other columns of its requests."""
    columns = {column.name: column for column in changed}
    contracts = tuple(
        contract.but(columns=tuple(columns.get(column.name, column) for column in contract.columns))
        if contract.table == USE_CASE.features.request_table
        else contract
        for contract in USE_CASE.contracts
    )
    return USE_CASE.but(contracts=contracts)


def changed(name: str, **facets: Any) -> UseCase:
    column = next(column for column in request_columns(USE_CASE) if column.name == name)
    return with_columns(column.but(example=None, **facets))


def test_a_good_request_becomes_typed_rows_in_order():
    first, second = read([FLIGHT, FLIGHT | {"flight": 7, "tailnum": None}])
    assert first == FLIGHT | {"sched_dep": datetime(2013, 7, 1, 14, 5, tzinfo=UTC)}
    assert second == first | {"flight": 7, "tailnum": None}


@pytest.mark.parametrize(
    "moment", ["2013-07-01T14:05:00", "2013-07-01T14:05:00+00:00", "2013-07-01T10:05:00-04:00", "20130701T140500Z"]
)
def test_a_moment_is_utc_unless_it_has_an_offset(moment: str):
    assert read([FLIGHT | {"sched_dep": moment}])[0]["sched_dep"] == datetime(2013, 7, 1, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "found", "legal"),
    [
        ("carrier", 7, "7", "text matching ^[A-Z0-9]{2}$, such as UA"),
        ("carrier", "UAL", '"UAL"', "matching"),
        ("carrier", "UA\n", '"UA\\n"', "matching"),
        ("carrier", None, "null", "matching"),
        ("origin", "BOS", '"BOS"', "one of EWR, JFK, LGA"),
        ("flight", "1545", '"1545"', "a whole number from 1 to 9999"),
        ("flight", 1.5, "1.5", "a whole number"),
        ("flight", True, "true", "a whole number"),
        ("flight", 0, "0", "from 1 to 9999"),
        ("flight", 10**400, "1000", "a whole number"),
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


def test_a_client_with_the_former_name_of_a_field_reads_the_present_one():
    read_renamed = RequestParser(changed("dest", renamed_from="destination"))
    row = {("destination" if name == "dest" else name): value for name, value in FLIGHT.items()}
    with pytest.raises(BadRequest) as caught:
        read_renamed(json.dumps({"rows": [row]}).encode())
    steps = [(problem.field, problem.next) for problem in caught.value.problems]
    assert steps == [("dest", "Add the field."), ("destination", "It is called dest now: rename it.")]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\x80\x04", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"rows": ' + b"9" * 5000 + b"}", "not JSON"),
        (json.dumps({"rows": [FLIGHT | {"flight": float("nan")}]}).encode(), "not JSON"),
        (json.dumps({"rows": [FLIGHT | {"tailnum": "\ud800"}]}).encode(), "not JSON"),
        (b"[]", "[]"),
        (b"{}", "neither rows nor features"),
        (b'{"rows": null}', "neither rows nor features"),
        (b'{"rows": {}}', "{}"),
        (b'{"row": []}', '{"row": []}'),
        (b'{"rows": [], "more": 1}', '{"rows": [], "more": 1}'),
        (b'{"rows": []}', "0 rows"),
        (b'{"rows": [[]]}', "[]"),
        (b'{"rows": [null]}', "null"),
    ],
)
def test_a_body_that_is_no_request_gets_an_error_about_its_outline(body: bytes, found: str):
    problem = refused(body).problems[0]
    assert problem.found.startswith(found)
    assert "object" in problem.legal or "rows" in problem.legal


def test_too_many_rows_are_refused_and_the_most_are_read():
    assert len(read([FLIGHT] * MAX_ROWS)) == MAX_ROWS
    problem = refused(json.dumps({"rows": [FLIGHT] * (MAX_ROWS + 1)}).encode()).problems[0]
    assert (problem.found, problem.legal) == ("10001 rows", "1 to 10000 rows")


def test_only_the_first_problems_are_listed_and_counting_ends():
    few, many = (refused(json.dumps({"rows": [FLIGHT | {"flight": 0}] * count}).encode()) for count in (100, MAX_ROWS))
    assert len(few.problems) == MAX_PROBLEMS and few.to_dict()["total_errors"] == 100
    assert few.to_dict()["error"] == few.to_dict()["errors"][0]
    assert len(many.problems) == MAX_PROBLEMS and many.total == MAX_COUNTED


def test_the_first_problem_of_a_very_large_body_is_named_with_its_row_and_field():
    rows = [FLIGHT] * 3 + [FLIGHT | {"flight": 0}] + [FLIGHT | {"carrier": "x" * MAX_DETAILED_BYTES}]
    error = refused(json.dumps({"rows": rows}).encode())
    (problem,) = error.problems
    assert (problem.row, problem.field, problem.found) == (3, "flight", "Expected `int` >= 1")


def test_features_may_come_alone_or_with_rows():
    values = tuple(INPUTS.values())
    assert parse(json.dumps({"features": [INPUTS]}).encode()) == PredictRequest(None, [values])
    both = parse(json.dumps({"rows": [FLIGHT], "features": [INPUTS | {"temp": None, "dest": None}]}).encode())
    assert both.rows and both.inputs and len(both) == 1 and None in both.inputs[0]


def test_an_explanation_is_a_field_of_the_body_and_for_a_few_rows():
    body = {"rows": [FLIGHT] * 10, "explain": True}
    assert parse(json.dumps(body).encode()).explain
    (problem,) = refused(json.dumps(body | {"rows": [FLIGHT] * 11}).encode()).problems
    assert (problem.field, problem.legal) == ("explain", "at most 10 rows")
    (problem,) = refused(json.dumps(body | {"explain": "true"}).encode()).problems
    assert (problem.field, problem.found, problem.legal) == ("explain", '"true"', "true or false")


@pytest.mark.parametrize(
    ("body", "field", "found"),
    [
        ({"features": [INPUTS], "rows": [FLIGHT, FLIGHT]}, "features", "2 rows and 1 features"),
        ({"features": [INPUTS | {"temp": "warm"}]}, "temp", '"warm"'),
        ({"features": [INPUTS | {"dest": 7}]}, "dest", "7"),
        ({"features": [INPUTS | {"speed": 7}]}, "speed", "an unknown field"),
        ({"features": [{}]}, "minute_of_day", "nothing"),
        ({"features": []}, "features", "0 features"),
    ],
)
def test_features_that_no_model_reads_are_refused(body: dict[str, Any], field: str, found: str):
    problems = [(problem.field, problem.found) for problem in refused(json.dumps(body).encode()).problems]
    assert any(field == where and what.startswith(found) for where, what in problems), problems


def test_a_client_may_still_send_what_is_no_request_column_or_no_column_any_more():
    kept = tuple(column for column in APPLICATIONS.columns if column.name != "insured")
    row = {"number": 1, "customer": "c1", "amount": 5.5, "purpose": "car", "applied_at": "2024-03-01T00:00:00Z"}
    for use_case in (LOANS, contract(columns=kept, dropped=("insured",))):
        read = RequestParser(use_case)
        (values,) = read(json.dumps({"rows": [row | {"insured": ["anything"]}]}).encode()).rows or ()
        assert [*values[:4]] == [*row.values()][:4] and len(values) == len(row)
        with pytest.raises(BadRequest) as caught:
            read(json.dumps({"rows": [row | {"insured": 1, "ensured": 2, "amount": "x"}]}).encode())
        assert sorted(problem.field or "" for problem in caught.value.problems) == ["amount", "ensured"]


@pytest.mark.parametrize(
    ("column", "facets", "legal", "illegal"),
    [
        ("flight", {"min": 0.5, "max": 2.5}, [1, 2], [0, 3]),
        ("flight", {"min": None, "max": None}, [-(2**63), 2**63 - 1], [2**63, -(2**63) - 1]),
        ("carrier", {"allowed": ("UA", "B6")}, ["UA", "B6"], ["long", "AA"]),
        ("carrier", {"pattern": "A|B"}, ["A", "B"], ["AB", "A\n", "xB"]),
        ("flight", {"dtype": "float", "min": 0.25, "max": 1}, [0.25, 1], [0.2, 2, True, "1"]),
        (
            "flight",
            {"dtype": "decimal", "precision": 4, "scale": 2, "min": None, "max": None},
            [],
            [12.5, "12.505", "123.4", "1,5"],
        ),
        ("flight", {"dtype": "bool", "min": None, "max": None}, [True, False], [0, "true", None]),
    ],
)
def test_each_facet_of_a_column_decides_alike_in_parser_messages_and_schema(
    column: str, facets: dict[str, Any], legal: list[object], illegal: list[object]
):
    use_case = changed(column, **facets)
    declared = next(candidate for candidate in request_columns(use_case) if candidate.name == column)
    parser, place = RequestParser(use_case), use_case.features.request.index(column)
    for value in legal:
        (row,) = parser(json.dumps({"rows": [FLIGHT | {column: value}]}).encode()).rows or ()
        assert row[place] == value
    for value in illegal:
        with pytest.raises(BadRequest) as caught:
            parser(json.dumps({"rows": [FLIGHT | {column: value}]}).encode())
        (problem,) = caught.value.problems
        assert (problem.row, problem.field, problem.legal) == (0, column, legal_values(declared))
    assert legal_values(declared) in value_schema(declared)["description"]


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
features = st.fixed_dictionaries({name: st.none() | st.floats() | st.text() | st.integers() for name in list(INPUTS)[:2]}).map(
    lambda row: INPUTS | row
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "rows": st.lists(likely | fields | json_values, max_size=3),
        "features": st.lists(features | json_values, max_size=3),
        "explain": st.booleans() | json_values,
    },
)


@given(bodies)
def test_what_the_structs_refuse_has_a_problem_and_what_they_accept_has_none_and_is_exact(content: dict[str, Any]):
    body = json.dumps(content).encode()
    try:
        request = parse(body)
    except BadRequest as error:
        assert json.dumps(msgspec.to_builtins(error.to_dict()), allow_nan=False)
        assert all(problem.legal != "see /docs.json" for problem in error.problems), "only msgspec's own words are known"
        return
    assert [*parse._body_problems(content)] == []  # pyright: ignore[reportPrivateUsage]
    for part, parsed, columns in (("rows", request.rows, FLIGHT), ("features", request.inputs, INPUTS)):
        sent = content.get(part)
        assert (parsed is None) == (sent is None)
        for values, row in zip(parsed or (), sent or (), strict=True):
            for name, value in zip(columns, values, strict=True):
                assert value == (_utc(row[name]) if isinstance(value, datetime) else row[name])


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@pytest.mark.slow
def test_a_body_with_far_more_rows_than_are_legal_is_refused_in_little_more_memory_than_its_own():
    """131,000 rows in 16 MB: parsed as plain values they would take some 100 MB."""
    row = json.dumps(FLIGHT).encode()
    body = b'{"rows":[' + b",".join([row] * (USE_CASE.serving.limits.max_body_bytes // (len(row) + 1))) + b"]}"
    tracemalloc.start()
    try:
        assert "<= 10000" in refused(body).problems[0].found
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
