"""The words of a rollout: steps that lead to full traffic, margins, and what else a use case must declare."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.spec.rollout import BusinessFigure, Canary, Rollback
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import Stage
from mlops_assets.use_cases.flight_delay import USE_CASE

A_DAY = timedelta(days=1)


def test_a_canary_begins_with_its_shadow() -> None:
    assert Canary().shares == (0.0, 0.05, 0.25, 1.0)
    assert Canary(shadow_rows=0).shares == (0.05, 0.25, 1.0)
    assert Canary(steps=(1.0,)).shares == (0.0, 1.0)


@given(st.lists(st.floats(0, 1.5), max_size=4))
def test_only_growing_shares_that_end_with_everybody_can_be_declared(steps: list[float]) -> None:
    legal = steps == sorted(set(steps)) and steps[-1:] == [1.0] and min(steps) > 0
    try:
        declared = Canary(steps=tuple(steps))
    except IllegalDeclaration as error:
        assert not legal
        assert "growing shares above 0 that end with 1.0" in str(error)
    else:
        assert legal and declared.steps == tuple(steps)


def _figure(**fields: Any) -> BusinessFigure:
    return BusinessFigure(**{"name": "cost", "low": 0, "high": 10, "of": lambda outcomes: outcomes, "max_loss": 1} | fields)


ILLEGAL: list[tuple[Callable[[], Any], tuple[str, ...]]] = [
    (lambda: Canary(steps=(0.5, 0.25, 1.0)), ("Canary", "(0.5, 0.25, 1.0)", "legal: growing shares", "Use such steps")),
    (lambda: Canary(steps=(0.05, 0.25)), ("Canary", "(0.05, 0.25)", "end with 1.0")),
    (lambda: Canary(steps=()), ("Canary", "steps are ()", "end with 1.0")),
    (lambda: Canary(shadow_rows=0, steps=(1.0,)), ("Canary", "nothing is watched", "AtOnce()")),
    (lambda: Canary(step_for=3 * A_DAY, give_up_after=7 * A_DAY), ("give_up_after is 7 days", "longer than 9 days", "Raise it")),
    (lambda: Canary(split="key"), ("Canary", "split", "'canary' or 'ab'")),  # pyright: ignore[reportArgumentType]
    (lambda: Canary(step_rows=0), ("Canary", "step_rows", "greater than or equal to 1")),
    (lambda: Rollback(false_alarm_rate=0), ("Rollback", "false_alarm_rate", "greater than 0")),
    (lambda: Rollback(max_error_gap=0), ("Rollback", "max_error_gap", "greater than 0")),
    (lambda: Rollback(slow_s=1), ("Rollback", "'slow_s'", "does not exist", "slow_ms")),  # pyright: ignore[reportCallIssue]
    (lambda: _figure(low=10), ("cost", "BusinessFigure", "10.0 to 10.0", "low below high")),
    (lambda: _figure(max_loss=-1), ("cost", "max_loss", "greater than or equal to 0")),
    (lambda: USE_CASE.but(rollout=Canary(split="ab"), serving=USE_CASE.serving.but(sticky_key=())), ("flight_delay", "rollout.split", "sticky_key", "split='canary'")),
]  # fmt: skip


@pytest.mark.parametrize(("build", "parts"), ILLEGAL, ids=[f"{number}-{case[1][0]}" for number, case in enumerate(ILLEGAL)])
def test_an_illegal_rollout_says_what_was_found_and_what_is_legal(build: Callable[[], Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(IllegalDeclaration) as error:
        build()
    for part in parts:
        assert part in str(error.value)


def test_an_ab_test_by_what_the_log_leaves_out_is_refused() -> None:
    hidden = USE_CASE.contract("schedule")
    columns = tuple(column.but(pii="left_out") if column.name == "carrier" else column for column in hidden.columns)
    contracts = tuple(
        hidden.but(columns=columns) if contract.table == "schedule" else contract for contract in USE_CASE.contracts
    )
    label = USE_CASE.label.but(key=tuple(name for name in USE_CASE.label.key if name != "carrier"))
    serving = USE_CASE.serving.but(sticky_key=("carrier",))
    changes = {"contracts": contracts, "serving": serving, "task": USE_CASE.task.but(label=label)}
    assert USE_CASE.but(**changes, rollout=Canary()).rollout == Canary()
    with pytest.raises(IllegalDeclaration, match="'carrier' is left out of the log.*Use pii='hashed'"):
        USE_CASE.but(**changes, rollout=Canary(split="ab"))


def test_another_rollout_trains_and_judges_nothing_again() -> None:
    edited = USE_CASE.but(rollout=Canary(step_rows=77))
    assert all(edited.fingerprint(stage) == USE_CASE.fingerprint(stage) for stage in get_args(Stage))
