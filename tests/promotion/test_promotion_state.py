"""The state that records add up to: each rule by itself, and any history against a slow recomputation of each part."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.ledger_chain import GENESIS, Kind, Record, seal
from mlops_assets.promotion.promotion_state import PromotionState, plan_of, promotion_state_of

AT = "2013-07-01T12:00:00+00:00"
SERVES: dict[str, Any] = {"champion": 1, "previous": None, "challenger": None, "share": 0.0, "split": "canary", "shadow": None}
Event = tuple[Kind, int, dict[str, Any]]


def history(*events: Event) -> list[Record]:
    """A chain of records of a kind about a version; those that change what serves have a plan."""
    records: list[Record] = []
    for kind, version, plan in events:
        body: dict[str, Any] = {"version": version, "reason": "a test"} | ({"plan": SERVES | plan} if plan else {})
        body |= {"model_digest": f"digest {version}"} if kind == "blessing" else {}
        before = records[-1].digest if records else GENESIS
        records.append(seal(Record("flights", len(records) + 1, kind, AT, "ana", body, before, "")))
    return records


def after(*events: Event) -> PromotionState:
    return promotion_state_of("flights", history(*events))


def about(kind: Kind, version: int) -> Event:
    return kind, version, {}


def promoted(version: int, previous: int | None = None) -> Event:
    return "promotion", version, {"champion": version, "previous": previous}


def back_to(version: int, from_version: int) -> Event:
    return "rollback", from_version, {"champion": version, "previous": from_version}


def test_without_records_nothing_stands():
    state = promotion_state_of("flights", [])
    assert (state.head, state.plan, state.challenger_version, state.shares) == (0, None, None, {})
    assert (state.previous_champion, state.waiting, state.champions) == (None, None, ())


def test_a_plan_is_read_from_its_record():
    records = history(promoted(1))
    plan = Plan(1, 1, None, AT, "a test", record=records[0].digest)
    assert plan_of(records[0], {}) == plan == promotion_state_of("flights", records).plan


def test_a_record_that_changes_nothing_that_serves_leaves_the_plan():
    before, behind = after(promoted(1)), after(promoted(1), about("erasure", 7), about("refusal", 2))
    assert behind.plan == before.plan and behind.head == 3


def test_a_version_that_was_promoted_twice_is_listed_once():
    state = after(promoted(1), promoted(2, 1), promoted(1, 2))
    assert state.champions == (2, 1) and state.previous_champion == 2


def test_an_adopted_version_counts_like_a_promoted_one():
    state = after(promoted(1), ("adoption", 2, {"champion": 2, "previous": 1}))
    assert state.champions == (1, 2) and state.previous_champion == 1


def test_after_a_rollback_and_a_promotion_the_replaced_version_is_the_previous_champion():
    state = after(promoted(1), promoted(2, 1), back_to(1, 2), promoted(3, 1))
    assert state.champions == (1, 3) and state.previous_champion == 1


def test_a_rollback_to_a_champion_from_before_the_records_leaves_it_alone():
    assert after(promoted(2, 1), back_to(1, 2)).champions == (1,)


def test_the_newest_blessed_version_waits():
    state = after(about("blessing", 1), about("blessing", 2))
    assert state.waiting == 2


UNTRIED = [about("blessing", 1), promoted(1), about("blessing", 2), about("blessing", 3)]


@pytest.mark.parametrize(
    ("events", "waiting"),
    [
        ([about("refusal", 3)], 2),
        ([about("refusal", 3), about("refusal", 2)], None),
        ([about("refusal", 3), about("blessing", 3)], 3),
        ([about("refusal", 2)], 3),
        ([about("blessing", 1)], 3),
        ([promoted(3, 1)], None),
        ([promoted(3, 1), about("refusal", 3)], None),
        ([promoted(3, 1), back_to(1, 3)], None),
        ([promoted(3, 1), back_to(1, 3), about("blessing", 2)], 2),
        ([("plan", 3, {"shadow": 3}), back_to(1, 3), about("blessing", 4), about("blessing", 3)], 4),
        ([promoted(2, 1)], 3),
        ([promoted(2, 1), about("refusal", 3)], None),
    ],
    ids=str,
)
def test_an_untried_blessing_waits_until_a_later_one_is_tried(events: list[Event], waiting: int | None):
    assert after(*UNTRIED, *events).waiting == waiting


@pytest.mark.parametrize(
    "tried",
    [
        [promoted(2)],
        [promoted(1), ("plan", 2, {"shadow": 2})],
        [promoted(1), ("plan", 2, {"challenger": 2, "share": 0.5})],
        [promoted(2), promoted(3, 2)],
        [promoted(1), promoted(2, 1), back_to(1, 2)],
    ],
    ids=["champion", "shadow", "challenger", "former champion", "rolled back"],
)
def test_a_version_that_was_tried_no_longer_waits(tried: list[Event]):
    assert after(*tried, about("blessing", 2)).waiting is None


def test_a_rollout_is_known_by_its_shares_and_ends_with_a_promotion_or_a_rollback():
    begun = [promoted(1), ("plan", 2, {"shadow": 2}), ("step", 2, {"challenger": 2, "share": 0.05})]
    assert after(*begun).shares == {2: 0.0, 3: 0.05}
    for end in (promoted(2, 1), back_to(1, 2)):
        assert after(*begun, end).shares == {} and after(*begun, end).challenger_version is None
    another = after(*begun, ("plan", 3, {"shadow": 3}))
    assert (min(another.shares), another.challenger_version) == (4, 3)


VERSION = st.integers(1, 4)
TRIALS = st.fixed_dictionaries({"champion": VERSION, "challenger": st.none() | st.integers(5, 8), "shadow": st.none() | VERSION})
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["blessing", "approval", "refusal"]), st.integers(1, 8), st.just({})),
    st.tuples(st.sampled_from(["promotion", "adoption", "rollback"]), VERSION, st.fixed_dictionaries({"champion": VERSION})),
    st.tuples(st.sampled_from(["plan", "step"]), st.integers(5, 8), TRIALS),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=14), st.lists(st.integers(0, 14), max_size=4))
def test_a_state_that_is_carried_on_equals_the_state_of_all_records(events: Sequence[Any], cuts: list[int]):
    records, state, start = history(*events), None, 0
    for cut in [*sorted(cuts), len(records)]:
        before = repr(state)
        carried = promotion_state_of("flights", records[start:cut], state)
        assert carried == promotion_state_of("flights", records[:cut]) and repr(state) == before
        state, start = carried, min(cut, len(records))


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=14))
def test_any_history_adds_up_to_what_one_finds_by_asking_all_of_it(events: Sequence[Any]):
    records = history(*events)
    state = promotion_state_of("flights", records)
    for version in range(1, 9):
        blessed = newest(records, version, "blessing")
        assert state.blessings.get(version) == blessed
        approved, refused = newest(records, version, "approval"), newest(records, version, "refusal")
        assert state.approvals.get(version) == (approved if later(approved, blessed) else None)
        assert state.refusals.get(version) == (refused if later(refused, blessed) else None)
        assert state.rollbacks.get(version) == newest(records, version, "rollback")
    changes = [record for record in records if "plan" in record.body]
    before_it = promotion_state_of("flights", records[: changes[-1].number]).blessings if changes else {}
    assert state.plan == (plan_of(changes[-1], before_it) if changes else None)
    assert state.shares == shares(changes)
    assert state.waiting == waiting(records)


def newest(records: Sequence[Record], version: int, kind: str) -> Record | None:
    return next((record for record in reversed(records) if (record.kind, record.body["version"]) == (kind, version)), None)


def later(one: Record | None, other: Record | None) -> bool:
    return one is not None and (other is None or one.number > other.number)


def shares(changes: Sequence[Record]) -> dict[int, float]:
    """Steps since the last change of another kind, that one included where it is a plan."""
    shares: dict[int, float] = {}
    for record in reversed(changes):
        if record.kind not in ("plan", "step"):
            break
        shares[record.number] = record.body["plan"]["share"]
        if record.kind == "plan":
            break
    return shares


def waiting(records: Sequence[Record]) -> int | None:
    """The version blessed last that nothing has happened to, and that no version blessed later was tried instead of."""
    plans = [record for record in records if "plan" in record.body]
    stack: list[int] = []
    for record in plans:
        if record.kind not in ("plan", "step"):
            champion = record.body["plan"]["champion"]
            if record.kind == "rollback":
                stack = stack[: stack.index(champion)] if champion in stack else []
            stack = [*(version for version in stack if version != champion), champion]
    serving = plans[-1].body["plan"] if plans else SERVES | {"champion": None}
    for version in sorted(range(1, 9), key=lambda version: -number_of(newest(records, version, "blessing"))):
        blessed, refused = newest(records, version, "blessing"), newest(records, version, "refusal")
        if blessed is None or any(was_tried_instead(records, blessed, record) for record in plans):
            continue
        out = {serving["champion"], serving["challenger"], serving["shadow"], *stack}
        if not (later(refused, blessed) or newest(records, version, "rollback") or version in out):
            return version
    return None


def was_tried_instead(records: Sequence[Record], blessed: Record, change: Record) -> bool:
    """Whether the change put a version to serve, or next to the champion, that had been blessed at that record or later."""
    of_the_change = newest(records[: change.number], change.body["version"], "blessing")
    return change.kind != "rollback" and number_of(of_the_change) >= blessed.number


def number_of(record: Record | None) -> int:
    return record.number if record else 0
