import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Home
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.serving.cache import MemoryScores
from mlops_assets.serving.model_slots import Lineup, ModelSlots
from mlops_assets.serving.scoring import Given, Scorer
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.serving import Cache, Serving
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import place_blessed

AT = "2013-07-01T12:00:00+00:00"
STICKY = USE_CASE.but(serving=Serving(sticky_key=("carrier",)))
PLACE = {name: place for place, name in enumerate(USE_CASE.features.inputs)}


@pytest.fixture
def lineup(tmp_path: Path) -> Lineup:
    """Version 1 answers 0.27, version 2, its challenger by halves, 0.73."""
    home = Home(tmp_path)
    for version, bias in ((1, -1.0), (2, 1.0)):
        place_blessed(home, version, bias)
    deployment = Deployment(home.deployments, USE_CASE.name)
    deployment.point(1, AT, "first")
    deployment.route(challenger=2, share=0.5, at=AT, reason="try")
    slots = ModelSlots(USE_CASE, deployment, SigningKeys(home.keys), Telemetry())
    slots.poll()
    assert slots.lineup
    return slots.lineup


def flights(count: int) -> list[Given]:
    moment = datetime(2013, 7, 1, tzinfo=UTC)
    inputs = tuple(None for _ in PLACE)
    carriers = ("UA", "AA", "DL", "B6", "EV")
    return [
        Given((carriers[number % 5], number, None, "EWR", "IAH", moment), inputs, moment, "request", None)
        for number in range(count)
    ]


def scorer(cache: MemoryScores | None = None, telemetry: Telemetry | None = None) -> Scorer:
    return Scorer(STICKY, cache, telemetry or Telemetry(), time.perf_counter)


def test_each_row_is_scored_by_the_model_of_its_arm_and_keeps_its_place(lineup: Lineup):
    scored = scorer().score(lineup, flights(400))
    versions = {"champion": (1, 0.2689), "challenger": (2, 0.7311)}
    assert {each.arm for each in scored} == set(versions)
    for each in scored:
        version, probability = versions[each.arm]
        assert each.loaded.version == version and each.probability == pytest.approx(probability, abs=1e-4) and each.is_legal


def test_a_row_stays_in_its_arm_whatever_comes_with_it(lineup: Lineup):
    rows = flights(100)
    together = [each.arm for each in scorer().score(lineup, rows)]
    assert together == [scorer().score(lineup, [row])[0].arm for row in rows]


def test_the_sticky_key_decides_in_an_ab_rollout_and_the_whole_request_in_a_canary(lineup: Lineup):
    def arms_by_carrier(lineup: Lineup) -> list[int]:
        rows = flights(400)
        arms: dict[str, set[str]] = {}
        for row, each in zip(rows, scorer().score(lineup, rows), strict=True):
            assert row.request
            arms.setdefault(row.request[0], set()).add(each.arm)
        return [len(each) for each in arms.values()]

    assert arms_by_carrier(lineup) == [2] * 5
    assert arms_by_carrier(replace(lineup, plan=replace(lineup.plan, split="ab"))) == [1] * 5


def test_a_score_seen_before_is_not_computed_again_and_models_do_not_share_scores(lineup: Lineup):
    telemetry = Telemetry()
    cached = scorer(MemoryScores(Cache(), time.monotonic), telemetry)
    plain = [each.probability for each in scorer().score(lineup, flights(10))]
    for _ in range(3):
        assert [each.probability for each in cached.score(lineup, flights(10))] == plain
    counted = telemetry.page().decode()
    assert 'mlops_cache_reads_total{result="hit"} 20.0' in counted
    assert 'mlops_cache_reads_total{result="miss"} 10.0' in counted


def test_what_is_no_probability_is_told_apart(lineup: Lineup):
    (scored,) = scorer().score(lineup, flights(1))
    assert [scored._replace(probability=each).is_legal for each in (np.nan, -0.1, 1.1, 0.0, 1.0)] == [False] * 3 + [True] * 2


def test_an_explanation_is_the_same_each_time_and_for_the_arm_that_answered(lineup: Lineup):
    row = flights(1)[0]
    warm = row._replace(inputs=tuple(80.0 if name == "temp" else None for name in PLACE))
    said: Sequence[dict[str, object]] = [scorer().explain(each, warm) for each in scorer().score(lineup, [warm]) * 2]
    assert said[0] == said[1] and said[0]["contributions"] == {"temp": pytest.approx(0.8, abs=1e-5)}
