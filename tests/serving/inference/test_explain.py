import json
import math
from collections.abc import Callable
from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.serving.inference.explain import Explanation, Unexplainable, explain
from mlops_assets.serving.inference.row_encoder import RowEncoder
from mlops_assets.tasks import task_of
from mlops_assets.tasks.binary import MIN_PROBABILITY
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import Signature
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import tiny_model
from tests.training.trainers.test_boosting import fitted_trees

TASK = task_of(USE_CASE.task)
INPUTS = 6
NAMES = tuple("abcdef")
NOTHING = np.full(INPUTS, np.nan, np.float32)
ROW = np.arange(1, INPUTS + 1, dtype=np.float32)
Score = Callable[[np.ndarray], np.ndarray]
SEEDS = st.integers(0, 2**32 - 1)
KNOWN = st.lists(st.booleans(), min_size=INPUTS, max_size=INPUTS).map(np.array)


def explained(
    score: Score, row: np.ndarray, *, seed: int = 0, most: int = 2, late: Callable[[], bool] = lambda: False
) -> Explanation:
    rng = np.random.default_rng(seed)
    return explain(additive(score), row, NOTHING, names=NAMES, rng=rng, deadline=late, max_permutations=most)


def additive(score: Score) -> Score:
    return lambda rows: TASK.additive(score(rows), None)


def baseline_of(explanation: Explanation) -> float:
    return TASK.baseline(explanation.baseline)["baseline_probability"]


def nothing_known(signature: Signature) -> np.ndarray:
    """A row without values, as the scorer encodes it."""
    return RowEncoder(signature, signature.inputs).encode([[None] * len(signature.inputs)])[0]


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def any_game(seed: int) -> Score:
    """Log-odds drawn for each of the 64 sets of known inputs: interactions of every order."""
    drawn = np.random.default_rng(seed).normal(size=2**INPUTS)
    return lambda rows: sigmoid(drawn[(~np.isnan(rows)) @ (2 ** np.arange(INPUTS))])


def game_of_twos(seed: int) -> Score:
    """Log-odds that are a sum over inputs and over pairs of inputs, at most 12.6 from 0: explanations cut them at 16.1."""
    rng = np.random.default_rng(seed)
    ones, twos = rng.uniform(-0.3, 0.3, INPUTS), rng.uniform(-0.3, 0.3, (INPUTS, INPUTS))

    def score(rows: np.ndarray) -> np.ndarray:
        known = (~np.isnan(rows)).astype(float)
        return sigmoid(known @ ones + np.einsum("ri,ij,rj->r", known, twos, known))

    return score


def by_brute_force(score: Score, row: np.ndarray) -> dict[str, float]:
    """The mean over all orderings of what each input adds, one row a call."""
    places = [place for place in range(INPUTS) if not np.isnan(row[place])]
    total = dict.fromkeys(places, 0.0)
    for order in permutations(places):
        known = NOTHING.copy()
        for place in order:
            before = log_odds(score(known[None])[0])
            known[place] = row[place]
            total[place] += log_odds(score(known[None])[0]) - before
    return {NAMES[place]: gained / math.factorial(len(places)) for place, gained in total.items()}


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, known=KNOWN, order=SEEDS)
def test_an_ordering_and_its_reverse_are_exact_where_inputs_interact_by_twos(seed: int, known: np.ndarray, order: int):
    row = np.where(known, ROW, NOTHING)
    explanation = explained(game_of_twos(seed), row, seed=order)
    assert dict(explanation.contributions) == pytest.approx(by_brute_force(game_of_twos(seed), row), abs=1e-9)


@settings(deadline=None, max_examples=5)
@given(seed=SEEDS, order=SEEDS)
def test_many_orderings_come_to_the_mean_over_all_of_them(seed: int, order: int):
    score, pairs = any_game(seed), 5000
    exact = by_brute_force(score, ROW)
    explanation = explained(score, ROW, seed=order, most=2 * pairs)
    observed = np.random.default_rng(seed).normal(size=2**INPUTS)
    # Hoeffding: a mean of pairs within twice the range of the game is further away once in 10^12.
    bound = 2 * (observed.max() - observed.min()) * math.sqrt(math.log(2e12) / (2 * pairs))
    assert dict(explanation.contributions) == pytest.approx(exact, abs=bound)


def test_three_inputs_that_only_count_together_share_alike_within_the_stated_error():
    row = np.array([1, 1, 1, np.nan, np.nan, np.nan], np.float32)
    explanation = explained(lambda rows: sigmoid((~np.isnan(rows[:, :3])).all(axis=1) * 3.0), row, most=20_000)
    # Of a pair one half goes to each input that ends an ordering: 1.5 or 0, the former for two orderings in three.
    assert explanation.standard_error == pytest.approx(1.5 * math.sqrt(2) / 3 / math.sqrt(10_000), rel=0.02)
    assert dict(explanation.contributions) == pytest.approx(dict.fromkeys("abc", 1.0), abs=4 * explanation.standard_error)


