"""What follows from the evidence of a rollout, in which order, and in which words; whole rollouts, harmless and harmful."""

import json
import re
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mlops_assets.rollout.decision import Decision, decide
from mlops_assets.rollout.evidence import RolloutState
from mlops_assets.spec.rollout import BusinessFigure, Canary, Rollback
from tests.rollout.rollout_traffic import BEGAN, TASK, begin, look, roll_out, traffic
from tests.rollout.simulated_lines import Harm

A_MINUTE = timedelta(minutes=1)
REVENUE = BusinessFigure(name="revenue", low=0, high=10, of=lambda outcomes: pl.col("revenue"), max_loss=0.5)
SMALL = Canary(shadow_rows=100, step_rows=100, steps=(0.2, 0.5, 1.0), step_for=A_MINUTE, give_up_after=60 * A_MINUTE)


def _after(canary: Canary, share: float, rows: int, harm: Harm, *, at: datetime = BEGAN) -> RolloutState:
    rng = np.random.default_rng(1)
    state = begin(canary, rng).entering(share, at)
    return look(canary, state, traffic(rng, rows, share=share, harm=harm), share=share)


def _at(minutes: float) -> datetime:
    return BEGAN + minutes * A_MINUTE


def test_a_step_waits_for_requests_and_time_and_says_for_which() -> None:
    nothing = begin(SMALL, np.random.default_rng(0))
    both = decide(SMALL, nothing, task=TASK, now=_at(0.5))
    assert (both.kind, both.share, both.reason) == (
        "hold", 0.0, "Waiting in the shadow for 100 more answers of the challenger and 0:00:30 to pass.",
    )  # fmt: skip
    assert decide(SMALL, nothing, task=TASK, now=_at(2)).reason == "Waiting in the shadow for 100 more answers of the challenger."
    enough = _after(SMALL, 0.2, 1000, Harm(), at=_at(3))
    early = decide(SMALL, enough, task=TASK, now=_at(3.25))
    assert (early.kind, early.share, early.reason) == ("hold", 0.2, "Waiting at 0.2 of the traffic for 0:00:45 to pass.")


