"""Judges NoSkew: the served features equal the ones recomputed from the tables (features/parity.py compares them)."""

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.features.parity import Parity
from mlops_assets.spec.gate import NoSkew
from mlops_assets.statistics.metrics import Interval


def judge(gate: NoSkew, case: Case) -> Measurement:
    """Measures the share of the compared answers that used a feature with another recomputed value."""
    parity = case.parity
    if parity is None or parity.rows < gate.min_rows or not parity.features:
        passed = gate.without_data == "pass" or not case.served
        missing, decided = _missing(parity, case.served), "passes" if passed else "refuses, as declared"
        return Measurement(
            passed=passed,
            bound=gate.max_mismatch_rate,
            message=f"{missing}; {gate.min_rows} are needed for a verdict, so this gate {decided}",
            advice="Wait for the next comparison, or lower min_rows.",
            evidence={"rows": parity.rows if parity else 0, "served": case.served},
            lacks_data=True,
        )
    return Measurement(
        passed=parity.mismatch_rate <= gate.max_mismatch_rate,
        value=Interval(parity.mismatch_rate),
        bound=gate.max_mismatch_rate,
        message=parity.sentence(gate.max_mismatch_rate),
        advice="Look at the examples on the skew asset and correct the features that differ; the next answers then pass.",
        evidence=parity.to_dict(),
    )


def _missing(parity: Parity | None, served: int) -> str:
    """Why there is too little to judge."""
    if not served:
        return "nothing has been served yet"
    if parity is None:
        return f"{served:,} answers have been served and none compared yet (the skew asset does that)"
    compared = f"only {parity.rows} in" if parity.rows else "none (their callers sent the features) in"
    return f"{served:,} answers have been served, and {compared} the window of Skew can be compared"
