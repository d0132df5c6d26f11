"""Changed transforms: the code of a view changed, and computes other features from the same rows."""

from collections.abc import Iterator

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Evidence, Refill

DIFFERS, DIFFERS_ELSEWHERE, NOT_COMPARED = 0.92, 0.25, 0.3
MIN_DIFFERING = 0.005
REMEDY = "Look at the change of the code; revert it, or fill the view again for all partitions and train anew."


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    for refill in evidence.refills:
        differing = {name: share for name, share in refill.differing.items() if share > MIN_DIFFERING}
        inputs = evidence.of_view(refill.view) & (differing.keys() or evidence.affected)
        if differing or (not refill.rows and inputs):
            yield _cause(evidence, refill, differing, inputs)


def _cause(evidence: Evidence, refill: Refill, differing: dict[str, float], inputs: frozenset[str]) -> Cause:
    confidence = NOT_COMPARED if not differing else DIFFERS if inputs else DIFFERS_ELSEWHERE
    computed = some([f"{name} ({share:.0%})" for name, share in sorted(differing.items(), key=lambda one: -one[1])], 4)
    what = (
        f"It computes other values from the same rows: {computed}" if differing else "No partition of before is left to compare"
    )
    return Cause(
        Kind.TRANSFORM,
        names.feature(evidence.use_case.name, refill.view)[-1],
        refill.at,
        confidence,
        f"The code of the view is another one (version {refill.version}). {what}.",
        REMEDY,
        inputs,
    )
