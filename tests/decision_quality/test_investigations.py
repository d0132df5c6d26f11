"""How often the first cause of an investigation is the right one, of faults of every kind, and what it says without a fault.

The seeds are others than those with which bounds and weights were chosen.
"""

from collections import Counter

import pytest

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.investigation.cause import LIKELY, Kind
from mlops_assets.monitoring.investigation.evidence import Alarm
from mlops_assets.monitoring.investigation.investigate import investigate
from tests.monitoring.investigation.faults import FAULTS
from tests.monitoring.investigation.small_line import LINE, World, investigated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SEED, NULLS = 5000, 24
NOTHING = "no likely cause"
Confusion = Counter[tuple[str, str]]


def confusion(seed: int) -> Confusion:
    """The number of faults by their kind and the kind of the first cause."""
    counts: Confusion = Counter()
    for number, fault in enumerate(FAULTS):
        world = World.sound(seed + number)
        fault.inject(world)
        causes = investigate(investigated(world)).causes
        counts[fault.kind, causes[0].kind if causes else NOTHING] += 1
    return counts


def table(counts: Confusion) -> str:
    """Rows by truth, columns by what the investigation says first, as Markdown."""
    columns = [*Kind, *([NOTHING] if any(cause == NOTHING for _, cause in counts) else [])]
    rows = [f"| {kind} | " + " | ".join(str(counts[kind, cause] or "") for cause in columns) + " |" for kind in Kind]
    return "\n".join([f"| fault | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|", *rows])


def right(counts: Confusion) -> float:
    return sum(counts[kind, kind] for kind in Kind) / counts.total()


def test_the_first_cause_is_right_for_nine_faults_of_ten() -> None:
    counts = confusion(SEED)
    by_kind = Counter(fault.kind for fault in FAULTS)
    assert len(FAULTS) >= 40 and min(by_kind[kind] for kind in Kind) >= 5
    assert right(counts) >= 0.9, table(counts)
    assert all(counts[kind, kind] >= 0.6 * by_kind[kind] for kind in Kind), table(counts)


def test_without_a_fault_no_cause_is_likely() -> None:
    """Of a false alarm of the performance, or of the drift of some input."""
    likely = []
    for number in range(NULLS):
        world, inputs = World.sound(SEED + 500 + number), LINE.features.inputs
        world.alarms = (Alarm("drift", Verdict.ALARM, "1 input has drifted.", (inputs[number % len(inputs)],)),) * (number % 2)
        likely += [cause for cause in investigate(investigated(world)).causes[:1] if cause.confidence >= LIKELY]
    assert len(likely) <= 1, likely
