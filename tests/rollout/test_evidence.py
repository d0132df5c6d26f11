"""Which rows count for which test of a rollout: against a plain loop, in chunks, twice, repeated, in batches."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.rollout.evidence import RolloutState, add_answers, add_outcomes, margins, unit
from mlops_assets.serving.log.prediction_log import log_schema
from mlops_assets.spec.rollout import BusinessFigure, Canary, Rollback
from mlops_assets.statistics.sequential import STAKES, needed
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.rollout.rollout_traffic import BEGAN, TASK, begin, look, traffic
from tests.rollout.simulated_lines import Harm

COST = BusinessFigure(name="cost", low=0, high=10, of=lambda outcomes: pl.col("cost"), higher_is_better=False, max_loss=0.5)
CANARY = Canary(rollback=Rollback(figure=COST, max_error_gap=0.01, slow_ms=20))
EDGES = (0.1, 0.3)


def _fresh(canary: Canary = CANARY) -> RolloutState:
    return RolloutState.begin(canary, edges=EDGES, claims=2 * len(EDGES), at=BEGAN)


def _rows(seed: int, rows: int, share: float) -> pl.DataFrame:
    """Rows of which some repeat their unit or share their call, some costs are unknown, infinite or out of range."""
    rng = np.random.default_rng(seed)
    answers = traffic(rng, rows, share=share, harm=Harm(errors=0.2, slow=0.2))
    cost = pl.Series(rng.choice([None, 0.0, 3.5, 12.0, -4.0, math.nan, math.inf], rows).tolist(), dtype=pl.Float64)
    units, calls = (pl.Series(rng.integers(most, size=rows)) for most in (2 * rows, rows))
    late = pl.Series(rng.choice([None, 0, 1], rows).tolist(), dtype=pl.Int8)
    return answers.with_columns(cost=cost, unit=units, call=calls, late=late)


def _outcomes(test: str, row: dict[str, Any], probability: float | None) -> list[float] | None:
    """The outcomes of a row for one test, by the declaration; None where it has none."""
    if probability is None:
        return None
    match test:
        case "errors":
            return [float(row["challenger_failed"])]
        case "latency":
            return [float(row["model_ms"] > CANARY.rollback.slow_ms)]
        case "score":
            return [float(probability >= edge) for edge in EDGES] + [float(probability < edge) for edge in EDGES]
        case "quality":
            return None if row["late"] is None else [(probability - row["late"]) ** 2]
        case _:
            known = row["late"] is not None and row["cost"] is not None and not math.isnan(row["cost"])
            return [min(max(row["cost"], 0), 10) / 10] if known else None


def _counted(test: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row of each unit, and for errors and latency one of each call among them."""
    units, calls = set[int](), set[int]()
    for row in rows:
        if row["unit"] in units or (test in ("quality", "figure") and row["late"] is None):
            continue
        units.add(row["unit"])
        if test not in ("errors", "latency"):
            yield row
        elif row["call"] not in calls:
            calls.add(row["call"])
            yield row


def _slow(test: str, rows: list[dict[str, Any]], share: float) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """The wealth of every stake, the sums of outcomes and the rows of champion and challenger, row by row."""
    margin, most = margins(CANARY.rollback)[test], 0.0 if test == "errors" else 1.0
    claims = 4 if test == "score" else 1
    wealth, totals, counted = [[1.0] * len(STAKES) for _ in range(claims)], [[0.0] * claims, [0.0] * claims], [0, 0]
    for row in _counted(test, rows):
        drawn = row["arm"] == "challenger" or row["challenger_failed"]
        ours, theirs = row["probability"], row["champion_probability"]
        if share == 0 and test == "errors":
            outcomes, baseline = [float(row["challenger_failed"])], [0.0]
        elif share == 0:
            outcomes, baseline = _outcomes(test, row, ours), _outcomes(test, row, theirs)
        else:
            outcomes, baseline = _outcomes(test, row, ours), None
        if outcomes is None or (share == 0 and test in ("latency", "figure")):
            continue
        for claim, z in enumerate(outcomes):
            if share == 0:
                assert baseline is not None
                paid = (z - baseline[claim] - margin) / (most + margin)
            else:
                m = totals[0][claim] / (counted[0] + 1)
                paid = (drawn - share) * (z - margin * drawn - m) / max((1 - share) * (margin + m), share * (most - m))
            wealth[claim] = [has * (1 + float(stake) * paid) for has, stake in zip(wealth[claim], STAKES, strict=True)]
        for claim, z in enumerate(outcomes):
            if share == 0:
                assert baseline is not None
                totals[0][claim] += baseline[claim]
                totals[1][claim] += z
            else:
                totals[int(drawn)][claim] += z
        counted = [n + add for n, add in zip(counted, (1, 1) if share == 0 else (not drawn, drawn), strict=True)]
    return wealth, totals, counted


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_state_is_what_a_plain_loop_over_rows_finds(seed: int, share: float) -> None:
    chunk = _rows(seed, 120, share)
    state = look(CANARY, _fresh(), chunk, share=share)
    for test, evidence in state.wealth.items():
        wealth, totals, counted = _slow(test, chunk.to_dicts(), share)
        assert np.exp(evidence.logs) == pytest.approx(np.array(wealth), rel=1e-6), test
        assert evidence.totals == pytest.approx(np.array(totals)), test
        assert evidence.rows.tolist() == counted, test


