"""A pause of one use case on record: its end, its reason, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.pauses import IllegalPause, parse_until, pause, pauses_in_force, resume
from mlops_assets.promotion.promotion_state import promotion_state_of

NOW = datetime(2026, 12, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    ledger = Ledger(ledger_url)
    ledger.append("other", "refusal", {"version": 1, "reason": "weak", "evidence": {}}, by="ana", at=NOW)
    return ledger


def begin(ledger: Ledger, use_case: str = "loans", hours: int = 1, at: datetime = NOW) -> None:
    pause(use_case, until=at + hours * HOUR, why="The bank moves its database.", by="ana", at=at, ledger=ledger)


def test_a_pause_is_in_force_until_its_end_and_names_who_why_and_how_to_end_it(ledger: Ledger) -> None:
    begin(ledger)
    in_force = pauses_in_force(ledger, NOW + HOUR - timedelta(seconds=1))
    sentence = (
        "Paused by ana until 2026-12-01 06:00 UTC: The bank moves its database. Nothing runs by itself, and all of it follows"
    )
    assert (
        str(in_force.pop("loans"))
        == f"{sentence} then; `mlops resume loans --why …` ends it now. It began at 2026-12-01 05:00 UTC."
    )
    assert not in_force and pauses_in_force(ledger, NOW + HOUR) == {}


def test_the_newest_counts_and_a_person_ends_it(ledger: Ledger) -> None:
    begin(ledger)
    begin(ledger, hours=5)
    begin(ledger, "other")
    late = NOW + 2 * HOUR
    assert {*pauses_in_force(ledger, late)} == {"loans"}
    assert {*pauses_in_force(ledger, NOW)} == {"loans", "other"}
    resume("loans", why="It has moved.", by="bob", at=late, ledger=ledger)
    assert not pauses_in_force(ledger, late)
    begin(ledger, at=late)
    assert {*pauses_in_force(ledger, late)} == {"loans"} and not ledger.verify("loans")


def test_the_promotion_state_has_the_pause_also_when_it_is_computed_step_by_step(ledger: Ledger) -> None:
    begin(ledger)
    records = ledger.records("loans")
    state = promotion_state_of("loans", records)
    assert state.pause_at(NOW) and not state.pause_at(NOW + HOUR)
    resume("loans", why="It has moved.", by="bob", at=NOW, ledger=ledger)
    assert not promotion_state_of("loans", ledger.records("loans", after=1), state).pause_at(NOW)


def test_an_illegal_pause_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    for until in (NOW, NOW - HOUR):
        with pytest.raises(IllegalPause, match=r"loans · until = 2026-12-01T0[45]:00, and it is 2026-12-01T05:00 UTC; legal"):
            pause("loans", until=until, why="a move", by="ana", at=NOW, ledger=ledger)
    with pytest.raises(IllegalPause, match="loans · why = ' '; legal: the reason"):
        pause("loans", until=NOW + HOUR, why=" ", by="ana", at=NOW, ledger=ledger)
    with pytest.raises(IllegalPause, match="loans · no pause is in force"):
        resume("loans", why="a move", by="ana", at=NOW, ledger=ledger)
    assert not ledger.records("loans")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T06:00", datetime(2026, 12, 1, 6, tzinfo=UTC)),
        ("2026-12-01 06:00:30", datetime(2026, 12, 1, 6, 0, 30, tzinfo=UTC)),
        ("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T06:00+01:00", datetime(2026, 12, 1, 5, tzinfo=UTC)),
        ("2026-12-01T06:00Z", datetime(2026, 12, 1, 6, tzinfo=UTC)),
    ],
)
def test_an_end_without_an_offset_is_in_utc(text: str, moment: datetime) -> None:
    assert parse_until(text) == moment


@pytest.mark.parametrize("text", ["tomorrow", "", "2026-13-01", "6:00"])
def test_an_end_that_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(IllegalPause, match="legal: a moment such as 2026-12-01T06:00, in UTC. Correct it."):
        parse_until(text)
