import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.ports.deployment import AlreadyPlaced, Deployment, Plan, UnknownVersion

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
