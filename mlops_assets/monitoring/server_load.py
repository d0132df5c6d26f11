"""What live servers did in a span of time, from samples of what each of their processes has counted since its start."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from typing import NamedTuple, Self

from mlops_assets.monitoring.server_samples import (
    ANSWER_S,
    CPU_S,
    LATENCY,
    PREDICTIONS,
    PROCESS_ANSWER_S,
    STATUS,
    Sample,
)  # fmt: skip
from mlops_assets.statistics.buckets import Buckets

FAILED = 500  # this status and those above are the server's own failures; refusals are from 400 on
HOUR_S = 3600


class Activity(NamedTuple):
    """What one process of a server counted between two moments."""

    server: str
    since: datetime
    until: datetime
    counted: dict[str, float]

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    @property
    def cpu_s(self) -> float:
        """Of a process of several use cases the part that its answers took of the time of all answers. nan where the system does
        not say.
        """
        all_s = self.counted.get(PROCESS_ANSWER_S, 0.0)
        return self.counted.get(CPU_S, math.nan) * (self.counted.get(ANSWER_S, 0.0) / all_s if all_s else 1.0)


@dataclass(frozen=True)
class Load:
    """The sum over processes, exact wherever they started and ended."""

    spans: Sequence[Activity]

    @classmethod
    def of(cls, samples: Sequence[Sample], since: datetime, until: datetime, *, reach: timedelta) -> Self:
        return cls([*activities(samples, since, until, reach=reach)])

    def of_server(self, server: str) -> "Load":
        return Load([span for span in self.spans if span.server == server])

    @property
    def servers(self) -> set[str]:
        return {span.server for span in self.spans}

    @cached_property
    def statuses(self) -> dict[int, float]:
        """The requests by HTTP status."""
        names = {name for span in self.spans for name in span.counted if name.startswith(STATUS)}
        return {int(name.removeprefix(STATUS)): self._sum(name) for name in sorted(names)}

    @property
    def requests(self) -> float:
        return sum(self.statuses.values())

    @property
    def failed(self) -> float:
        return sum(count for status, count in self.statuses.items() if status >= FAILED)

    @property
    def refused(self) -> float:
        return sum(count for status, count in self.statuses.items() if 400 <= status < FAILED)

    @property
    def predictions(self) -> float:
        return self._sum(PREDICTIONS)

    @cached_property
    def latency_s(self) -> Buckets:
        """By the edges that all processes have: those of another release may have others."""
        edges = [{name for name in span.counted if name.startswith(LATENCY)} for span in self.spans]
        common = set[str].intersection(*answered) if (answered := [one for one in edges if one]) else set[str]()
        return Buckets.of_counts({float(name.removeprefix(LATENCY)): self._sum(name) for name in common})

    @property
    def cpu_s(self) -> float:
        return sum(span.cpu_s for span in self.spans)

    @property
    def server_hours(self) -> float:
        return sum(span.seconds for span in self.spans) / HOUR_S

    @property
    def seconds(self) -> float:
        """From the first to the last moment of any process."""
        ends = [span.until for span in self.spans], [span.since for span in self.spans]
        return (max(ends[0]) - min(ends[1])).total_seconds() if self.spans else 0.0

    def _sum(self, counter: str) -> float:
        return sum(span.counted.get(counter, 0.0) for span in self.spans)


def activities(samples: Sequence[Sample], since: datetime, until: datetime, *, reach: timedelta) -> Iterator[Activity]:
    """What each process counted in the span. A process counts from 0 at its start, so that a restart loses only what was counted
    after the last sample of the process that ended. Where there is no sample at `since`, its span begins at the newest one of
    the `reach` before, or else at its first one.
    """
    counting = [(one.server, one.process, one) for one in samples if one.process is not None]
    for (server, process), group in groupby(sorted(counting, key=_process), key=_process):
        started, known = datetime.fromtimestamp(process, UTC), [one for _, _, one in group]
        points = [(started, dict[str, float]()), *((one.sampled_at, one.counters) for one in known)]
        points = [point for point in points if since - reach <= point[0] <= until]
        if len(points) < 2 or points[-1][0] <= since:
            continue
        first = next((point for point in reversed(points) if point[0] <= since), points[0])
        # A clock of the server that is ahead would have it start after its first sample.
        counted = {name: max(count - first[1].get(name, 0.0), 0.0) for name, count in points[-1][1].items()}
        yield Activity(server, first[0], points[-1][0], counted)


def _process(counting: tuple[str, float, Sample]) -> tuple[str, float]:
    return counting[:2]