@given(seed=SEEDS, known=KNOWN, order=SEEDS, most=st.integers(0, 150))
def test_contributions_and_baseline_add_up_to_the_prediction(seed: int, known: np.ndarray, order: int, most: int):
    score, row = any_game(seed), np.where(known, ROW, NOTHING)
    explanation = explained(score, row, seed=order, most=most)
    assert baseline_of(explanation) == pytest.approx(score(NOTHING[None])[0], rel=1e-12)
    reached = log_odds(baseline_of(explanation)) + sum(explanation.contributions.values())
    assert reached == pytest.approx(log_odds(score(row[None])[0]), abs=1e-9)
    assert set(explanation.contributions) == {name for name, there in zip(NAMES, known, strict=True) if there}


@given(seed=SEEDS, order=SEEDS)
def test_the_same_seed_gives_the_same_explanation_and_the_largest_comes_first(seed: int, order: int):
    first, again = (explained(any_game(seed), ROW, seed=order, most=10) for _ in range(2))
    assert first == again
    assert [*first.contributions] == [*again.contributions]
    sizes = [abs(size) for size in first.contributions.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_other_seeds_take_other_orderings():
    assert len({explained(any_game(1), ROW, seed=seed).contributions["a"] for seed in range(20)}) > 1


def test_time_ends_it_after_one_call_and_never_before_a_pair():
    calls = []

    def late() -> bool:
        calls.append(1)
        return len(calls) == 2

    assert explained(any_game(1), ROW, most=1_000_000, late=lambda: True).permutations >= 2
    stopped = explained(any_game(1), ROW, most=1_000_000, late=late).permutations
    assert len(calls) == 2 and 4 <= stopped < 1000
    assert explained(any_game(1), ROW, most=0).permutations == 2


def test_a_single_pair_states_no_error_unless_it_is_exact():
    two = np.array([1, 2, np.nan, np.nan, np.nan, np.nan], np.float32)
    assert explained(any_game(1), ROW).standard_error is None
    assert explained(any_game(1), two).standard_error == 0
    assert dict(explained(any_game(1), two).contributions) == pytest.approx(by_brute_force(any_game(1), two), abs=1e-12)


def test_missing_and_unknown_values_contribute_nothing():
    nothing = nothing_known(Signature(("delay", "wind"), {"carrier": ("AA", "UA")}))
    assert np.isnan(nothing[:2]).all() and nothing[2] == 0 and nothing.dtype == np.float32
    explanation = explained(any_game(3), NOTHING)
    assert explanation.contributions == {} and explanation.standard_error == 0
    zero = np.where(np.arange(INPUTS) == 0, 0.0, NOTHING).astype(np.float32)
    assert [*explained(any_game(3), zero).contributions] == ["a"]  # 0 of a number is no missing number


def test_scores_of_0_and_1_are_explained_as_nearly_so():
    explanation = explained(lambda rows: (~np.isnan(rows[:, 0])).astype(float), ROW)
    assert baseline_of(explanation) == pytest.approx(MIN_PROBABILITY)
    assert explanation.contributions["a"] == pytest.approx(2 * log_odds(1 - MIN_PROBABILITY))
    assert [explanation.contributions[name] for name in "bcdef"] == [0] * 5


def test_a_model_without_a_number_for_some_inputs_missing_is_not_explained():
    with pytest.raises(Unexplainable, match="gives no number where some inputs are missing"):
        explained(lambda rows: np.where(np.isnan(rows).sum(axis=1) == 3, np.nan, 0.5), ROW)


@pytest.mark.parametrize("onnx", [lambda: tiny_model(0.5), lambda: fitted_trees().to_onnx()], ids=["tiny", "trees"])
def test_the_explanation_of_a_real_model_adds_up_and_is_json(onnx: Callable[[], bytes]):
    model = OnnxModel.from_bytes(onnx())
    nothing = nothing_known(model.signature)
    row = np.random.default_rng(1).uniform(0, 3, len(nothing)).round().astype(np.float32)
    rng = np.random.default_rng(2)
    explanation = explain(additive(model.score), row, nothing, names=model.signature.inputs, rng=rng, deadline=lambda: False)
    stored = json.loads(json.dumps(asdict(explanation), allow_nan=False))
    assert set(stored) == {"baseline", "contributions", "permutations", "standard_error"}
    reached = stored["baseline"] + sum(stored["contributions"].values())
    assert reached == pytest.approx(log_odds(float(model.score(row[None])[0])), abs=1e-9)
