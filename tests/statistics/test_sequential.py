"""The bets against a slow exact loop and a likelihood ratio, their chunks, and how often they are wrong on true claims."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from mlops_assets.statistics.sequential import STAKES, Wealth, bet_on_draws, bet_on_pairs, needed

Floats = NDArray[np.float64]
UNIT = st.floats(0, 1, allow_subnormal=False)
DRAWN_ROWS = st.lists(st.tuples(st.booleans(), UNIT, UNIT), min_size=1, max_size=25)
TRIALS, ALPHA = 2000, 0.05


def _slow_draws(
    rows: list[tuple[bool, float]], share: float, margin: float, most: float
) -> tuple[list[Fraction], list[Fraction]]:
    """Each stake's wealth at the end, and their mean after every row; exact, by the formula in the docstring."""
    s, d, total, champions = Fraction(share), Fraction(margin), Fraction(0), 0
    wealth, means = [Fraction(1)] * len(STAKES), [Fraction(1)]
    for drawn, outcome in rows:
        a, z, m = Fraction(int(drawn)), Fraction(outcome), total / (champions + 1)
        x = (a - s) * (z - d * a - m)
        largest_bet = 1 / max((1 - s) * (d + m), s * (Fraction(most) - m))
        wealth = [has * (1 + Fraction(float(stake)) * largest_bet * x) for has, stake in zip(wealth, STAKES, strict=True)]
        means.append(sum(wealth, Fraction(0)) / len(wealth))
        if not drawn:
            total, champions = total + z, champions + 1
    return wealth, means


def _column(values: list[float]) -> Floats:
    return np.array(values, dtype=float).reshape(-1, 1)


def _arms(rows: list[bool]) -> NDArray[np.bool_]:
    return np.array(rows, dtype=bool)


@given(DRAWN_ROWS, st.floats(0.01, 0.99), st.floats(0, 0.5))
@settings(deadline=None, max_examples=60)
def test_drawn_rows_pay_what_an_exact_loop_says(rows: list[tuple[bool, float, float]], share: float, margin: float) -> None:
    wealth, means = _slow_draws([(drawn, z) for drawn, z, _ in rows], share, margin, 1.0)
    result = bet_on_draws(
        Wealth.fresh(1), _arms([row[0] for row in rows]), _column([row[1] for row in rows]), share=share, margin=margin
    )
    assert np.exp(result.logs[0]) == pytest.approx([float(one) for one in wealth], rel=1e-9)
    assert math.exp(result.peak) == pytest.approx(float(max(means)), rel=1e-9)
    assert result.rows.tolist() == [sum(not row[0] for row in rows), sum(row[0] for row in rows)]
    assert result.totals[:, 0] == pytest.approx([sum(z for drawn, z, _ in rows if drawn is which) for which in (False, True)])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=25), st.floats(0.01, 0.99), st.floats(0.001, 0.5))
@settings(deadline=None, max_examples=60)
def test_a_champion_that_cannot_fail_allows_larger_bets(rows: list[tuple[bool, bool]], share: float, margin: float) -> None:
    failed = [(drawn, float(drawn and bad)) for drawn, bad in rows]
    wealth, means = _slow_draws(failed, share, margin, 0.0)
    arms, outcome = _arms([drawn for drawn, _ in failed]), _column([bad for _, bad in failed])
    result = bet_on_draws(Wealth.fresh(1), arms, outcome, share=share, margin=margin, most=0.0)
    assert np.exp(result.logs[0]) == pytest.approx([float(one) for one in wealth], rel=1e-9)
    assert math.exp(result.peak) == pytest.approx(float(max(means)), rel=1e-9)


@given(DRAWN_ROWS, st.floats(0, 0.5))
@settings(deadline=None, max_examples=60)
def test_pairs_pay_what_a_loop_says(rows: list[tuple[bool, float, float]], margin: float) -> None:
    wealth = [Fraction(1)] * len(STAKES)
    means = [1.0]
    for _, challenger, champion in rows:
        paid = (Fraction(challenger) - Fraction(champion) - Fraction(margin)) / (1 + Fraction(margin))
        wealth = [has * (1 + Fraction(float(stake)) * paid) for has, stake in zip(wealth, STAKES, strict=True)]
        means.append(float(sum(wealth, Fraction(0)) / len(wealth)))
    result = bet_on_pairs(Wealth.fresh(1), _column([row[1] for row in rows]), _column([row[2] for row in rows]), margin=margin)
    assert np.exp(result.logs[0]) == pytest.approx([float(one) for one in wealth], rel=1e-9)
    assert math.exp(result.peak) == pytest.approx(max(means), rel=1e-9)


