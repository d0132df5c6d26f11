"""How Dagster counts the partitions of a calendar: each partition is computed once in a process, instead of at every call.

tests/graph/kernel/test_dagster_partitions.py fails when an upgrade of Dagster changes what this builds on.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from threading import Lock
from typing import Any

import dagster as dg

CHUNK, MAX_PARTITIONS = 1000, 200_000  # 23 years of hours, in 40 MB
Definition = Any  # of time windows
_DEFINITION: Any = dg.TimeWindowPartitionsDefinition
_ITERATE, _ITERATE_BACKWARDS = _DEFINITION._iterate_time_windows, _DEFINITION._reverse_iterate_time_windows
_KEYS_IN, _WINDOWS_OF = (  # without the caches
    method.__wrapped__ for method in (_DEFINITION.get_partition_keys_in_time_window, _DEFINITION.time_windows_for_partition_keys)
)


class Partitions:
    """Those of one definition from its start, as far as anything has asked for them, and further than its end or today."""

    def __init__(self, definition: Definition) -> None:
        self._lock, self._rest = Lock(), iter(_ITERATE(definition, definition.start_timestamp, ignore_exclusions=True))
        self._key = partial(_key_of, definition)
        self.windows, self.keys, self.places = list[dg.TimeWindow](), list[str](), dict[str, int]()
        self.starts, self.ends = list[float](), list[float]()

    def reach(self, timestamp: float) -> bool:
        """Whether a window that starts at or after the time is known. Not where it is too far away."""
        with self._lock:
            while not self.starts or self.starts[-1] < timestamp:
                if len(self.starts) >= MAX_PARTITIONS:
                    return False
                self._extend()
        return True

    def _extend(self) -> None:
        windows = [*islice(self._rest, CHUNK)]
        keys = [*map(self._key, windows)]
        self.places.update({key: at for at, key in enumerate(keys, start=len(self.keys))})
        self.windows += windows
        self.keys += keys
        self.ends += [window.end.timestamp() for window in windows]
        self.starts += [window.start.timestamp() for window in windows]

    def from_(self, timestamp: float) -> Iterator[dg.TimeWindow]:
        at = bisect_left(self.starts, timestamp)
        while True:
            if at == len(self.windows) and not self.reach(self.ends[-1]):
                return
            yield self.windows[at]
            at += 1

    def before(self, timestamp: float) -> Iterator[dg.TimeWindow]:
        yield from reversed(self.windows[: bisect_right(self.ends, timestamp)])


@cache
def remember_partitions() -> None:
    """A set of the hours of a year takes 10 ms instead of 500, and their keys take 1 ms instead of 150.

    Dagster also caches the keys of a window by its local times, and those of an hour that the clock shows twice are equal: a run
    over both hours would write one of them, and lose the other.
    """
    replaced: dict[Any, dict[str, Any]] = {
        _DEFINITION: {
            "_iterate_time_windows": _iterate,
            "_reverse_iterate_time_windows": _iterate_backwards,
            "get_partition_keys_in_time_window": _keys_in,
            "time_windows_for_partition_keys": _windows_of,
        },
        _subset_class(): {"with_partition_keys": _with_keys},
    }
    for owner, methods in replaced.items():
        for name, method in methods.items():
            setattr(owner, name, method)


def _subset_class() -> Any:
    from dagster._core.definitions.partitions.subset.time_window import TimeWindowPartitionsSubset

    return TimeWindowPartitionsSubset


def _key_of(definition: Definition, window: dg.TimeWindow) -> str:
    from dagster._time import dst_safe_strftime

    return dst_safe_strftime(window.start, definition.timezone, definition.fmt, definition.cron_schedule)


_OF: dict[tuple[Any, ...], Partitions] = {}


def _partitions_of(definition: Definition, timestamp: float) -> Partitions | None:
    """None where Dagster's own functions are needed."""
    if definition.exclusions or timestamp < definition.start_timestamp:
        return None
    place = definition.start_timestamp, definition.timezone, definition.cron_schedule, definition.fmt
    known = _OF.get(place) or _OF.setdefault(place, Partitions(definition))
    return known if known.reach(timestamp) else None


def known_partitions(definition: Definition) -> Partitions:
    """At least those up to now, or up to the declared end."""
    last = definition.get_last_partition_window()
    known = _partitions_of(definition, last.end.timestamp() if last else definition.start_timestamp)
    if known is None:
        raise NotImplementedError(f"{definition} · more than {MAX_PARTITIONS:,} partitions, or some are left out.")
    return known


def _iterate(definition: Definition, start_timestamp: float, ignore_exclusions: bool = False) -> Iterator[dg.TimeWindow]:
    known, after = _partitions_of(definition, start_timestamp), start_timestamp
    if known:
        for window in known.from_(start_timestamp):
            yield window
            after = window.end.timestamp()
    yield from _ITERATE(definition, after, ignore_exclusions)


def _iterate_backwards(definition: Definition, end_timestamp: float, ignore_exclusions: bool = False) -> Iterator[dg.TimeWindow]:
    known, before = _partitions_of(definition, end_timestamp), end_timestamp
    if known:
        for window in known.before(end_timestamp):
            yield window
            before = window.start.timestamp()
    yield from _ITERATE_BACKWARDS(definition, before, ignore_exclusions)


def _keys_in(definition: Definition, time_window: Any) -> Sequence[str]:
    start, end = time_window.start.timestamp(), time_window.end.timestamp()
    known = _partitions_of(definition, start)
    if known and known.reach(end):
        return known.keys[bisect_left(known.starts, start) : bisect_left(known.starts, end)]
    return _KEYS_IN(definition, time_window)


def _windows_of(definition: Definition, partition_keys: frozenset[str], validate: bool = True) -> Sequence[dg.TimeWindow]:
    last = definition.get_last_partition_window()
    known = _partitions_of(definition, definition.start_timestamp) if last else None
    if not known or not known.reach(last.end.timestamp()) or not partition_keys <= known.places.keys():
        return _WINDOWS_OF(definition, partition_keys, validate)
    places = sorted(known.places[key] for key in partition_keys)
    end = last.end.timestamp()
    return [known.windows[at] for at in places if not validate or known.ends[at] <= end]


def _with_keys(subset: Any, partition_keys: Iterable[str], validate: bool = True) -> Any:
    """Windows that touch become one first: Dagster goes through all windows that there are, for each key."""
    joined = list[dg.TimeWindow]()
    for window in subset.partitions_def.time_windows_for_partition_keys(frozenset(partition_keys), validate=validate):
        if joined and joined[-1].end.timestamp() == window.start.timestamp():
            joined[-1] = dg.TimeWindow(joined[-1].start, window.end)
        else:
            joined.append(window)
    return subset | type(subset)(subset.partitions_def, None, joined)
