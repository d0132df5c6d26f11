import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mlops_assets.promotion.deployment import Plan
from mlops_assets.serving.inference.scoring import to_challenger

MANY = [b"key %d" % number for number in range(50_000)]
KEYS = st.lists(st.binary(max_size=40), max_size=30)
SHARES = st.floats(0, 1)
ON_ANOTHER_REPLICA = """
from mlops_assets.promotion.deployment import Plan
from mlops_assets.serving.inference.scoring import to_challenger
plan = Plan(8, 1, None, "", "", challenger=3, share=0.3)
print([key for key in range(200) if to_challenger(plan, "flight_delay", [b"key %d" % key])[0]])
"""


def plan(share: float, *, challenger: int | None = 3, **fields: Any) -> Plan:
    return Plan(
        **({"number": 7, "champion": 1, "previous": None, "at": "", "reason": ""} | fields), challenger=challenger, share=share
    )


@given(share=SHARES, keys=KEYS, chance=st.randoms())
def test_an_arm_hangs_on_the_key_alone_not_on_its_place_or_on_other_words_of_the_plan(
    share: float, keys: list[bytes], chance: random.Random
):
    arms = dict(zip(keys, to_challenger(plan(share), "flight_delay", keys), strict=True))
    shuffled = chance.sample(keys, len(keys))
    later = plan(share, number=9, champion=2, previous=1, at="later", reason="other", split="ab", shadow=4)
    assert to_challenger(later, "flight_delay", shuffled) == [arms[key] for key in shuffled]


@given(shares=st.tuples(SHARES, SHARES).map(sorted), keys=KEYS)
def test_a_larger_share_only_adds_keys_to_the_challenger(shares: list[float], keys: list[bytes]):
    smaller, larger = (to_challenger(plan(share), "flight_delay", keys) for share in shares)
    assert all(there or not here for here, there in zip(smaller, larger, strict=True))


@given(keys=KEYS)
def test_share_0_and_share_1_are_exact(keys: list[bytes]):
    assert to_challenger(plan(0), "flight_delay", keys) == [False] * len(keys)
    assert to_challenger(plan(1), "flight_delay", keys) == [True] * len(keys)
    assert to_challenger(plan(0, challenger=None), "flight_delay", keys) == [False] * len(keys)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("challenger", [2, 3, 40])
def test_the_share_of_many_keys_is_the_declared_one(share: float, challenger: int):
    met = sum(to_challenger(plan(share, challenger=challenger), "flight_delay", MANY))
    low, high = binom.interval(0.999, len(MANY), share)
    assert low <= met <= high


@pytest.mark.parametrize(("other_challenger", "other_use_case"), [(4, "flight_delay"), (3, "taxi_tip"), (31, "flight_delay")])
def test_another_challenger_or_use_case_draws_other_arms(other_challenger: int, other_use_case: str):
    here = to_challenger(plan(0.2), "flight_delay", MANY)
    there = to_challenger(plan(0.2, challenger=other_challenger), other_use_case, MANY)
    low, high = binom.interval(0.999, len(MANY), 0.2 * 0.2)
    assert low <= sum(one and other for one, other in zip(here, there, strict=True)) <= high


@pytest.mark.slow
def test_every_process_draws_the_same():
    command = [sys.executable, "-c", ON_ANOTHER_REPLICA]
    drawn = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    arms = to_challenger(plan(0.3), "flight_delay", [b"key %d" % key for key in range(200)])
    assert drawn == {f"{[key for key, arm in enumerate(arms) if arm]}\n"}


def test_a_release_does_not_move_keys_between_arms():
    arms = to_challenger(plan(0.3), "flight_delay", [b"key %d" % key for key in range(20)])
    assert [key for key, arm in enumerate(arms) if arm] == [3, 9, 10, 16, 19]
