"""Every change of the ledger by an owner of the database is detected."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlops_assets.promotion.ledger import Ledger
from tests.promotion.ledger_tamper import FIELDS, Stored, overwrite, sealed, stored, unguard
from tests.servers.postgres_server import PostgresServer

AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)
KEPT = {"flights": 6, "census": 2}
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)  # what Postgres keeps as text
NEW = {name: WORDS for name in FIELDS} | {
    "number": st.integers(-3, 12) | st.integers(-(2**31), 2**31 - 1),
    "use_case": st.sampled_from([*KEPT]) | WORDS,
    "body": WORDS | st.dictionaries(WORDS, WORDS | st.integers()).map(json.dumps) | st.just('{"champion": 1}'),
    "kind": st.sampled_from(["plan", "rollback", "promotion"]) | WORDS,
}


@st.composite
def edited(draw: st.DrawFn, rows: list[Stored]) -> list[Stored]:
    place, name = draw(st.integers(0, len(rows) - 1)), draw(st.sampled_from(FIELDS))
    value = draw(NEW[name])
    assume(value != rows[place][name])
    return [row | {name: value} if row is rows[place] else row for row in rows]


@st.composite
def resealed(draw: st.DrawFn, rows: list[Stored]) -> list[Stored]:
    """An edit of one record by a person who also computes its digest again."""
    changed = draw(edited(rows))
    assume(all(row["body"].isascii() for row in changed))
    made = [new if new is old else sealed(new) for new, old in zip(changed, rows, strict=True)]
    assume(made != rows)  # an edited digest that was computed again
    return made


def removed(rows: list[Stored]) -> st.SearchStrategy[list[Stored]]:
    return st.sampled_from(rows).map(lambda gone: [row for row in rows if row is not gone])


@st.composite
def swapped(draw: st.DrawFn, rows: list[Stored]) -> list[Stored]:
    """Two records of a use case change places, or one of their fields does."""
    one, other = draw(st.sampled_from([(a, b) for a in rows for b in rows if a["use_case"] == b["use_case"] and a is not b]))
    moved = draw(
        st.sampled_from(
            [["number"], ["number", "previous"], ["body"], ["digest"], ["previous"], ["number", "previous", "digest"]]
        )
    )
    assume(any(one[name] != other[name] for name in moved))
    exchanged = {id(a): a | {name: b[name] for name in moved} for a, b in ((one, other), (other, one))}
    return [exchanged.get(id(row), row) for row in rows]


@st.composite
def inserted(draw: st.DrawFn, rows: list[Stored]) -> list[Stored]:
    """A forged record: any row, a second copy, or a correctly linked second one after the same record."""
    row = draw(st.sampled_from(rows))
    forged = draw(st.sampled_from([row, sealed(row | {"body": '{"champion":9}'})]) | st.fixed_dictionaries(NEW))
    assume(forged["use_case"] not in KEPT or forged is row or forged["number"] <= KEPT[forged["use_case"]])
    return [*rows, forged]


TAMPER: list[Callable[[list[Stored]], st.SearchStrategy[list[Stored]]]] = [edited, resealed, removed, swapped, inserted]


class Tampered:
    """A ledger without its guards, and its original rows."""

    def __init__(self, url: str) -> None:
        self.url, self.ledger = url, Ledger(url)
        for use_case, times in KEPT.items():
            for turn in range(times):
                self.ledger.append(use_case, "plan", {"champion": turn}, by="ana", at=AT)
        self.rows = stored(url)
        self.newest = {use_case: self.ledger.records(use_case)[-1] for use_case in KEPT}
        unguard(url)

    def problems(self, rows: list[Stored]) -> list[str]:
        overwrite(self.url, rows)
        problems = [line for use_case in KEPT if use_case in self.newest for line in self._verify(use_case)]
        return problems + [line for other in {*self.ledger.use_cases()} - {*KEPT} for line in self.ledger.verify(other)]

    def _verify(self, use_case: str) -> list[str]:
        known = self.newest[use_case]
        return self.ledger.verify(use_case, mirrored=(known.number, known.digest))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def tampered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tampered:
    if request.param == "sqlite":
        return Tampered(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}")
    server: PostgresServer = request.getfixturevalue("postgres")
    return Tampered(server.new_database())


@pytest.mark.parametrize("tamper", TAMPER, ids=lambda change: change.__name__)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
)
@given(data=st.data())
def test_every_change_of_the_rows_is_detected(tampered: Tampered, tamper: Callable[..., Any], data: st.DataObject):
    assert tampered.problems(tampered.rows) == []
    rows = data.draw(tamper(tampered.rows))
    assert tampered.problems(rows), "the change was not found"


def at(tampered: Tampered, number: int) -> int:
    return next(place for place, row in enumerate(tampered.rows) if (row["use_case"], row["number"]) == ("flights", number))


def without(tampered: Tampered, *numbers: int) -> list[Stored]:
    return [row for row in tampered.rows if row["use_case"] != "flights" or row["number"] not in numbers]


def replaced(tampered: Tampered, number: int, /, **fields: Any) -> list[Stored]:
    rows = [*tampered.rows]
    rows[at(tampered, number)] = rows[at(tampered, number)] | fields
    return rows


def test_an_edit_names_its_record_alone(tampered: Tampered):
    (problem,) = tampered.problems(replaced(tampered, 3, by="eve"))
    assert problem.startswith("flights · record 3 was altered: its digest is ")
    (problem,) = tampered.problems(replaced(tampered, 3, body='{"champion": 2}'))  # the same JSON in another text
    assert "record 3 was altered" in problem


def test_a_gap_names_what_is_missing(tampered: Tampered):
    assert tampered.problems(without(tampered, 4)) == ["flights · record 4 is missing."]
    assert tampered.problems(without(tampered, 1, 2)) == ["flights · records 1 to 2 are missing."]
    assert tampered.problems(replaced(tampered, 1, number=0))[0] == "flights · record 0 cannot be: numbers begin at 1."


def test_a_fork_is_reported_even_where_both_records_are_valid(tampered: Tampered):
    second = sealed(tampered.rows[at(tampered, 3)] | {"body": '{"champion":9}'})
    assert tampered.problems([*tampered.rows, second]) == ["flights · record 3 is there 2 times: the chain forks."]


def test_a_rewritten_record_breaks_the_link_to_the_next(tampered: Tampered):
    rows = replaced(tampered, 3, by="eve")
    rows[at(tampered, 3)] = sealed(rows[at(tampered, 3)])
    (problem,) = tampered.problems(rows)
    assert problem.startswith("flights · record 4 does not follow the one before: it names ")


@pytest.mark.parametrize("body", ["{", '{"champion":NaN}', 100_000 * "[", "", "1e999"])
def test_a_body_that_is_no_json_object_is_reported_and_stops_no_check(tampered: Tampered, body: str):
    (problem,) = tampered.problems(replaced(tampered, 3, body=body))
    assert problem.startswith(("flights · record 3 cannot be read: ", "flights · record 3 was altered: "))


def test_missing_newest_records_are_detected_by_the_mirrored_digest(tampered: Tampered):
    known = "flights · record 6 is known elsewhere and not here, where the newest is"
    assert tampered.problems(without(tampered, 5, 6)) == [f"{known} 4: the newest records were cut off."]
    assert tampered.ledger.verify("flights") == [], "the chain alone cannot tell"
    assert tampered.problems(without(tampered, *range(1, 7))) == [f"{known} none: the newest records were cut off."]


def test_a_chain_rewritten_to_its_end_is_detected_by_the_mirrored_digest(tampered: Tampered):
    rows, previous = replaced(tampered, 3, by="eve"), tampered.rows[at(tampered, 2)]["digest"]
    for place in (at(tampered, number) for number in range(3, 7)):
        rows[place] = sealed(rows[place] | {"previous": previous})
        previous = rows[place]["digest"]
    (problem,) = tampered.problems(rows)
    assert problem.startswith("flights · record 6 differs from the one known elsewhere: ")
    assert tampered.ledger.verify("flights") == [], "the chain alone cannot tell"


def test_bytes_that_are_no_text_are_reported_and_stop_no_check(tmp_path: Path):
    file = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{file}")
    ledger.append("flights", "plan", {"champion": 1}, by="ana", at=AT)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER mlops_ledger_no_update")
        connection.execute("UPDATE mlops_ledger SET by = CAST(x'61ff' AS TEXT)")
    (problem,) = ledger.verify("flights")
    assert "record 1 was altered" in problem
