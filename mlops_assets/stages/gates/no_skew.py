"""Judging NoSkew: the features that were served are those that the tables give.

Not here: the word (spec/gate.py) and the comparison itself (stages/skew.py).
"""

from mlops_assets.spec.gate import NoSkew
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.skew import Parity

_ADVICE = "Look at the examples on the skew asset and correct what differs; the next answers then show it."


def judge_no_skew(gate: NoSkew, name: str, case: Case) -> Verdict:
    """`measured` is the share of the compared answers that used a feature which is recomputed otherwise."""
    found = case.parity
    if found is None or found.rows < gate.min_rows:
        return _too_few(gate, name, found.rows if found else 0)
    passed = found.mismatch_rate <= gate.max_mismatch_rate
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.mismatch_rate,
        bound=gate.max_mismatch_rate,
        message=f"{name} · {_said(gate, found, passed)}",
        evidence=found.to_dict(),
    )


def _said(gate: NoSkew, found: Parity, passed: bool) -> str:
    said = found.sentence(gate.max_mismatch_rate)
    return said if passed else f"{said} {_ADVICE}"


def _too_few(gate: NoSkew, name: str, rows: int) -> Verdict:
    compared = f"only {rows} answers have been compared" if rows else "nothing has been served yet"
    return Verdict(
        gate=name,
        passed=True,
        bound=gate.max_mismatch_rate,
        message=f"{name} · {compared}; {gate.min_rows} are needed to tell, so this gate passes.",
        evidence={"rows": rows},
    )
