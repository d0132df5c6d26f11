import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from mlops_assets.foundation.home import Home
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.model_slots import INLINE_ROWS, QUICK_RUN_S, QUICK_RUNS, Lineup, ModelSlots, Pace
from mlops_assets.serving.inference.scoring import Scorer, ScoringRow
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.serving import Cache, Serving
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import HOT, WhenHot, place_blessed

STICKY = USE_CASE.but(serving=Serving(sticky_key=("carrier",)))
PLACE = {name: place for place, name in enumerate(USE_CASE.features.inputs)}

TASK = task_of(USE_CASE.task)


def lineup_in(home: Home, when_hot: WhenHot = None) -> Lineup:
    """Version 1 answers 0.27, version 2, its challenger by halves, 0.73; for hot rows the challenger gives `when_hot`."""
    place_blessed(home, 2, bias=1.0, when_hot=when_hot)
    deployment = place_blessed(home, 1, bias=-1.0)
    deployment.point(1)
    deployment.route(challenger=2, share=0.5)
    slots = ModelSlots(USE_CASE, deployment, SigningKeys(home.keys), Telemetry())
    slots.poll()
    assert slots.lineup
    return slots.lineup


@pytest.fixture
def lineup(tmp_path: Path) -> Lineup:
    return lineup_in(Home(tmp_path))


def flights(count: int) -> list[ScoringRow]:
    moment = datetime(2013, 7, 1, tzinfo=UTC)
    inputs = tuple(None for _ in PLACE)
    carriers = ("UA", "AA", "DL", "B6", "EV")
    return [
        ScoringRow((carriers[number % 5], number, None, "EWR", "IAH", moment), inputs, moment, "request", None)
        for number in range(count)
    ]


def warmed(row: ScoringRow, temperature: float) -> ScoringRow:
    return row._replace(inputs=tuple(temperature if name == "temp" else None for name in PLACE))


def scorer(cache: Cache | None = None, telemetry: Telemetry | None = None) -> Scorer:
    use_case = STICKY.but(serving=Serving(sticky_key=("carrier",), cache=cache))
    return Scorer(use_case, telemetry or Telemetry(), time.perf_counter)


def test_each_row_is_scored_by_the_model_of_its_arm_and_keeps_its_place(lineup: Lineup):
    scored = scorer().score(lineup, flights(400))
    versions = {"champion": (1, 0.2689), "challenger": (2, 0.7311)}
    assert {score.arm for score in scored} == set(versions)
    for score in scored:
        version, probability = versions[score.arm]
        assert score.loaded.version == version and score.output == pytest.approx(probability, abs=1e-4)


def test_a_row_stays_in_its_arm_whatever_the_other_rows_are(lineup: Lineup):
    rows = flights(100)
    together = [score.arm for score in scorer().score(lineup, rows)]
    assert together == [scorer().score(lineup, [row])[0].arm for row in rows]


def test_the_sticky_key_decides_in_an_ab_rollout_and_the_whole_request_in_a_canary(lineup: Lineup):
    def arms_by_carrier(lineup: Lineup) -> list[int]:
        rows = flights(400)
        arms: dict[str, set[str]] = {}
        for row, score in zip(rows, scorer().score(lineup, rows), strict=True):
            assert row.request
            arms.setdefault(row.request[0], set()).add(score.arm)
        return [len(names) for names in arms.values()]

    assert arms_by_carrier(lineup) == [2] * 5
    assert arms_by_carrier(replace(lineup, plan=replace(lineup.plan, split="ab"))) == [1] * 5


def test_a_score_of_the_same_row_is_not_computed_again_and_models_do_not_share_scores(lineup: Lineup):
    telemetry = Telemetry()
    cached = scorer(Cache(), telemetry)
    plain = [score.output for score in scorer().score(lineup, flights(10))]
    for _ in range(3):
        assert [score.output for score in cached.score(lineup, flights(10))] == plain
    counted = generate_latest(telemetry.registry).decode()
    assert 'mlops_cache_reads_total{result="hit"} 20.0' in counted
    assert 'mlops_cache_reads_total{result="miss"} 10.0' in counted


def test_an_explanation_is_the_same_each_time_and_for_the_arm_that_answered(lineup: Lineup):
    warm = warmed(flights(1)[0], 80.0)
    explanations: Sequence[dict[str, object]] = [scorer().explain(score, warm) for score in scorer().score(lineup, [warm]) * 2]
    assert explanations[0] == explanations[1] and explanations[0]["contributions"] == {"temp": pytest.approx(0.8, abs=1e-5)}


FAILURES = pytest.mark.parametrize("when_hot", [float("nan"), 2.0, -0.5, "raises"])


