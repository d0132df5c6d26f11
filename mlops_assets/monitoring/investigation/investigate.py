"""From the evidence about an alarm to its ranked causes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mlops_assets.monitoring.investigation import (
    columns,
    counts,
    partitions,
    population,
    relation,
    segments,
    skew,
    staleness,
    transforms,
)
from mlops_assets.monitoring.investigation.cause import LIKELY, Cause, rank
from mlops_assets.monitoring.investigation.evidence import Evidence

FINDERS: tuple[Callable[[Evidence], Iterator[Cause]], ...] = tuple(
    module.find_causes for module in (partitions, columns, transforms, staleness, skew, segments, relation, population, counts)
)
NOTHING = "Nothing to investigate: no monitor is in alarm."


class Investigation(NamedTuple):
    """`causes`, the most probable first, of the alarms of `monitors`."""

    monitors: tuple[str, ...]
    causes: tuple[Cause, ...]

    @property
    def sentence(self) -> str:
        if not self.monitors:
            return NOTHING
        if not self.causes or self.causes[0].confidence < LIKELY:
            weak = f" The least improbable one: {self.causes[0].sentence}" if self.causes else ""
            return f"No cause stands out.{weak}"
        return f"{self.causes[0].sentence[0].upper()}{self.causes[0].sentence[1:]}"

    @property
    def brief(self) -> str:
        """One line for an alert and for `mlops status`."""
        if not self.causes or self.causes[0].confidence < LIKELY:
            return "No cause stands out; the page of the asset investigation has what was tried."
        return f"Cause, {self.causes[0].brief} Evidence and remedy: the page of the asset investigation."


def investigate(evidence: Evidence) -> Investigation:
    causes = rank([cause for find in FINDERS for cause in find(evidence)])
    return Investigation(tuple(alarm.monitor for alarm in evidence.alarms), tuple(causes))
