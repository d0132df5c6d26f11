"""Judges NoSkew: the served features equal the ones recomputed from the tables (features/parity.py compares them)."""

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.spec.gate import NoSkew
from mlops_assets.statistics.metrics import Interval


def judge(gate: NoSkew, case: Case) -> Measurement:
    """Measures the share of the compared answers that used a feature with another recomputed value."""
    parity = case.parity
    rows = parity.rows if parity else 0
    if parity is None or rows < gate.min_rows:
        compared = f"only {rows} answers have been compared" if rows else "nothing has been served yet"
        message = f"{compared}; {gate.min_rows} are needed for a verdict, so this gate passes"
        return Measurement(passed=True, bound=gate.max_mismatch_rate, message=message, evidence={"rows": rows})
    return Measurement(
        passed=parity.mismatch_rate <= gate.max_mismatch_rate,
        value=Interval(parity.mismatch_rate),
        bound=gate.max_mismatch_rate,
        message=parity.sentence(gate.max_mismatch_rate),
        advice="Look at the examples on the skew asset and correct the features that differ; the next answers then pass.",
        evidence=parity.to_dict(),
    )