@FAILURES
def test_where_the_challenger_gives_no_probability_the_champion_answers_and_the_row_says_so(tmp_path: Path, when_hot: WhenHot):
    lineup, telemetry = lineup_in(Home(tmp_path), when_hot), Telemetry()
    rows = [warmed(row, HOT + 10 if number % 3 == 0 else 0.0) for number, row in enumerate(flights(300))]
    # The answers of a challenger that never fails, and of a champion on his own.
    sound, alone = (
        scorer().score(variant, rows) for variant in (lineup_in(Home(tmp_path / "sound")), replace(lineup, challenger=None))
    )
    mixed = scorer(telemetry=telemetry).score(lineup, rows)
    theirs = [score.arm == "challenger" for score in sound]
    # One hot row makes the whole run of the model raise; otherwise a failure is its row's own.
    failed = [tried and (when_hot == "raises" or number % 3 == 0) for number, tried in enumerate(theirs)]
    assert 10 < sum(failed) <= sum(theirs) and all(TASK.is_legal(score.output) for score in mixed)
    assert [score.challenger_failed for score in mixed] == failed
    for score, has_failed, champion, challenger in zip(mixed, failed, alone, sound, strict=True):
        expected = champion if has_failed or challenger.arm == "champion" else challenger
        assert (score.arm, score.loaded.version, score.output) == (expected.arm, expected.loaded.version, expected.output)
    assert f"mlops_challenger_failures_total {float(sum(failed))}" in generate_latest(telemetry.registry).decode()


@FAILURES
def test_a_champion_that_gives_no_probability_is_not_answered_for(tmp_path: Path, when_hot: WhenHot):
    lineup = lineup_in(Home(tmp_path), when_hot)
    assert lineup.challenger
    alone = Lineup(lineup.plan, lineup.challenger, None, None)
    rows = [warmed(row, HOT + 10) for row in flights(2)]
    if when_hot == "raises":
        with pytest.raises(Exception, match="indices element out of data bounds"):
            scorer().score(alone, rows)
    else:
        assert [TASK.is_legal(score.output) for score in scorer().score(alone, rows)] == [False, False]


def test_a_failing_challenger_is_found_through_the_cache_as_well(tmp_path: Path):
    lineup = lineup_in(Home(tmp_path), float("nan"))
    cached, rows = scorer(Cache()), [warmed(row, HOT + 10) for row in flights(20)]
    plain = [(score.arm, score.output, score.challenger_failed) for score in scorer().score(lineup, rows)]
    for _ in range(2):
        assert [(score.arm, score.output, score.challenger_failed) for score in cached.score(lineup, rows)] == plain
    assert {failed for _arm, _probability, failed in plain} == {True, False}


def test_each_row_has_the_time_of_the_model_that_scored_it(lineup: Lineup):
    """The challenger scores first, for 2 s by this clock, then the champion, for 3 s."""
    ticks = iter((10.0, 12.0, 20.0, 23.0))
    scored = Scorer(STICKY, Telemetry(), lambda: next(ticks)).score(lineup, flights(50))
    assert {(score.arm, score.model_ms) for score in scored} == {("challenger", 2000.0), ("champion", 3000.0)}


# In QUICK_RUN_S, and rows: whether that is quick.
RUNS = {(0.1, 1): True, (2, 1): False, (2, 5 * INLINE_ROWS): True, (6, 5 * INLINE_ROWS): False}


@given(st.lists(st.sampled_from([*RUNS]), max_size=3 * QUICK_RUNS))
def test_the_loop_trusts_a_model_whose_last_runs_were_all_quick_for_their_rows(runs: list[tuple[float, int]]):
    pace = Pace()
    for times, rows in runs:
        pace.record(times * QUICK_RUN_S, rows)
    last = runs[-QUICK_RUNS:]
    assert pace.is_quick == (len(last) == QUICK_RUNS and all(RUNS[run] for run in last))


def test_a_lineup_is_quick_while_champion_and_challenger_are(lineup: Lineup):
    quick, slow = (Scorer(STICKY, Telemetry(), lambda seconds=seconds: float(next(seconds))) for seconds in (repeat(0), count()))
    assert not lineup.is_quick, "until it has been measured"
    for scorer_, is_quick in ((quick, True), (slow, False), (quick, True)):
        for _ in range(QUICK_RUNS):
            scorer_.score(lineup, flights(20))
        assert lineup.is_quick == is_quick
    assert lineup.challenger is not None
    lineup.challenger.pace.record(1.0, 1)
    assert lineup.champion.pace.is_quick and not lineup.is_quick
    assert replace(lineup, challenger=None).is_quick