def test_the_first_failures_pay_the_likelihood_ratio_of_the_arm_that_failed() -> None:
    """Of failures alone, a bet on draws is the ratio of two coins: one that shows the challenger with its share, and a biased
    one. So it must agree with scipy's binomial, as long as no champion's failure is known (m = 0)."""
    share, failures = 0.05, 7
    arms, outcome = np.ones(failures, dtype=bool), np.ones((failures, 1))
    result = bet_on_draws(Wealth.fresh(1), arms, outcome, share=share, margin=0.0)
    biased = share * (1 + STAKES / share * (1 - share))  # what each stake bets that the challenger's part of failures is
    ratio = stats.binom.pmf(failures, failures, biased) / stats.binom.pmf(failures, failures, share)
    assert np.exp(result.logs[0]) == pytest.approx(ratio, rel=1e-9)


@given(DRAWN_ROWS, st.lists(st.integers(0, 25), max_size=4), st.booleans())
@settings(deadline=None, max_examples=60)
def test_evidence_does_not_depend_on_how_the_rows_are_chunked(
    rows: list[tuple[bool, float, float]], cuts: list[int], paired: bool
) -> None:
    arms = _arms([row[0] for row in rows])
    outcome, other = (np.array([row[1:] for row in rows])[:, ::order] for order in (1, -1))

    def bet(wealth: Wealth, part: slice) -> Wealth:
        if paired:
            return bet_on_pairs(wealth, outcome[part], other[part], margin=0.02)
        return bet_on_draws(wealth, arms[part], outcome[part], share=0.2, margin=0.02)

    whole, chunked = bet(Wealth.fresh(2), slice(None)), Wealth.fresh(2)
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, end in itertools.pairwise(edges):
        chunked = Wealth.from_dict(bet(chunked, slice(start, end)).to_dict())
    assert chunked.logs == pytest.approx(whole.logs, abs=1e-9)
    assert chunked.peak == pytest.approx(whole.peak, abs=1e-9)
    assert (chunked.rows == whole.rows).all()
    assert chunked.totals == pytest.approx(whole.totals)


def test_many_rows_at_once_are_as_many_rows_in_turn() -> None:
    rng = np.random.default_rng(0)
    arms, outcome = rng.random(5000) < 0.3, rng.random((5000, 2))
    whole = bet_on_draws(Wealth.fresh(2), arms, outcome, share=0.3, margin=0.01)
    turns = Wealth.fresh(2)
    for row in range(5000):
        turns = bet_on_draws(turns, arms[row : row + 1], outcome[row : row + 1], share=0.3, margin=0.01)
    assert turns.logs == pytest.approx(whole.logs, abs=1e-7)
    assert turns.peak == pytest.approx(whole.peak, abs=1e-7)


def test_no_rows_change_nothing() -> None:
    result = bet_on_draws(Wealth.fresh(3), np.array([], dtype=bool), np.empty((0, 3)), share=0.5, margin=0.1)
    assert result.to_dict() == Wealth.fresh(3).to_dict()
    assert bet_on_pairs(result, np.empty((0, 3)), np.empty((0, 3)), margin=0.1).to_dict() == result.to_dict()


