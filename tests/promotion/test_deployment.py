import json
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.promotion.deployment import (
    AlreadyPlaced,
    Deployment,
    IllegalRoute,
    Plan,
    UnblessedModel,
    UnknownVersion,
    UnreadablePlan,
)
from tests.promotion.model_line import ModelLine, model

AT = "2013-07-01T12:00:00+00:00"
LONG = "a reason that makes the line longer " * 20
FIRST = Plan(1, 1, None, AT, "first", record="a" * 64)
PUBLISH_ON = """
import sys
from dataclasses import replace
from pathlib import Path
from mlops_assets.promotion.deployment import Deployment, Plan
deployment, every = Deployment(Path(sys.argv[1]), "flight_delay"), int(sys.argv[2])
for number in range(int(sys.argv[3]), 1_000_000, every):
    champion = 1 + number % 2
    plan = Plan(number, champion, 3 - champion, "2013-07-01T12:00:00+00:00", "a reason that makes the line longer " * 20)
    deployment.place(champion, b"model %d" % champion, "blessing")
    deployment.publish(plan)
    print(number, flush=True)
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    deployment = Deployment(tmp_path, "flight_delay")
    for version in (1, 2, 3, 4):
        deployment.place(version, b"model %d" % version, "blessing")
    return deployment


@contextmanager
def publishing(root: Path, *, first: int = 1, every: int = 1) -> Iterator[IO[bytes]]:
    """A process that publishes plans `first`, `first + every` and so on, as fast as it can, until it is killed at the end.

    Each number is printed once its plan is published. Even plans have champion 1, odd ones 2, and the other before.
    """
    command = [sys.executable, "-c", PUBLISH_ON, str(root), str(every), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        yield writer.stdout
        writer.kill()


def published_on(number: int) -> Plan:
    champion = 1 + number % 2
    return Plan(number, champion, 3 - champion, AT, LONG)


def umask() -> int:
    os.umask(current := os.umask(0))
    return current


def plan_file(root: Path) -> Path:
    return root / "flight_delay" / "plan.json"


def test_a_placed_model_is_loaded_byte_for_byte(deployment: Deployment):
    assert deployment.load(2) == (b"model 2", "blessing")
    assert deployment.versions() == [1, 2, 3, 4]


def test_placing_the_same_again_changes_nothing_and_other_bytes_are_refused(deployment: Deployment):
    deployment.place(1, b"model 1", "blessing")
    with pytest.raises(AlreadyPlaced, match="version 1 is placed with other bytes"):
        deployment.place(1, b"another model", "blessing")
    with pytest.raises(AlreadyPlaced):
        deployment.place(1, b"model 1", "another blessing")


def test_a_second_user_still_reads_models_and_plan_after_the_next_promotion(deployment: Deployment, tmp_path: Path):
    deployment.publish(FIRST)
    plan_file(tmp_path).chmod(0o664)
    deployment.publish(replace(FIRST, number=2, champion=2))
    model = tmp_path / "flight_delay" / "models" / "2"
    readable = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o044 for path in (model, *model.iterdir())}
    allowed = 0o044 & ~umask()
    assert readable == {"2": allowed, "model.onnx": allowed, "blessing.json": allowed}
    assert stat.S_IMODE(plan_file(tmp_path).stat().st_mode) == 0o664


def test_the_plan_is_none_until_the_first_is_published(deployment: Deployment):
    assert deployment.plan() is None


def test_a_published_plan_is_read_as_it_is_and_written_for_people(deployment: Deployment, tmp_path: Path):
    plan = Plan(7, 2, 1, AT, "try it", challenger=3, share=0.05, split="ab", shadow=4, record="c" * 64, digests={3: "d" * 64})
    deployment.publish(plan)
    assert deployment.plan() == plan
    assert json.loads(plan_file(tmp_path).read_text()) == {
        "plan": 7, "champion": 2, "previous": 1, "at": AT, "reason": "try it",
        "challenger": 3, "share": 0.05, "split": "ab", "shadow": 4, "record": "c" * 64, "digests": {"3": "d" * 64},
    }  # fmt: skip


def test_publishing_what_servers_see_touches_nothing(deployment: Deployment, tmp_path: Path):
    deployment.publish(FIRST)
    before = plan_file(tmp_path).stat()
    deployment.publish(FIRST)
    after = plan_file(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_late_writer_reverts_nothing_and_gets_an_error(deployment: Deployment):
    newer = replace(FIRST, number=3, champion=2, previous=1)
    deployment.publish(newer)
    deployment.publish(FIRST)
    assert deployment.plan() == newer


def test_an_edited_plan_with_the_same_number_is_reconciled(deployment: Deployment, tmp_path: Path):
    deployment.publish(FIRST)
    plan_file(tmp_path).write_text(replace(FIRST, champion=4).to_json())
    deployment.publish(FIRST)
    assert deployment.plan() == FIRST


@pytest.mark.parametrize("slot", ["champion", "challenger", "shadow"])
def test_a_plan_with_a_version_that_is_not_placed_is_refused(deployment: Deployment, slot: str):
    deployment.publish(FIRST)
    wrong: dict[str, Any] = {slot: 9}
    with pytest.raises(UnknownVersion, match="flight_delay · version 9 is not placed; placed: 1, 2, 3, 4. If the ledger"):
        deployment.publish(replace(FIRST, number=2, **wrong))
    assert deployment.plan() == FIRST


def test_before_anything_is_placed_a_plan_is_refused(tmp_path: Path):
    with pytest.raises(UnknownVersion, match="version 1 is not placed; placed: none"):
        Deployment(tmp_path, "flight_delay").publish(FIRST)
    assert Deployment(tmp_path, "flight_delay").plan() is None


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"challenger": 2, "share": 1.01}, "share is 1.01; legal: 0 to 1"),
        ({"challenger": 2, "share": -0.01}, "share is -0.01; legal: 0 to 1"),
        ({"challenger": 2, "share": float("nan")}, "share is nan; legal: 0 to 1"),
        ({"challenger": 2, "share": 0.1, "split": "half"}, "split is 'half'; legal: canary, ab"),
        ({"challenger": 1, "share": 0.1}, "the challenger is the champion, version 1"),
        ({"share": 0.1}, "there is no challenger; legal: 0"),
    ],
)
def test_an_illegal_plan_is_refused_when_it_is_built(changes: dict[str, Any], because: str):
    with pytest.raises(IllegalRoute, match=because):
        replace(FIRST, **changes)


WRITTEN: dict[str, Any] = {"plan": 1, "champion": 1, "previous": None, "at": AT, "reason": ""}


def test_a_plan_from_before_rollouts_is_read(deployment: Deployment, tmp_path: Path):
    plan_file(tmp_path).write_text(json.dumps(WRITTEN))
    assert deployment.plan() == Plan(1, 1, None, AT, "")


UNREADABLE = [
    *(b"", b"{}", b"[]", b"5", b"null", b"\xff", b"[" * 100_000, json.dumps(WRITTEN).encode()[:-1]),
    *(json.dumps(WRITTEN | wrong).encode() for wrong in (
        {"champion": "1"}, {"champion": None}, {"champion": True}, {"plan": 1.5}, {"at": 5}, {"reason": None},
        {"challenger": "2"}, {"challenger": 1, "share": 0.1}, {"share": 0.1}, {"challenger": 2, "share": 2},
        {"challenger": 2, "share": float("nan")}, {"challenger": 2, "share": "0.1"}, {"split": "half"}, {"shadow": 1.5},
        {"record": None},
    )),
]  # fmt: skip


@pytest.mark.parametrize("content", UNREADABLE, ids=lambda content: content[-40:].decode(errors="replace"))
def test_an_illegal_plan_file_is_unreadable_until_a_plan_is_published(deployment: Deployment, tmp_path: Path, content: bytes):
    plan_file(tmp_path).write_bytes(content)
    with pytest.raises(UnreadablePlan, match="`mlops ledger mirror flight_delay` writes it again"):
        deployment.plan()
    deployment.publish(FIRST)
    assert deployment.plan() == FIRST


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ({}, ""),
        ({"challenger": 3, "share": 0.07}, "canary: 7% to version 3"),
        ({"challenger": 3, "share": 0.125, "split": "ab"}, "ab: 12.5% to version 3"),
        ({"shadow": 4}, "shadow: version 4"),
        ({"challenger": 3, "shadow": 4}, "canary: 0% to version 3, shadow: version 4"),
    ],
)
def test_a_plan_shows_people_what_runs_next_to_the_champion(others: dict[str, Any], text: str):
    assert Plan(1, 1, None, AT, "", **others).rollout == text


PLANS = st.builds(
    Plan,
    number=st.integers(1, 6),
    champion=st.sampled_from([1, 2, 9]),  # 8 and 9 are never placed
    previous=st.none() | st.integers(1, 9),
    at=st.just(AT),
    reason=st.sampled_from(["", "Güte\n"]),
    challenger=st.sampled_from([None, 3, 8]),
    share=st.just(0.0),
    split=st.sampled_from(["canary", "ab"]),
    shadow=st.sampled_from([None, 1, 9]),
)


@settings(max_examples=50, deadline=None)
@given(plans=st.lists(PLANS, max_size=8))
def test_servers_read_the_newest_legal_plan_in_whatever_order_plans_are_published(
    tmp_path_factory: pytest.TempPathFactory, plans: list[Plan]
):
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), "flight_delay")
    for version in (1, 2, 3):
        deployment.place(version, b"", "")
    newest: Plan | None = None
    for plan in plans:
        if {8, 9} & {plan.champion, plan.challenger, plan.shadow}:
            with pytest.raises(UnknownVersion):
                deployment.publish(plan)
        else:
            is_late = newest is not None and plan.number < newest.number
            deployment.publish(plan)
            newest = newest if is_late else plan
        assert deployment.plan() == newest


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0, 1), reason=st.text(max_size=40), record=st.text(max_size=64), shadow=st.none() | st.integers(1, 2**53))
def test_a_plan_comes_back_from_its_file_digit_by_digit(
    tmp_path_factory: pytest.TempPathFactory, share: float, reason: str, record: str, shadow: int | None
):
    root = tmp_path_factory.mktemp("deployment")
    plan = Plan(2, 1, None, AT, reason, challenger=3, share=share, shadow=shadow, record=record)
    plan_file(root).parent.mkdir()
    plan_file(root).write_text(plan.to_json())
    assert Deployment(root, "flight_delay").plan() == plan


@pytest.mark.slow  # eight processes
def test_a_writer_killed_at_any_moment_leaves_a_whole_plan(deployment: Deployment, tmp_path: Path):
    """The wait before each kill is a share of what one change takes here, so that every kill falls into the change, however busy the disk is."""
    chance, known = random.Random(7), 0
    for _ in range(8):
        with publishing(tmp_path, first=known + 1) as output:
            output.readline()
            started = time.perf_counter()
            known = int(output.readline())
            time.sleep(chance.uniform(0, time.perf_counter() - started))
        plan = deployment.plan()
        assert plan is not None and plan == published_on(plan.number) and plan.number >= known
        assert all(deployment.load(version)[0] == b"model %d" % version for version in deployment.versions())
        known = plan.number


def test_a_reader_never_gets_a_torn_or_older_plan_during_busy_writes(deployment: Deployment, tmp_path: Path):
    deployment.publish(published_on(1))
    numbers = [1]
    with publishing(tmp_path):
        while len(numbers) < 100:
            plan = deployment.plan()
            assert plan is not None and plan == published_on(plan.number)
            if plan.number != numbers[-1]:
                numbers.append(plan.number)
    assert numbers == sorted(numbers)


def test_no_writer_of_several_processes_replaces_a_newer_plan(deployment: Deployment, tmp_path: Path):
    with ExitStack() as writers:
        outputs = [writers.enter_context(publishing(tmp_path, first=first, every=3)) for first in (1, 2, 3)]
        for _ in range(15):
            newest = max(int(output.readline()) for output in outputs)
            plan = deployment.plan()
            assert plan is not None and plan == published_on(plan.number) and plan.number >= newest


def test_a_backup_of_a_version_next_to_it_is_no_version(deployment: Deployment, tmp_path: Path):
    before = deployment.versions()
    (tmp_path / "flight_delay" / "models" / "1.bak").mkdir()
    assert deployment.versions() == before != []


def test_a_swapped_file_of_the_champion_is_not_read_as_the_champion(tmp_path: Path):
    line = ModelLine(tmp_path)
    line.bless(1, 2)
    line.promote(1)
    assert line.deployment.champion() == (1, model(1))
    line.copy_files(2, 1)
    with pytest.raises(
        UnblessedModel, match=r"version 1 has digest .*; the plan has .*, which the ledger blessed. Restore the files"
    ):
        line.deployment.champion()