@given(cuts=st.lists(st.integers(0, 150), max_size=4), seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.05, 0.5]))
@settings(deadline=None, max_examples=25)
def test_chunks_and_a_restart_between_them_change_nothing(cuts: list[int], seed: int, share: float) -> None:
    rows = _rows(seed, 150, share)
    whole, chunked = look(CANARY, _fresh(), rows, share=share), _fresh()
    for start, end in zip(sorted([0, *cuts]), [*sorted([0, *cuts])[1:], 150], strict=True):
        chunked = RolloutState.from_json(chunked.to_json())
        chunked = look(CANARY, chunked, rows[start:end], share=share)
    assert (chunked.seen, chunked.answers) == (whole.seen, whole.answers)
    for test, one in whole.wealth.items():
        assert chunked.wealth[test].logs == pytest.approx(one.logs, abs=1e-9)
        assert chunked.wealth[test].peak == pytest.approx(one.peak, abs=1e-9)
        assert chunked.wealth[test].totals == pytest.approx(one.totals)


def test_stored_evidence_is_read_back_to_the_last_bit() -> None:
    state = look(CANARY, _fresh().entering(0.5, datetime(2013, 6, 2, tzinfo=UTC)), _rows(1, 500, 0.5), share=0.5)
    assert RolloutState.from_json(state.to_json()).to_json() == state.to_json()


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_feeding_rows_twice_changes_nothing(share: float) -> None:
    rows = _rows(5, 300, share)
    once = look(CANARY, _fresh(), rows, share=share)
    assert look(CANARY, once, rows, share=share).to_json() == once.to_json()


def test_a_request_counts_in_the_shadow_and_again_when_it_is_drawn() -> None:
    shadow, drawn = (_rows(5, 300, share).with_columns(unit=pl.int_range(300), call=pl.int_range(300)) for share in (0.0, 0.25))
    state = add_answers(CANARY, add_answers(CANARY, _fresh(), shadow, task=TASK, share=0), drawn, task=TASK, share=0.25)
    assert state.wealth["score"].rows.sum() >= 2 * 200 + 300


def test_only_rows_of_the_phase_count() -> None:
    shadow, drawn = _rows(1, 50, 0.0), _rows(2, 50, 0.5)
    both = pl.concat([shadow, drawn])
    for share, alone in ((0.0, shadow), (0.5, drawn)):
        assert look(CANARY, _fresh(), both, share=share).to_json() == look(CANARY, _fresh(), alone, share=share).to_json()


def test_a_step_counts_the_requests_that_its_own_challenger_answered() -> None:
    rows = _rows(2, 400, 0.25).with_columns(unit=pl.int_range(400))
    answered = rows.filter((pl.col("arm") == "challenger") & ~pl.col("challenger_failed"))
    state = add_answers(CANARY, _fresh().entering(0.25, BEGAN), rows, task=TASK, share=0.25)
    assert len(answered) - 2 <= state.answers <= len(answered)
    late = add_answers(CANARY, _fresh().entering(0.5, BEGAN), rows, task=TASK, share=0.25)
    assert (late.answers, late.wealth["errors"].rows.sum() > 0) == (0, True)


def test_a_challenger_that_fails_is_judged_though_the_champion_answers() -> None:
    rows = _rows(0, 60, 0.5).with_columns(unit=pl.int_range(60), call=pl.int_range(60), arm=pl.lit("champion"))
    failing = add_answers(CANARY, _fresh(), rows.with_columns(challenger_failed=pl.int_range(60) % 2 == 0), task=TASK, share=0.5)
    assert failing.wealth["errors"].peak > needed(0.001)
    assert failing.wealth["errors"].rows.tolist() == pytest.approx([30, 30], abs=1)


def test_one_call_that_fails_with_all_its_rows_is_one_failure() -> None:
    rows = _rows(0, 100, 0.5).with_columns(unit=pl.int_range(100), arm=pl.lit("champion"), challenger_failed=pl.lit(True))
    apart = add_answers(CANARY, _fresh(), rows.with_columns(call=pl.int_range(100)), task=TASK, share=0.5)
    together = add_answers(CANARY, _fresh(), rows.with_columns(call=pl.lit(7)), task=TASK, share=0.5)
    assert apart.wealth["errors"].peak > needed(0.001) > together.wealth["errors"].peak
    assert together.wealth["errors"].rows.tolist() == [0, 1]
    assert together.wealth["score"].rows.sum() == apart.wealth["score"].rows.sum() > 90


