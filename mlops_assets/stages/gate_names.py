"""The names under which people meet the gates.

Light to import: the code location reads the names when it loads. Not here: the words (spec/gate.py) and the verdicts
(judge.py).
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


def gate_name(gate: Gate) -> str:  # noqa: PLR0911 - one for each word
    """A name that stands for what the gate measures and survives a change of its bound: `every_carrier_auc`."""
    match gate:
        case Floor():
            return f"floor_{gate.metric}"
        case BeatsChampion():
            return f"beats_champion_{gate.metric}"
        case Calibrated():
            return "calibrated"
        case EverySlice():
            return f"every_{gate.column}_{gate.metric}"
        case NoSkew():
            return "no_skew"
        case Robust():
            return f"robust_{gate.metric}"
        case NoLeak():
            return "no_leak"
        case Fair():
            return f"fair_{gate.column}_{gate.metric}"
        case Latency():
            return f"latency_{gate.rows}_rows" if gate.rows > 1 else "latency"
        case Budget():
            return "budget"
        case NoPii():
            return "no_pii"


def gate_names(gates: tuple[Gate, ...]) -> tuple[str, ...]:
    """One unique name per gate, in order; a gate that measures what an earlier one does gets a number: `floor_auc_2`."""
    names = [gate_name(gate) for gate in gates]
    counts = [names[: index + 1].count(name) for index, name in enumerate(names)]
    return tuple(name if count == 1 else f"{name}_{count}" for name, count in zip(names, counts, strict=True))
