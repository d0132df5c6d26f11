import json
import random
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.ports.deployment import AlreadyPlaced, Deployment, IllegalRoute, Plan, UnknownVersion, UnreadablePlan

AT = "2013-07-01T12:00:00+00:00"
POINT_TO_AND_FRO = """
import sys
from pathlib import Path
from mlops_assets.ports.deployment import Deployment
deployment = Deployment(Path(sys.argv[1]), "flight_delay")
champion = deployment.plan().champion
while True:
    champion = 3 - champion
    deployment.place(champion, b"model %d" % champion, "blessing")
    deployment.point(champion, "2013-07-01T12:00:00+00:00", "a reason that makes the line longer " * 20)
    print(champion, flush=True)
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    deployment = Deployment(tmp_path, "flight_delay")
    for version in (1, 2, 3, 4):
        deployment.place(version, b"model %d" % version, "blessing")
    return deployment


def test_what_was_placed_is_loaded_byte_for_byte(deployment: Deployment):
    assert deployment.load(2) == (b"model 2", "blessing")
    assert deployment.versions() == [1, 2, 3, 4]


def test_placing_the_same_again_changes_nothing_and_other_bytes_are_refused(deployment: Deployment):
    deployment.place(1, b"model 1", "blessing")
    with pytest.raises(AlreadyPlaced, match="version 1 is placed with other bytes"):
        deployment.place(1, b"another model", "blessing")
    with pytest.raises(AlreadyPlaced):
        deployment.place(1, b"model 1", "another blessing")


def test_before_the_first_point_there_is_no_plan(deployment: Deployment):
    assert deployment.plan() is None
    assert deployment.history() == []
    assert deployment.previous_champion() is None


def test_pointing_says_who_answered_before(deployment: Deployment):
    assert deployment.point(1, AT, "first") == Plan(1, 1, None, AT, "first")
    assert deployment.point(3, AT, "better") == deployment.plan() == Plan(2, 3, 1, AT, "better")
    assert [plan.champion for plan in deployment.history()] == [1, 3]


def test_pointing_to_the_champion_changes_nothing(deployment: Deployment):
    first = deployment.point(1, AT, "first")
    assert deployment.point(1, "2014-01-01T00:00:00+00:00", "again") == first
    assert deployment.history() == [first]


def test_an_unplaced_version_cannot_be_pointed_to(deployment: Deployment):
    with pytest.raises(UnknownVersion, match="version 9 is not placed; placed: 1, 2, 3, 4"):
        deployment.point(9, AT, "typo")
    assert deployment.plan() is None


def test_going_back_twice_goes_back_two_steps(deployment: Deployment):
    for version in (1, 2, 3):
        deployment.point(version, AT, "better")
    went_back_to: list[int | None] = []
    while (previous := deployment.previous_champion()) is not None:
        went_back_to.append(previous)
        deployment.point(previous, AT, "rollback")
    assert went_back_to == [2, 1]


def test_after_going_back_a_new_version_goes_back_to_what_it_replaced(deployment: Deployment):
    for version in (1, 2, 1, 4):
        deployment.point(version, AT, "")
    assert deployment.previous_champion() == 1


def test_a_route_keeps_the_champion_and_is_written_down(deployment: Deployment, tmp_path: Path):
    deployment.point(1, AT, "first")
    deployment.point(2, AT, "better")
    routed = deployment.route(challenger=3, share=0.05, split="ab", shadow=4, at=AT, reason="try it")
    assert routed == deployment.plan() == Plan(3, 2, 1, AT, "try it", challenger=3, share=0.05, split="ab", shadow=4)
    written = json.loads((tmp_path / "flight_delay" / "plan.json").read_text())
    assert written == {"plan": 3, "champion": 2, "previous": 1, "at": AT, "reason": "try it"} | {
        "challenger": 3, "share": 0.05, "split": "ab", "shadow": 4,
    }  # fmt: skip
    assert json.loads((tmp_path / "flight_delay" / "history.jsonl").read_text().splitlines()[-1]) == written


def test_the_same_route_again_changes_nothing(deployment: Deployment):
    deployment.point(1, AT, "first")
    routed = deployment.route(challenger=3, share=1, shadow=3, at=AT, reason="try it")
    assert deployment.route(challenger=3, share=1.0, shadow=3, at="2014-01-01T00:00:00+00:00", reason="again") == routed
    assert len(deployment.history()) == 2


def test_a_rollout_ends_by_a_route_to_nothing_and_by_pointing(deployment: Deployment):
    deployment.point(1, AT, "first")
    for number, end in ((2, lambda: deployment.route(at=AT, reason="end")), (4, lambda: deployment.point(1, AT, "end"))):
        assert deployment.route(challenger=2, share=0.5, at=AT, reason="try it").number == number
        assert end() == Plan(number + 1, 1, None, AT, "end")
    deployment.route(challenger=2, share=0.5, at=AT, reason="try it")
    assert deployment.point(2, AT, "it won") == Plan(7, 2, 1, AT, "it won")


@pytest.mark.parametrize(
    ("route", "because"),
    [
        ({"challenger": 9, "share": 0.1}, "version 9 is not placed; placed: 1, 2, 3, 4"),
        ({"shadow": 9}, "version 9 is not placed; placed: 1, 2, 3, 4"),
        ({"challenger": 2, "share": 1.01}, "share is 1.01; legal: 0 to 1"),
        ({"challenger": 2, "share": -0.01}, "share is -0.01; legal: 0 to 1"),
        ({"challenger": 2, "share": float("nan")}, "share is nan; legal: 0 to 1"),
        ({"challenger": 2, "share": 0.1, "split": "half"}, "split is 'half'; legal: canary, ab"),
        ({"challenger": 1, "share": 0.1}, "the challenger is the champion, version 1"),
        ({"share": 0.1}, "there is no challenger; legal without one: 0"),
    ],
)
def test_a_route_that_cannot_be_is_refused_and_the_plan_stays(deployment: Deployment, route: dict[str, Any], because: str):
    first = deployment.point(1, AT, "first")
    with pytest.raises((IllegalRoute, UnknownVersion), match=because):
        deployment.route(**route, at=AT, reason="")
    assert deployment.history() == [first]


def test_without_a_champion_nothing_runs_beside(deployment: Deployment):
    with pytest.raises(IllegalRoute, match="flight_delay · nobody answers yet"):
        deployment.route(shadow=2, at=AT, reason="")
    assert deployment.plan() is None


def test_changes_of_the_rollout_are_no_steps_to_go_back(deployment: Deployment):
    for version in (1, 2):
        deployment.point(version, AT, "")
        deployment.route(challenger=4, share=0.1, at=AT, reason="")
        deployment.route(challenger=4, share=0.2, at=AT, reason="")
    assert deployment.previous_champion() == 1
    deployment.point(1, AT, "rollback")
    deployment.route(shadow=3, at=AT, reason="")
    assert deployment.previous_champion() is None


WRITTEN: dict[str, Any] = {"plan": 1, "champion": 1, "previous": None, "at": AT, "reason": ""}


def test_a_plan_from_before_rollouts_is_read(deployment: Deployment, tmp_path: Path):
    (tmp_path / "flight_delay" / "plan.json").write_text(json.dumps(WRITTEN))
    assert deployment.plan() == Plan(1, 1, None, AT, "")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[]", b"5", b"null", b"\xff", b"[" * 100_000, json.dumps(WRITTEN).encode()[:-1]),
        *(json.dumps(WRITTEN | wrong).encode() for wrong in (
            {"champion": "1"}, {"champion": None}, {"champion": True}, {"plan": 1.5}, {"at": 5}, {"reason": None},
            {"challenger": "2"}, {"challenger": 1, "share": 0.1}, {"share": 0.1}, {"challenger": 2, "share": 2},
            {"challenger": 2, "share": float("nan")}, {"challenger": 2, "share": "0.1"}, {"split": "half"}, {"shadow": 1.5},
        )),
    ],
    ids=lambda content: content[-40:].decode(errors="replace"),
)  # fmt: skip
def test_an_illegal_plan_file_is_unreadable(deployment: Deployment, tmp_path: Path, content: bytes):
    (tmp_path / "flight_delay" / "plan.json").write_bytes(content)
    with pytest.raises(UnreadablePlan, match="Restore the file from the last line"):
        deployment.plan()


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({}, ""),
        ({"challenger": 3, "share": 0.07}, "canary: 7% to version 3"),
        ({"challenger": 3, "share": 0.125, "split": "ab"}, "ab: 12.5% to version 3"),
        ({"shadow": 4}, "shadow: version 4"),
        ({"challenger": 3, "shadow": 4}, "canary: 0% to version 3, shadow: version 4"),
    ],
)
def test_a_plan_tells_people_what_runs_beside_the_champion(beside: dict[str, Any], said: str):
    assert Plan(1, 1, None, AT, "", **beside).rollout == said


VERSIONS = st.sampled_from([1, 2, 3, 9])  # 9 is never placed
ROUTES = st.fixed_dictionaries(
    {},
    optional={
        "challenger": VERSIONS | st.none(),
        "share": st.sampled_from([0, 0.05, 1, -1, 1.5]),
        "split": st.sampled_from(["canary", "ab"]),
        "shadow": VERSIONS | st.none(),
    },
)


@settings(max_examples=50, deadline=None)
@given(changes=st.lists(VERSIONS | ROUTES, max_size=8))
def test_any_sequence_of_changes_keeps_the_promises(
    tmp_path_factory: pytest.TempPathFactory, changes: list[int | dict[str, Any]]
):
    deployment, pointed_only = (Deployment(tmp_path_factory.mktemp("deployment"), "flight_delay") for _ in range(2))
    for version in (1, 2, 3):
        deployment.place(version, b"", "")
        pointed_only.place(version, b"", "")
    plans: list[Plan] = []
    for change in changes:
        before = deployment.plan()
        try:
            if isinstance(change, int):
                after, wanted = deployment.point(change, AT, ""), {"champion": change, **ALONE}
                pointed_only.point(change, AT, "")
            else:
                after = deployment.route(**change, at=AT, reason="")
                assert before is not None
                wanted = {"champion": before.champion, **ALONE, **change}
        except (IllegalRoute, UnknownVersion):
            assert deployment.plan() == before
            continue
        assert after == deployment.plan()
        assert {name: asdict(after)[name] for name in wanted} == wanted
        same = before is not None and {name: asdict(before)[name] for name in wanted} == wanted
        assert (after == before) == same
        plans += [] if same else [after]
    assert deployment.history() == plans
    assert [plan.number for plan in plans] == list(range(1, len(plans) + 1))
    assert all(9 not in (plan.champion, plan.challenger, plan.shadow) for plan in plans)
    assert deployment.previous_champion() == pointed_only.previous_champion()


ALONE: dict[str, Any] = {"challenger": None, "share": 0.0, "split": "canary", "shadow": None}


@settings(max_examples=25, deadline=None)
@given(versions=st.lists(st.sampled_from([1, 2, 3]), max_size=8))
def test_the_previous_champion_is_another_that_has_answered(tmp_path_factory: pytest.TempPathFactory, versions: list[int]):
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), "flight_delay")
    for version in versions:
        deployment.place(version, b"", "")
        deployment.point(version, AT, "")
    previous, plan = deployment.previous_champion(), deployment.plan()
    assert previous is None or (plan is not None and previous != plan.champion and previous in versions)


def test_a_history_line_that_a_killed_writer_left_out_or_unfinished_is_restored(deployment: Deployment, tmp_path: Path):
    deployment.point(1, AT, "first")
    deployment.point(2, AT, "second")
    history = tmp_path / "flight_delay" / "history.jsonl"
    whole = history.read_bytes()
    for torn in (whole[: whole.index(b"\n") + 1], whole[:-1], whole[:-30]):
        history.write_bytes(torn)
        assert [plan.champion for plan in deployment.history()] == [1, 2]
        deployment.point(2, AT, "nothing new")
        assert history.read_bytes() == whole


def test_a_writer_killed_at_any_moment_leaves_a_whole_plan_and_a_whole_history(deployment: Deployment, tmp_path: Path):
    """The wait before each kill is a share of what one change takes here, so that a busy disk moves no kill out of the work."""
    deployment.point(1, AT, "first")
    chance = random.Random(7)
    changes = 1
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", POINT_TO_AND_FRO, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            started = time.perf_counter()
            writer.stdout.readline()
            one_change_s = time.perf_counter() - started
            changes += 2
            time.sleep(chance.uniform(0, one_change_s))
            writer.kill()
        plan = json.loads((tmp_path / "flight_delay" / "plan.json").read_text())
        history = deployment.history()
        assert [entry.number for entry in history] == list(range(1, plan["plan"] + 1))
        assert history[-1] == deployment.plan()
        assert all(deployment.load(version)[0] == b"model %d" % version for version in deployment.versions())
    assert len(deployment.history()) >= changes


def test_a_reader_beside_a_busy_writer_never_sees_a_torn_plan(deployment: Deployment, tmp_path: Path):
    deployment.point(1, AT, "first")
    seen: set[int] = set()
    with subprocess.Popen([sys.executable, "-c", POINT_TO_AND_FRO, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        while len(seen) < 100:
            plan = deployment.plan()
            assert plan is not None and plan.champion in (1, 2)
            seen.add(plan.number)
        writer.kill()


def test_writers_in_several_processes_take_turns(deployment: Deployment, tmp_path: Path):
    deployment.point(1, AT, "first")
    command = [sys.executable, "-c", POINT_TO_AND_FRO, str(tmp_path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        for _ in range(15):
            writer.stdout.readline()
    for writer in writers:
        writer.kill()
        writer.communicate()
    plans = deployment.history()
    assert [plan.number for plan in plans] == list(range(1, len(plans) + 1))
    assert [plan.previous for plan in plans[1:]] == [plan.champion for plan in plans[:-1]]