def test_many_rows_in_a_few_failing_calls_lead_nowhere() -> None:
    rng = np.random.default_rng(1)
    rows = traffic(rng, 1200, share=0.2, harm=Harm(errors=1)).with_columns(call=pl.int_range(pl.len()) // 400)
    state = look(SMALL, begin(SMALL, rng).entering(0.2, BEGAN), rows, share=0.2)
    assert state.wealth["errors"].rows.sum() == 3, "too little to prove anything by"
    decision = decide(SMALL, state, task=TASK, now=_at(2))
    assert (decision.kind, decision.reason) == ("hold", "Waiting at 0.2 of the traffic for 100 more answers of the challenger.")
    assert decide(SMALL, state, task=TASK, now=_at(61)).kind == "roll_back"


@pytest.mark.parametrize(("share", "following", "kind"), [(0.0, 0.2, "advance"), (0.2, 0.5, "advance"), (0.5, 1.0, "finish")])
def test_a_step_that_has_what_it_needs_leads_to_the_next(share: float, following: float, kind: str) -> None:
    decision = decide(SMALL, _after(SMALL, share, 1000, Harm()), task=TASK, now=_at(2))
    assert (decision.kind, decision.share) == (kind, following)
    assert re.match(r"No evidence against the challenger after [\d,]+ requests (in the shadow|at 0)", decision.reason)
    assert not any(finding.breached for finding in decision.findings)


HARMS = [
    ("errors", Harm(errors=0.2), r"Rolled back at 0\.5 of the traffic: (1|2)\d\.\d\d% of the challenger's calls fail and the champion's do not; the limit is 0\.10%\. Rows in this step: [\d,]+ of the challenger, [\d,]+ of the champion\. Evidence \S+ to 1, 400 needed\."),
    ("latency", Harm(slow=0.2), r"(1|2)\d\.\d\d% of the challenger's calls take longer than 50 ms, [01]\.\d\d% of the champion's; the limit is 1\.00% more\."),
    ("score", Harm(constant=True), r"100\.0% of the challenger's scores are at or above 0\.\d+, \d\d\.\d% of the champion's; the limit is 20% apart\."),
    ("quality", Harm(noise=3.0), r"The challenger's Brier score is 0\.2\d\d\d, the champion's 0\.1\d\d\d; the limit is 0\.01 worse\."),
]  # fmt: skip


@pytest.mark.parametrize(("test", "harm", "pattern"), HARMS, ids=[case[0] for case in HARMS])
def test_a_breach_is_rolled_back_and_says_what_was_found(test: str, harm: Harm, pattern: str) -> None:
    decision = decide(SMALL, _after(SMALL, 0.5, 3000, harm), task=TASK, now=_at(0))
    assert (decision.kind, decision.share) == ("roll_back", 0.0)
    assert test in [finding.test for finding in decision.findings if finding.breached]
    assert re.search(pattern, decision.reason), decision.reason


def test_the_business_figure_has_its_own_units() -> None:
    canary = SMALL.but(rollback=Rollback(figure=REVENUE))
    rng = np.random.default_rng(1)
    rows = traffic(rng, 2000, share=0.5, harm=Harm())
    poorer = rows.with_columns(revenue=pl.when(pl.col("arm") == "challenger").then(2.0).otherwise(6.0))
    decision = decide(canary, look(canary, begin(canary, rng).entering(0.5, BEGAN), poorer, share=0.5), task=TASK, now=_at(0))
    assert decision.kind == "roll_back"
    assert "The challenger's revenue is 2 a row, the champion's 6; the limit is 0.5 worse." in decision.reason
    assert "500 needed" in decision.reason  # five tests share 1%


def test_a_breach_counts_more_than_a_step_that_is_full_or_late() -> None:
    assert decide(SMALL, _after(SMALL, 0.5, 3000, Harm(errors=0.2)), task=TASK, now=_at(999)).reason.startswith("Rolled back")


def test_a_step_that_is_full_goes_on_though_it_is_late() -> None:
    assert decide(SMALL, _after(SMALL, 0.2, 1000, Harm()), task=TASK, now=_at(999)).kind == "advance"


def test_a_step_without_enough_answers_is_given_up_with_its_reason() -> None:
    decision = decide(SMALL, _after(SMALL, 0.2, 50, Harm()), task=TASK, now=_at(60))
    assert (decision.kind, decision.share) == ("roll_back", 0.0)
    assert re.fullmatch(
        r"Given up at 0\.2 of the traffic: no evidence against the challenger, but it is still short of \d+ more answers"
        r" of the challenger after 1:00:00\. Start again when there is more traffic\.",
        decision.reason,
    )


def test_evidence_of_earlier_steps_still_counts() -> None:
    first = _after(SMALL, 0.2, 3000, Harm(errors=0.2))
    assert decide(SMALL, first.entering(0.5, _at(1)), task=TASK, now=_at(2)).kind == "roll_back"


def test_unknown_values_of_a_finding_are_none_and_all_of_it_is_json() -> None:
    decision = decide(SMALL, begin(SMALL, np.random.default_rng(0)), task=TASK, now=_at(0))
    assert [(finding.challenger, finding.champion, finding.evidence) for finding in decision.findings] == [(None, None, 1.0)] * 4
    assert json.loads(json.dumps([vars(finding) for finding in decision.findings], allow_nan=False))[0]["test"] == "errors"


def test_overwhelming_evidence_is_still_a_number() -> None:
    broken = _after(SMALL, 0.5, 20_000, Harm(errors=1.0))
    errors = decide(SMALL, broken, task=TASK, now=_at(0)).findings[0]
    assert errors.breached and errors.evidence < float("inf")


def _ends(harm: Harm, seeds: range, canary: Canary = SMALL) -> list[tuple[int, float, Decision]]:
    return [list(roll_out(canary, np.random.default_rng(seed), harm))[-1] for seed in seeds]


def test_harmless_rollouts_come_through_every_step() -> None:
    ends = _ends(Harm(), range(20), SMALL.but(step_for=timedelta(0)))
    assert [decision.kind for _, _, decision in ends] == ["finish"] * 20
    assert {share for _, share, _ in ends} == {0.5}


@pytest.mark.parametrize(("test", "harm"), [case[:2] for case in HARMS], ids=[case[0] for case in HARMS])
def test_harmful_rollouts_end_before_they_reach_all_traffic(test: str, harm: Harm) -> None:
    ends = _ends(harm, range(5), SMALL.but(step_for=timedelta(0), step_rows=500))
    assert [decision.kind for _, _, decision in ends] == ["roll_back"] * 5
    assert all(test in [finding.test for finding in decision.findings if finding.breached] for _, _, decision in ends)