def test_a_client_that_repeats_itself_is_one_draw_and_would_otherwise_alarm() -> None:
    """Twenty clients, one of them always slow, ask for ever; nothing is different about the challenger."""
    alarms = {"one draw": 0, "many": 0}
    canary = CANARY.but(rollback=CANARY.rollback.but(max_slow_gap=0.0))
    for trial in range(200):
        rng = np.random.default_rng(trial)
        clients, theirs = rng.integers(20, size=1500), rng.random(20) < 0.25
        answers = traffic(rng, 1500, share=0.25, harm=Harm()).with_columns(
            arm=pl.Series(np.where(theirs[clients], "challenger", "champion")), challenger_failed=pl.lit(False),
            model_ms=pl.Series(np.where(clients == 0, 99.0, 1.0)),
        )  # fmt: skip
        for how, units in (("one draw", clients), ("many", np.arange(1500))):
            state = add_answers(canary, _fresh(canary), answers.with_columns(unit=pl.Series(units)), task=TASK, share=0.25)
            alarms[how] += state.wealth["latency"].peak >= needed(0.01)
    assert alarms["one draw"] <= 6
    assert alarms["many"] >= 30


def test_latency_and_the_business_are_not_compared_in_the_shadow() -> None:
    state = look(CANARY, _fresh(), _rows(3, 400, 0.0), share=0.0)
    assert {test for test, wealth in state.wealth.items() if wealth.rows.any()} == {"errors", "score", "quality"}


def test_a_figure_that_is_better_when_higher_is_bad_when_low() -> None:
    rows = _rows(3, 400, 0.5).with_columns(late=pl.lit(1), cost=pl.when(pl.col("arm") == "challenger").then(9.0).otherwise(1.0))
    figure_wealth = {}
    for higher in (True, False):
        figure = COST.but(higher_is_better=higher)
        canary = CANARY.but(rollback=CANARY.rollback.but(figure=figure))
        figure_wealth[higher] = add_outcomes(canary, _fresh(canary), rows, task=TASK, share=0.5, label="late").wealth["figure"]
    assert figure_wealth[False].peak > needed(0.001) > figure_wealth[True].peak
    assert (figure_wealth[True].totals + figure_wealth[False].totals).sum() == pytest.approx(figure_wealth[True].rows.sum())


def test_the_edges_are_the_quartiles_of_the_champion_and_the_threshold() -> None:
    assert TASK.edges(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == (0.2, 0.3, 0.35, 0.4)
    assert TASK.edges(np.full(9, 0.35)) == (0.35,)
    assert TASK.edges(np.empty(0)) == (0.35,)


def test_a_challenger_that_says_the_same_to_everybody_is_found_by_its_scores() -> None:
    rng = np.random.default_rng(0)
    state = begin(CANARY, rng)
    state = look(CANARY, state, traffic(rng, 500, share=0.0, harm=Harm(constant=True)).with_columns(cost=0.0), share=0.0)
    assert state.wealth["score"].peak > needed(0.001)


def _logged(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = log_schema(USE_CASE)
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


ASKED = {
    "carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH", "tailnum": "N1", "sched_dep": datetime(2013, 5, 1, tzinfo=UTC),
}  # fmt: skip


def test_a_unit_is_identified_by_the_request_whatever_its_features_were() -> None:
    number = USE_CASE.features.numeric[0]
    rows = [ASKED, ASKED | {number: 3.0}, ASKED | {"flight": 1546}, ASKED | {"tailnum": "N2"}]
    units = _logged(rows).select(unit(USE_CASE, "canary")).to_series().to_list()
    assert units[0] == units[1]
    assert len(set(units)) == 3


def test_a_unit_of_given_features_is_these_features() -> None:
    number = next(name for name in USE_CASE.features.numeric if name not in USE_CASE.features.request)
    features = {name: ASKED[name] for name in USE_CASE.features.categorical if name in ASKED}
    rows = [features | {number: 1.0}, features | {number: 1.0}, features | {number: 2.0}]
    units = _logged(rows).select(unit(USE_CASE, "canary")).to_series().to_list()
    assert units[0] == units[1] != units[2]


def test_a_unit_of_an_ab_test_is_its_sticky_key() -> None:
    sticky = USE_CASE.but(serving=USE_CASE.serving.but(sticky_key=("tailnum",)))
    rows = [ASKED, ASKED | {"flight": 7}, ASKED | {"tailnum": "N2"}]
    units = _logged(rows).select(unit(sticky, "ab")).to_series().to_list()
    assert units[0] == units[1] != units[2]
