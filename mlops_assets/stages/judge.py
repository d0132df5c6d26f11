"""Every gate speaks over one candidate: what was measured, against which bound, and the verdict in one sentence.

Belongs here: which judge belongs to which word. Not here: the words (spec/gate.py), the judges (gates/), the gates' names
(gate_names.py) and the evidence (evaluate.py).
"""

from mlops_assets.spec.gate import (
    BeatsChampion,
    Budget,
    Calibrated,
    EverySlice,
    Fair,
    Floor,
    Gate,
    Latency,
    NoLeak,
    NoPii,
    NoSkew,
    Robust,
)
from mlops_assets.stages.gate_names import gate_names
from mlops_assets.stages.gates.beats_champion import judge_beats_champion
from mlops_assets.stages.gates.budget import judge_budget
from mlops_assets.stages.gates.calibrated import judge_calibrated
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.every_slice import judge_every_slice
from mlops_assets.stages.gates.fair import judge_fair
from mlops_assets.stages.gates.floor import judge_floor
from mlops_assets.stages.gates.latency import judge_latency
from mlops_assets.stages.gates.no_leak import judge_no_leak
from mlops_assets.stages.gates.no_pii import judge_no_pii
from mlops_assets.stages.gates.no_skew import judge_no_skew
from mlops_assets.stages.gates.robust import judge_robust


def judge(gates: tuple[Gate, ...], case: Case) -> tuple[Verdict, ...]:
    """One verdict per gate, in order.

    Raises ValueError when a gate asks for a metric, a slice or a column that the case does not hold.
    """
    return tuple(_judged(gate, name, case) for gate, name in zip(gates, gate_names(gates), strict=True))


def _judged(gate: Gate, name: str, case: Case) -> Verdict:  # noqa: PLR0911 - one for each word
    match gate:
        case Floor():
            return judge_floor(gate, name, case)
        case BeatsChampion():
            return judge_beats_champion(gate, name, case)
        case Calibrated():
            return judge_calibrated(gate, name, case)
        case EverySlice():
            return judge_every_slice(gate, name, case)
        case NoSkew():
            return judge_no_skew(gate, name, case)
        case Robust():
            return judge_robust(gate, name, case)
        case NoLeak():
            return judge_no_leak(gate, name, case)
        case Fair():
            return judge_fair(gate, name, case)
        case Latency():
            return judge_latency(gate, name, case)
        case Budget():
            return judge_budget(gate, name, case)
        case NoPii():
            return judge_no_pii(gate, name, case)
