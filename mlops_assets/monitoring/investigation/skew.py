"""Training/serving skew: answers used features that the tables do not give for the same request and moment."""

from collections.abc import Iterator

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Evidence

LARGE, SMALL = 0.85, 0.6
LARGE_RATE = 0.02
REMEDY = "Compare examples on the page of skew; look at clients and servers that changed then. Roll back to what served before."


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    mismatches = evidence.mismatches
    if not mismatches:
        return
    rates = {name: 1 - evidence.agreement(name) for name in mismatches}
    worst = max(rates, key=lambda name: rates[name])
    first = min(change.first for change in mismatches.values())
    listed = some([f"{name} ({rates[name]:.1%})" for name in sorted(rates, key=lambda name: -rates[name])], 4)
    yield Cause(
        Kind.SKEW,
        f"predictions.{worst}",
        evidence.compared[EVENT_TIMESTAMP][first] if first else None,
        LARGE if rates[worst] >= LARGE_RATE else SMALL,
        f"Answers used other values than the tables give for these requests: {listed}.",
        REMEDY,
        frozenset(mismatches) & evidence.origins.keys(),
    )
