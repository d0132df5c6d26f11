"""From the evidence of a rollout to its next step: advance, finish, hold or roll back, and why."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np

from mlops_assets.rollout.evidence import RolloutState, Test, margins
from mlops_assets.spec.rollout import Canary, Rollback
from mlops_assets.statistics.sequential import needed
from mlops_assets.tasks.task import Task

MAX_NATS = 700.0  # e to this is about the largest double
MESSAGES: dict[Test, str] = {
    "errors": "{ours:.2%} of the challenger's calls fail and the champion's do not; the limit is {limits.max_error_gap:.2%}.",
    "latency": "{ours:.2%} of the challenger's calls take longer than {limits.slow_ms:g} ms, {theirs:.2%} of the champion's; "
    "the limit is {limits.max_slow_gap:.2%} more.",
    "score": "{ours:.1%} of the challenger's scores are {level}, {theirs:.1%} of the champion's; "
    "the limit is {limits.max_score_shift:.0%} apart.",
    "quality": "The challenger's {loss} is {ours:.4f}, the champion's {theirs:.4f}; "
    "the limit is {limits.max_quality_loss:.4g} worse.",
    "figure": "The challenger's {limits.figure.name} is {ours:.4g} a row, the champion's {theirs:.4g}; "
    "the limit is {limits.figure.max_loss:.4g} worse.",
}


@dataclass(frozen=True)
class Finding:
    """One declared test. `challenger` and `champion` are means over `challenger_rows` and `champion_rows` of this step (None
    without rows), in the units of `message`. `evidence` is the highest odds, over the whole rollout, against a challenger
    within the declared margin; from `needed` on it is `breached`.
    """

    test: Test
    breached: bool
    challenger: float | None
    champion: float | None
    challenger_rows: int
    champion_rows: int
    evidence: float
    needed: float
    message: str


@dataclass(frozen=True)
class Decision:
    """What to do now, the challenger's `share` from then on, and why in one or two sentences."""

    kind: Literal["advance", "finish", "hold", "roll_back"]
    share: float
    reason: str
    findings: tuple[Finding, ...]


def decide(canary: Canary, state: RolloutState, *, task: Task[Any], now: datetime) -> Decision:
    """A breach comes first; then a step that has all it needs; then the end of `give_up_after`."""
    findings = tuple(_finding(canary.rollback, state, task, test) for test in margins(canary.rollback))
    breaches = [finding for finding in findings if finding.breached]
    where = f"at {state.share:.4g} of the traffic" if state.share else "in the shadow"
    missing = (canary.step_rows if state.share else canary.shadow_rows) - state.answers
    early = canary.step_for - (now - state.stepped)
    lacks = [f"{missing:,} more answers of the challenger"] * (missing > 0) + [f"{early} to pass"] * (early > timedelta(0))
    if breaches:
        reasons = (f"{one.message} Evidence {one.evidence:.3g} to 1, {one.needed:.3g} needed." for one in breaches)
        return Decision("roll_back", 0.0, f"Rolled back {where}: {' '.join(reasons)}", findings)
    if not lacks:
        share = min((share for share in canary.shares if share > state.share), default=1.0)
        harmless = f"No evidence against the challenger after {state.answers:,} requests {where}"
        if share < 1:
            return Decision("advance", share, f"{harmless}: advanced to {share:.4g} of the traffic.", findings)
        return Decision("finish", share, f"{harmless}: it serves all traffic.", findings)
    if now - state.began >= canary.give_up_after:
        reason = f"no evidence against the challenger, but it is still short of {' and '.join(lacks)} after {now - state.began}"
        return Decision("roll_back", 0.0, f"Given up {where}: {reason}. Start again when there is more traffic.", findings)
    return Decision("hold", state.share, f"Waiting {where} for {' and '.join(lacks)}.", findings)


def _finding(limits: Rollback, state: RolloutState, task: Task[Any], test: Test) -> Finding:
    wealth, figure = state.wealth[test], limits.figure
    means = wealth.totals / np.maximum(wealth.rows, 1)[:, None]
    claim = int(np.argmax(means[1] - means[0]))  # of several claims, the one whose outcomes are furthest apart
    champion, challenger = map(float, means[:, claim])
    if test == "figure" and figure:  # its outcomes are from 0, the best, to 1
        best, worst = (figure.high, figure.low) if figure.higher_is_better else (figure.low, figure.high)
        champion, challenger = (best + mean * (worst - best) for mean in (champion, challenger))
    champion_rows, challenger_rows = map(int, wealth.rows)
    words = {"loss": task.LOSS, "level": task.describe_claim(claim, state.edges)}  # the level is of the test of scores only
    message = MESSAGES[test].format(ours=challenger, theirs=champion, limits=limits, **words)
    evidence, enough = math.exp(min(wealth.peak, MAX_NATS)), math.exp(needed(limits.false_alarm_rate / len(margins(limits))))
    return Finding(
        test=test,
        breached=evidence >= enough,
        challenger=challenger if challenger_rows else None,
        champion=champion if champion_rows else None,
        challenger_rows=challenger_rows,
        champion_rows=champion_rows,
        evidence=evidence,
        needed=enough,
        message=f"{message} Rows in this step: {challenger_rows:,} of the challenger, {champion_rows:,} of the champion.",
    )
