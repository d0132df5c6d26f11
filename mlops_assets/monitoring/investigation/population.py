"""A real shift: requests have changed, and nothing in the data's way explains it."""

from collections.abc import Iterator

from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Evidence, Relation

SHIFT, RELATION, UNPROVEN = 0.65, 0.4, 0.6  # the latter: the weight of what a monitor names and chance may explain
REMEDY = "Train again with rows since then, once their labels are known; if the answers matter meanwhile, look at the estimate."


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    moved = {name: change for name, change in evidence.changes.items() if name in evidence.affected}
    listed = some([f"{name} (PSI {moved[name].psi:.2f})" for name in sorted(moved, key=lambda name: -moved[name].psi)], 4)
    if moved:
        agreement = sum(map(evidence.agreement, moved)) / len(moved)
        weight = 1.0 if any(change.is_proven for change in moved.values()) else UNPROVEN
        yield Cause(
            Kind.POPULATION, "predictions", evidence.onset(frozenset(moved)), SHIFT * agreement * weight,
            f"The values that the tables give have changed: {listed}.{_as_before(evidence.relation)}", REMEDY, frozenset(moved),
        )  # fmt: skip
    is_failing = any(alarm.labelled and not alarm.is_silent for alarm in evidence.alarms)
    if is_failing and not moved and not evidence.mismatches and evidence.relation is None:
        what = "No input has changed and all are served as computed: the relation of inputs and label may be another one."
        yield Cause(Kind.POPULATION, "outcomes", None, RELATION, what, REMEDY)


def _as_before(relation: Relation | None) -> str:
    if relation is None or relation.is_changed:
        return ""
    return f" Answers with the same output have the share of {relation.label} that they had in the evaluation."
