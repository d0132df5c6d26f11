"""The rollout sensor finds an edited plan file: servers read the ledger's plan again, and the edited file is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.promotion.ledger import ConcurrentWrite
from tests.rollout.test_rollout_races import Line


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Version 3 is in the shadow of version 2."""
    return Line(tmp_path)


def edit(line: Line, **values: object) -> bytes:
    path = line.folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path.read_bytes()


def kept(line: Line) -> list[Path]:
    return [*line.folder.glob("replaced-plan-*.json")]


def decide_nothing(line: Line) -> str:
    return line.look().message


def go_on(line: Line) -> str:
    line.score()
    step = line.look()
    assert step.plan and step.plan.rollout == "canary: 50% to version 3"
    return step.message


@pytest.mark.parametrize("look", [decide_nothing, go_on])
def test_a_look_over_an_edited_plan_keeps_its_file_and_names_it(line: Line, look: Callable[[Line], str]) -> None:
    content = edit(line, champion=3, shadow=2)
    message = look(line)
    (file,) = kept(line)
    assert file.read_bytes() == content and line.promotions.difference() is None
    assert "plan and ledger disagreed before this change: servers read plan " in message
    assert message.endswith(f"The change replaced that plan; {file} has its file. Ask who can write to it.")


def test_a_look_that_another_writer_ends_keeps_the_file_that_it_replaced(line: Line) -> None:
    content = edit(line, champion=3, shadow=2)
    line.score()
    line.go_back_meanwhile()
    with pytest.raises(ConcurrentWrite, match="rollback by bob"):
        line.look()
    assert [file.read_bytes() for file in kept(line)] == [content]


def test_a_look_after_a_crash_between_record_and_plan_keeps_nothing(line: Line) -> None:
    """The plan that servers read is an older one of the ledger."""
    before = (line.folder / "plan.json").read_bytes()
    line.promotions.roll_back(**line.attribution())
    (line.folder / "plan.json").write_bytes(before)
    assert "disagreed" not in line.look().message
    assert line.promotions.difference() is None and not kept(line)


def test_a_look_over_a_newer_plan_leaves_it_and_keeps_nothing(line: Line) -> None:
    plan = line.state().plan
    assert plan
    (line.folder / "plan.json").write_text(replace(plan, number=999).to_json())
    assert "servers read plan 999" in line.look().message
    assert not kept(line)