@pytest.mark.parametrize("outcome", [-0.01, 1.01, math.nan, math.inf])
def test_an_outcome_out_of_range_is_refused_rather_than_believed(outcome: float) -> None:
    with pytest.raises(ValueError, match="not within 0 to 1"):
        bet_on_draws(Wealth.fresh(1), _arms([True]), _column([outcome]), share=0.5, margin=0.1)
    with pytest.raises(ValueError, match="not within 0 to 1"):
        bet_on_pairs(Wealth.fresh(1), _column([0.5]), _column([outcome]), margin=0.1)
    with pytest.raises(ValueError, match="not within 0 to 0"):
        bet_on_draws(Wealth.fresh(1), _arms([False]), _column([1.0]), share=0.5, margin=0.1, most=0.0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_draws_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        bet_on_draws(Wealth.fresh(1), _arms([True]), _column([0.5]), share=share, margin=0.1)


def _most_alarms() -> int:
    """So many false alarms of TRIALS would come with a true rate of ALPHA but once in a thousand times."""
    return int(stats.binom.ppf(0.999, TRIALS, ALPHA))


def _outcomes(rng: np.random.Generator, world: str, arms: NDArray[np.bool_], margin: float) -> Floats:
    """Outcomes of one rollout whose challenger is worse by exactly what it may be."""
    n = len(arms)
    base = {
        "steady": np.full(n, 0.15),
        "drifting": 0.02 + 0.6 * np.linspace(0, 1, n) ** 2,
        "bursts": np.where(np.arange(n) % 200 < 20, 0.9 - margin, 0.01),
        "rare": np.full(n, 0.001),
        "continuous": rng.random() * np.ones(n) * 0.5,
    }[world]
    mean = base + margin * arms
    return rng.beta(2 * mean + 1e-9, 2 * (1 - mean)) if world == "continuous" else (rng.random(n) < mean).astype(float)


@pytest.mark.parametrize("world", ["steady", "drifting", "bursts", "rare", "continuous"])
@pytest.mark.parametrize(("share", "margin"), [(0.05, 0.0), (0.25, 0.01)])
def test_looking_after_every_row_refutes_a_true_claim_no_more_often_than_declared(
    world: str, share: float, margin: float
) -> None:
    rng, alarms = np.random.default_rng(7), 0
    for _ in range(TRIALS):
        arms = rng.random(1500) < share
        result = bet_on_draws(Wealth.fresh(1), arms, _outcomes(rng, world, arms, margin)[:, None], share=share, margin=margin)
        alarms += result.peak >= needed(ALPHA)
    assert alarms <= _most_alarms()


def test_failures_at_the_very_margin_refute_no_more_often_than_declared() -> None:
    rng, alarms = np.random.default_rng(11), 0
    for _ in range(TRIALS):
        arms = rng.random(3000) < 0.25
        failed = (arms & (rng.random(3000) < 0.001)).astype(float)[:, None]
        result = bet_on_draws(Wealth.fresh(1), arms, failed, share=0.25, margin=0.001, most=0.0)
        alarms += result.peak >= needed(ALPHA)
    assert 0 < alarms <= _most_alarms()


def test_a_test_that_was_made_for_one_look_would_not_pass_this() -> None:
    """The same null, looked at after every hundredth row with a z-test at the same level: wrong several times as often."""
    rng, alarms, share = np.random.default_rng(7), 0, 0.25
    for _ in range(TRIALS // 4):
        arms = rng.random(1500) < share
        outcome = (rng.random(1500) < 0.15).astype(float)
        x = np.cumsum((arms - share) * (outcome - 0.15))
        spread = np.sqrt(np.cumsum(((arms - share) * (outcome - 0.15)) ** 2))
        alarms += bool((x[99::100] / spread[99::100] > stats.norm.ppf(1 - ALPHA)).any())
    assert alarms > 2 * ALPHA * TRIALS // 4


def test_pairs_at_the_margin_refute_no_more_often_than_declared_and_beyond_it_nearly_always() -> None:
    rng, alarms, alarms_beyond = np.random.default_rng(3), 0, 0
    for trial in range(TRIALS):
        champion = rng.random(400) * 0.3
        at_margin = champion + 0.01 + rng.uniform(-0.01, 0.01, 400)
        alarms += bet_on_pairs(Wealth.fresh(1), at_margin[:, None], champion[:, None], margin=0.01).peak >= needed(ALPHA)
        if trial < 50:
            alarms_beyond += bet_on_pairs(
                Wealth.fresh(1), at_margin[:, None] + 0.03, champion[:, None], margin=0.01
            ).peak >= needed(ALPHA)
    assert alarms <= _most_alarms()
    assert alarms_beyond == 50
