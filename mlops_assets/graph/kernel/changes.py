"""The newest event of each use case: an event of one is no reason to evaluate the others again."""

from threading import Lock
from time import monotonic
from typing import NamedTuple

import dagster as dg

from mlops_assets.graph.kernel.dagster_internals import OVERLAP, newest_by_asset, newest_event_id

RECENT = 5000  # the events before the first look among which those of the last seconds are


class Change(NamedTuple):
    """The newest event of a use case, and when this process noticed it."""

    event: int
    noticed: float


class Changes:
    """Of one event log, read once by all sensors of this process."""

    def __init__(self) -> None:
        self._lock, self._read = Lock(), -1
        self._of_all, self._of_one = Change(0, 0.0), dict[str, Change]()

    def read(self, instance: dg.DagsterInstance) -> None:
        """One query where there is no new event."""
        with self._lock:
            newest, now = newest_event_id(instance) or 0, monotonic()
            if not 0 <= self._read <= newest:  # at first, and once the log was wiped: any use case may have changed
                self._read = max(0, newest - RECENT)
                self._of_all, self._of_one = Change(self._read, 0.0), {}
            if newest != self._read:
                for key, event in newest_by_asset(instance, max(0, self._read - OVERLAP)):
                    self._add(key, Change(event, now))
            self._read = newest

    def newest(self, use_case: str) -> Change:
        return max(self._of_all, self._of_one.get(use_case, self._of_all))

    def _add(self, key: dg.AssetKey | None, change: Change) -> None:
        if key is None:
            self._of_all = change if change.event > self._of_all.event else self._of_all
        elif change.event > self._of_one.get(key.path[0], Change(0, 0.0)).event:
            self._of_one[key.path[0]] = change


_CHANGES: dict[str, Changes] = {}  # by instance


def read_changes(instance: dg.DagsterInstance) -> Changes:
    changes = _CHANGES.setdefault(instance.root_directory, Changes())
    changes.read(instance)
    return changes
