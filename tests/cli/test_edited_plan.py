"""A change by hand replaces an edited plan file and names what it replaced."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.foundation.home import Home
from tests.cli.test_promotion import NAME, Run, home, plan_in_force, run, template_home

__all__ = ["home", "run", "template_home"]  # fixtures
COMMANDS = {
    "promote": ("promote", NAME, "2", "--why", "now"), "promote the champion": ("promote", NAME, "1", "--why", "now"),
    "route": ("route", NAME, "--challenger", "2", "--share", "0.1"), "end a route": ("route", NAME), "mirror": ("ledger", "mirror", NAME),
}  # fmt: skip
EDITS: dict[str, tuple[Callable[[str], str], str]] = {
    "another champion": (lambda text: json.dumps(json.loads(text) | {"champion": 3}), "servers read plan 4 (version 3); in the ledger it is plan 4 (version 1)"),
    "another reason": (lambda text: json.dumps(json.loads(text) | {"reason": "x"}), "servers read plan 4 (version 1), with reason 'x' instead of 'the first'; in the ledger it is plan 4 (version 1)"),
    "no plan": (lambda text: text[:-9], "plan · found "),
}  # fmt: skip


def edit(home: Home, change: Callable[[str], str]) -> bytes:
    path = home.deployments / NAME / "plan.json"
    path.write_text(change(path.read_text()))
    return path.read_bytes()


def kept(home: Home) -> list[Path]:
    return [*(home.deployments / NAME).glob("replaced-plan-*.json")]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", EDITS)
def test_the_replaced_plan_is_named_and_its_file_is_kept(run: Run, home: Home, command: str, how: str) -> None:
    change, difference = EDITS[how]
    content = edit(home, change)
    result = run(*COMMANDS[command])
    warning = result.stderr.splitlines()[0]
    assert warning.startswith(f"{NAME} · plan and ledger disagreed before this change: {difference}"), result.output
    (file,) = kept(home)
    assert warning.endswith(f". The change replaced that plan; {file} has its file. Ask who can write to it.")
    assert file.read_bytes() == content and plan_in_force(home).number >= 4


def test_a_rollback_over_an_edited_plan_is_done_and_names_the_edit(run: Run, home: Home) -> None:
    run("promote", NAME, "2", "--why", "now")
    edit(home, EDITS["another champion"][0])
    result = run("rollback", NAME)
    assert "plan and ledger disagreed before this change: servers read plan 5 (version 3); in the ledger it is" in result.stderr
    assert plan_in_force(home).champion == 1 and len(kept(home)) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_change_over_the_plan_of_the_ledger_names_and_keeps_nothing(run: Run, home: Home, command: str) -> None:
    result = run(*COMMANDS[command])
    assert "disagreed" not in result.output and not kept(home)


def test_a_change_that_is_refused_keeps_nothing(run: Run, home: Home) -> None:
    content = edit(home, lambda text: json.dumps(json.loads(text) | {"plan": 999}))
    result = run("route", NAME, "--shadow", "2")
    assert result.exit_code == 1 and "nothing has changed" in result.stderr and not kept(home)
    assert (home.deployments / NAME / "plan.json").read_bytes() == content
