"""No order of changes, crashes, races, edits and forgeries lets an unblessed version serve.

The machine also runs with guards removed, one by one: a search that does not notice would prove nothing.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.promotion import promotions
from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.serving.inference import model_slots
from mlops_assets.training.model_registry import ModelRegistry
from tests.promotion.machine import PromotionMachine
from tests.promotion.mirrored_machine import MirroredMachine
from tests.promotion.revoking_machine import RevokingMachine

pytestmark = pytest.mark.slow

UNHURRIED = settings(deadline=None, suppress_health_check=[*HealthCheck], stateful_step_count=25)
# Where a fault must be found: always the same search, without shrinking. Its seed is our own: `derandomize` takes one from the
# source of the machine's class, and an edit of a docstring made the search of InTraffic miss its fault twice.
SEARCH = settings(UNHURRIED, max_examples=200, database=None, phases=[Phase.generate], report_multiple_bugs=False)
append, load_blessed = Ledger.append, Deployment.load_blessed


def nothing(*_args: Any, **_options: Any) -> None: ...


def append_to_anything(self: Ledger, *args: Any, after: int | None = None, **options: Any) -> Record:
    return append(self, *args, **options)


def publish_anything(self: Deployment, plan: Plan) -> bool:
    replace_file(self._plan, plan.to_json().encode())
    return True


def load_anything_into_servers(self: Deployment, version: int, *args: Any, **options: Any) -> tuple[bytes, Blessing]:
    if sys._getframe(1).f_globals["__name__"] != model_slots.__name__:  # promotions load by the same method
        return load_blessed(self, version, *args, **options)
    onnx, text = self.load(version)
    return onnx, Blessing.from_json(text)


Guard = tuple[Any, str, Callable[..., Any]]
BEFORE_A_RECORD: Guard = (Promotions, "_require_servable", nothing)
SERVERS_OWN: Guard = (Deployment, "load_blessed", load_anything_into_servers)
SIGNATURE: Guard = (promotions, "verify", nothing)
UNCHANGED_SINCE_READ: Guard = (Ledger, "append", append_to_anything)
LATE_PUBLISHER: Guard = (Deployment, "publish", publish_anything)


class InTraffic(PromotionMachine):
    """Checks servers only; nobody edits their files."""

    audited = False
    tampered = False


class InTrafficWithThieves(PromotionMachine):
    audited = False


def seeded(machine: type[PromotionMachine], number: int = 1) -> type[PromotionMachine]:
    """A subclass, because `seed` changes the class that it is applied to."""
    return seed(number)(type(machine.__name__, (machine,), {}))


def failure(machine: type[PromotionMachine], chosen: settings) -> str:
    """The broken invariant that the search found, with the steps to it; empty where all of them held."""
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except AssertionError as error:
        return "\n".join([f"failed: {error}", *getattr(error, "__notes__", [])])
    return ""


def test_no_order_of_events_lets_an_unblessed_version_serve():
    assert failure(PromotionMachine, settings(UNHURRIED, max_examples=20)) == ""


def test_no_order_of_rotating_signing_again_and_withdrawing_takes_a_version_away_that_may_serve():
    assert failure(RevokingMachine, settings(UNHURRIED, max_examples=10)) == ""


def test_no_edit_in_mlflow_changes_what_serves_or_stays_unreported(tmp_path: Path):
    class WithMlflow(MirroredMachine):
        registry = ModelRegistry(tmp_path)

    assert failure(WithMlflow, settings(UNHURRIED, max_examples=3)) == ""


@pytest.mark.slow  # long searches
@pytest.mark.parametrize(
    ("machine", "guards", "message", "number"),
    [
        (PromotionMachine, [BEFORE_A_RECORD], "an unblessed version: . was accepted by a", 1),
        (PromotionMachine, [SIGNATURE], "an unblessed version: . was blessed", 1),
        (PromotionMachine, [UNCHANGED_SINCE_READ], "promoted over .*, when . was champion|says that . is champion instead of", 2),
        (PromotionMachine, [LATE_PUBLISHER], "servers see an old plan", 1),
        (InTraffic, [BEFORE_A_RECORD, SERVERS_OWN], "an unblessed version: . is with a server", 1),
        (InTrafficWithThieves, [SERVERS_OWN], "an unblessed version: . is with a server", 1),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_without_a_guard_the_machine_finds_what_the_guard_prevents(
    monkeypatch: pytest.MonkeyPatch, machine: type[PromotionMachine], guards: list[Guard], message: str, number: int
):
    for where, name, instead in guards:
        monkeypatch.setattr(where, name, instead)
    assert re.search(message, failure(seeded(machine, number), SEARCH))


@pytest.mark.slow  # long searches
@pytest.mark.parametrize("guard", [BEFORE_A_RECORD, SERVERS_OWN], ids=["before a record", "in servers"])
def test_without_edited_files_either_of_the_two_guards_is_enough(monkeypatch: pytest.MonkeyPatch, guard: Guard):
    where, name, instead = guard
    monkeypatch.setattr(where, name, instead)
    assert failure(seeded(InTraffic), settings(SEARCH, max_examples=15)) == ""
