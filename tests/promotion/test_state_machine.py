"""No order of acts, deaths, races, edits and forgeries brings an unblessed version before the public.

The machine is also run with guards taken out, one by one: a search that cannot find their absence would prove nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.promotion import promotions
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.serving.inference import model_slots
from mlops_assets.training.model_registry import ModelRegistry
from tests.promotion.machine import PromotionMachine
from tests.promotion.mirrored_machine import MirroredMachine

UNHURRIED = settings(deadline=None, suppress_health_check=[*HealthCheck], stateful_step_count=25)
# Where something is to be found, always the same search, and without looking for the shortest way to it.
SEARCH = settings(
    UNHURRIED, max_examples=200, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False
)
append = Ledger.append


def nothing(*_said: Any, **_more: Any) -> None: ...


def append_behind_anything(self: Ledger, *said: Any, after: int | None = None, **more: Any) -> Record:
    return append(self, *said, **more)


def publish_anything(self: Deployment, plan: Plan) -> bool:
    replace_file(self._plan, plan.to_json().encode())
    return True


Guard = tuple[Any, str, Callable[..., Any]]
BEFORE_A_RECORD: Guard = (Promotions, "_demand", nothing)
SERVERS_OWN: Guard = (model_slots, "verify", nothing)
SIGNATURE: Guard = (promotions, "verify", nothing)
WHO_READ_WHAT: Guard = (Ledger, "append", append_behind_anything)
LATE_PUBLISHER: Guard = (Deployment, "publish", publish_anything)


class InTraffic(PromotionMachine):
    """Looks at servers only, below which nobody writes by hand."""

    audited = False
    tampered = False


class InTrafficWithThieves(PromotionMachine):
    audited = False


def test_no_order_of_anything_lets_an_unblessed_version_answer():
    run_state_machine_as_test(PromotionMachine, settings=settings(UNHURRIED, max_examples=30))


def test_no_edit_in_mlflow_changes_who_answers_or_stays_unseen(tmp_path: Path):
    class WithMlflow(MirroredMachine):
        registry = ModelRegistry(tmp_path)

    run_state_machine_as_test(WithMlflow, settings=settings(UNHURRIED, max_examples=5))


@pytest.mark.parametrize(
    ("machine", "guards", "told"),
    [
        (PromotionMachine, [BEFORE_A_RECORD], "an unblessed version: . was let in by a"),
        (PromotionMachine, [SIGNATURE], "an unblessed version: . was blessed"),
        (PromotionMachine, [WHO_READ_WHAT], "promoted over .*, when . was champion|says that . is champion beside"),
        (PromotionMachine, [LATE_PUBLISHER], "servers see an old plan"),
        (InTraffic, [BEFORE_A_RECORD, SERVERS_OWN], "an unblessed version: . is with a server"),
        (InTrafficWithThieves, [SERVERS_OWN], "an unblessed version: . is with a server"),
    ],
    ids=lambda found: found.__name__ if isinstance(found, type) else None,
)
def test_without_a_guard_the_machine_finds_what_it_was_for(
    monkeypatch: pytest.MonkeyPatch, machine: type[PromotionMachine], guards: list[Guard], told: str
):
    for where, name, instead in guards:
        monkeypatch.setattr(where, name, instead)
    with pytest.raises(AssertionError, match=told):
        run_state_machine_as_test(machine, settings=SEARCH)


@pytest.mark.parametrize("guard", [BEFORE_A_RECORD, SERVERS_OWN], ids=["before a record", "the servers' own"])
def test_while_nobody_writes_below_the_servers_one_of_the_two_guards_is_enough(monkeypatch: pytest.MonkeyPatch, guard: Guard):
    where, name, instead = guard
    monkeypatch.setattr(where, name, instead)
    run_state_machine_as_test(InTraffic, settings=settings(SEARCH, max_examples=25))
