"""From the evidence of a rollout to its next step: advance, finish, hold or roll back, and why.

Belongs here: the decision and its words, for the person on call. Not here: the evidence (rollout_evidence.py) and carrying
a decision out.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from mlops_assets.spec.rollout import Canary, Rollback
from mlops_assets.stages.rollout_evidence import RolloutState, Test, margins
from mlops_assets.stages.sequential import needed

MOST_NATS = 700.0  # e to this is about the largest double


@dataclass(frozen=True)
class Finding:
    """One declared test. `challenger` and `champion` are means over `challenger_rows` and `champion_rows` of this step (None
    without rows), in the units of `said`; `evidence` (odds against a challenger that keeps within the declared margin, over
    the whole rollout, at their highest) is a breach from `needed` on.
    """

    test: Test
    challenger: float | None
    champion: float | None
    challenger_rows: int
    champion_rows: int
    evidence: float
    needed: float
    said: str

    @property
    def breached(self) -> bool:
        return self.evidence >= self.needed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return vars(self) | {"breached": self.breached}


@dataclass(frozen=True)
class Decision:
    """What to do now, the challenger's `share` from then on, and why in one sentence or two."""

    kind: Literal["advance", "finish", "hold", "roll_back"]
    share: float
    reason: str
    findings: tuple[Finding, ...]


def decide(canary: Canary, state: RolloutState, *, now: datetime) -> Decision:
    """What follows from what is known. A breach comes first; then a step that has all it needs; then the end of patience."""
    findings = tuple(_finding(canary.rollback, state, test) for test in margins(canary.rollback))
    breaches = [found for found in findings if found.breached]
    where, waiting = _where(state.share), _waiting(canary, state, now)
    if breaches:
        said = " ".join(f"{each.said} Evidence {each.evidence:.3g} to 1, {each.needed:.3g} needed." for each in breaches)
        return Decision("roll_back", 0.0, f"Rolled back {where}: {said}", findings)
    if not waiting:
        share = min(each for each in canary.shares if each > state.share)
        nothing = f"Nothing speaks against the challenger after {state.answers:,} requests {where}"
        if share < 1:
            return Decision("advance", share, f"{nothing}: on to {share:.4g} of the traffic.", findings)
        return Decision("finish", share, f"{nothing}: it answers everybody.", findings)
    if now - state.began >= canary.give_up_after:
        said = f"nothing was proven against the challenger, but it is still short of {waiting} after {now - state.began}"
        return Decision("roll_back", 0.0, f"Given up {where}: {said}. Start again when there is more traffic.", findings)
    return Decision("hold", state.share, f"Waiting {where} for {waiting}.", findings)


def _where(share: float) -> str:
    return f"at {share:.4g} of the traffic" if share else "in the shadow"


def _waiting(canary: Canary, state: RolloutState, now: datetime) -> str:
    """What this step still lacks; empty when nothing."""
    missing = (canary.step_rows if state.share else canary.shadow_rows) - state.answers
    early = canary.step_for - (now - state.stepped)
    lacks = [f"{missing:,} more answers of the challenger"] if missing > 0 else []
    return " and ".join([*lacks, f"{early} to pass"] if early.total_seconds() > 0 else lacks)


def _finding(limits: Rollback, state: RolloutState, test: Test) -> Finding:
    """The test as people read it; of several claims, the one whose outcomes are furthest apart."""
    wealth, alpha = state.wealth[test], limits.false_alarm_rate / len(margins(limits))
    means = wealth.totals / np.maximum(wealth.rows, 1)[:, None]
    claim = int(np.argmax(means[1] - means[0]))
    champion, challenger = (_in_units(limits, test, float(mean)) for mean in means[:, claim])
    theirs, ours = (int(rows) for rows in wealth.rows)
    if test == "score":
        edge = state.edges[claim % len(state.edges)]
        side = "at or above" if claim < len(state.edges) else "below"
        said = _say(test, limits, challenger, champion, beside=f"{side} {edge:.3g}")
    else:
        said = _say(test, limits, challenger, champion)
    return Finding(
        test=test,
        challenger=challenger if ours else None,
        champion=champion if theirs else None,
        challenger_rows=ours,
        champion_rows=theirs,
        evidence=math.exp(min(wealth.peak, MOST_NATS)),
        needed=math.exp(needed(alpha)),
        said=f"{said} Rows in this step: {ours:,} of the challenger, {theirs:,} of the champion.",
    )


def _in_units(limits: Rollback, test: Test, mean: float) -> float:
    """An outcome in [0, 1], bad when high, as the figure that it stands for."""
    figure = limits.figure
    if test != "figure" or figure is None:
        return mean
    good = 1 - mean if figure.higher_is_better else mean
    return figure.low + good * (figure.high - figure.low)


def _say(test: Test, limits: Rollback, challenger: float, champion: float, *, beside: str = "") -> str:
    match test:
        case "errors":
            said = f"{challenger:.2%} of the challenger's calls fail where the champion answers"
            return f"{said}; at most {limits.max_error_gap:.2%} may."
        case "latency":
            said = f"{challenger:.2%} of the challenger's calls take longer than {limits.slow_ms:g} ms, {champion:.2%} of the"
            return f"{said} champion's; at most {limits.max_slow_gap:.2%} more may."
        case "score":
            said = f"{challenger:.1%} of the challenger's scores are {beside}, {champion:.1%} of the champion's"
            return f"{said}; at most {limits.max_score_shift:.0%} apart they may be."
        case "quality":
            said = f"The challenger's Brier score is {challenger:.4f}, the champion's {champion:.4f}"
            return f"{said}; at most {limits.max_quality_loss:.4g} worse it may be."
        case "figure":
            assert limits.figure is not None
            said = f"The challenger's {limits.figure.name} is {challenger:.4g} a row, the champion's {champion:.4g}"
            return f"{said}; at most {limits.figure.max_loss:.4g} worse it may be."
