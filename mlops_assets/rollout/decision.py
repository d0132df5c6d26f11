"""From the evidence of a rollout to its next step: advance, finish, hold or roll back, and why."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np

from mlops_assets.rollout.evidence import RolloutState, Test, margins
from mlops_assets.spec.rollout import Canary, Rollback
from mlops_assets.statistics.sequential import needed

MAX_NATS = 700.0  # e to this is about the largest double


@dataclass(frozen=True)
class Finding:
    """One declared test. `challenger` and `champion` are means over `challenger_rows` and `champion_rows` of this step (None
    without rows), in the units of `message`. `evidence` is the highest odds, over the whole rollout, against a challenger
    within the declared margin; from `needed` on it is a breach.
    """

    test: Test
    challenger: float | None
    champion: float | None
    challenger_rows: int
    champion_rows: int
    evidence: float
    needed: float
    message: str

    @property
    def breached(self) -> bool:
        return self.evidence >= self.needed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return vars(self) | {"breached": self.breached}


@dataclass(frozen=True)
class Decision:
    """What to do now, the challenger's `share` from then on, and why in one or two sentences."""

    kind: Literal["advance", "finish", "hold", "roll_back"]
    share: float
    reason: str
    findings: tuple[Finding, ...]


def decide(canary: Canary, state: RolloutState, *, now: datetime) -> Decision:
    """A breach comes first; then a step that has all it needs; then the end of `give_up_after`."""
    findings = tuple(_finding(canary.rollback, state, test) for test in margins(canary.rollback))
    breaches = [finding for finding in findings if finding.breached]
    where, waiting = f"at {state.share:.4g} of the traffic" if state.share else "in the shadow", _waiting(canary, state, now)
    if breaches:
        reasons = (f"{one.message} Evidence {one.evidence:.3g} to 1, {one.needed:.3g} needed." for one in breaches)
        return Decision("roll_back", 0.0, f"Rolled back {where}: {' '.join(reasons)}", findings)
    if not waiting:
        share = min(share for share in canary.shares if share > state.share)
        harmless = f"No evidence against the challenger after {state.answers:,} requests {where}"
        if share < 1:
            return Decision("advance", share, f"{harmless}: advanced to {share:.4g} of the traffic.", findings)
        return Decision("finish", share, f"{harmless}: it serves all traffic.", findings)
    if now - state.began >= canary.give_up_after:
        reason = f"no evidence against the challenger, but it is still short of {waiting} after {now - state.began}"
        return Decision("roll_back", 0.0, f"Given up {where}: {reason}. Start again when there is more traffic.", findings)
    return Decision("hold", state.share, f"Waiting {where} for {waiting}.", findings)


def _waiting(canary: Canary, state: RolloutState, now: datetime) -> str:
    """What this step still lacks; empty when it lacks nothing."""
    missing = (canary.step_rows if state.share else canary.shadow_rows) - state.answers
    early = canary.step_for - (now - state.stepped)
    lacks = [f"{missing:,} more answers of the challenger"] * (missing > 0) + [f"{early} to pass"] * (early > timedelta(0))
    return " and ".join(lacks)


def _finding(limits: Rollback, state: RolloutState, test: Test) -> Finding:
    wealth, alpha = state.wealth[test], limits.false_alarm_rate / len(margins(limits))
    means = wealth.totals / np.maximum(wealth.rows, 1)[:, None]
    claim = int(np.argmax(means[1] - means[0]))  # of several claims, the one whose outcomes are furthest apart
    champion, challenger = (_in_units(limits, test, float(mean)) for mean in means[:, claim])
    champion_rows, challenger_rows = (int(rows) for rows in wealth.rows)
    # Claims about "at or above" come first, see evidence.py; the level matters to the test of scores only.
    level = f"{'at or above' if claim < len(state.edges) else 'below'} {state.edges[claim % len(state.edges)]:.3g}"
    message = _message(test, limits, challenger, champion, level=level)
    return Finding(
        test=test,
        challenger=challenger if challenger_rows else None,
        champion=champion if champion_rows else None,
        challenger_rows=challenger_rows,
        champion_rows=champion_rows,
        evidence=math.exp(min(wealth.peak, MAX_NATS)),
        needed=math.exp(needed(alpha)),
        message=f"{message} Rows in this step: {challenger_rows:,} of the challenger, {champion_rows:,} of the champion.",
    )


def _in_units(limits: Rollback, test: Test, mean: float) -> float:
    """Maps an outcome in [0, 1], where 1 is worst, to the units of its figure."""
    figure = limits.figure
    if test != "figure" or figure is None:
        return mean
    good = 1 - mean if figure.higher_is_better else mean
    return figure.low + good * (figure.high - figure.low)


def _message(test: Test, limits: Rollback, challenger: float, champion: float, *, level: str) -> str:
    calls = f"{challenger:.2%} of the challenger's calls"
    match test:
        case "errors":
            return f"{calls} fail and the champion's do not; the limit is {limits.max_error_gap:.2%}."
        case "latency":
            slow = f"{calls} take longer than {limits.slow_ms:g} ms, {champion:.2%} of the champion's"
            return f"{slow}; the limit is {limits.max_slow_gap:.2%} more."
        case "score":
            shares = f"{challenger:.1%} of the challenger's scores are {level}, {champion:.1%} of the champion's"
            return f"{shares}; the limit is {limits.max_score_shift:.0%} apart."
        case "quality":
            scores = f"The challenger's Brier score is {challenger:.4f}, the champion's {champion:.4f}"
            return f"{scores}; the limit is {limits.max_quality_loss:.4g} worse."
        case "figure":
            assert limits.figure is not None
            means = f"The challenger's {limits.figure.name} is {challenger:.4g} a row, the champion's {champion:.4g}"
            return f"{means}; the limit is {limits.figure.max_loss:.4g} worse."
