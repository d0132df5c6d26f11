"""Which partitions of a parent each partition of an asset reads, and the newest of their events: in one pass over all of them.

Dagster maps one partition in 1 ms: a tick of 9,000 hours with 8 parents took a minute.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from math import inf
from typing import Any, NamedTuple

import dagster as dg

from mlops_assets.graph.kernel.dagster_internals import At
from mlops_assets.graph.kernel.dagster_partitions import known_partitions

Range = tuple[int, int]


class Newest(NamedTuple):
    """The newest event of some partitions with the run that wrote it, and the newest one of any other run; 0 without one."""

    event: int = 0
    run: str = ""
    of_others: int = 0

    def but_of(self, run: str) -> int:
        """The newest event that another run wrote."""
        return self.of_others if run == self.run else self.event

    def join(self, other: "Newest") -> "Newest":
        older, newer = sorted((self, other))
        return Newest(newer.event, newer.run, max(newer.of_others, older.but_of(newer.run)))


NOTHING = Newest()


def newest_reads(
    definitions: tuple[Any, Any], mapping: dg.PartitionMapping, events: Mapping[At, int], run_of: Mapping[int, str]
) -> Callable[[At], Newest]:
    """Of each partition of an asset, the newest event of all that it reads of one parent. `definitions` are those of the asset
    and of its parent, None without partitions.
    """
    own, parent = definitions
    if own == parent and not getattr(mapping, "start_offset", 0):
        return lambda at: Newest(event, run_of[event]) if (event := events.get(at)) else NOTHING
    every = {at: Newest(event, run_of[event]) for at, event in events.items()}
    if own is None or parent is None:
        whole = reduce(Newest.join, every.values(), NOTHING)
        return lambda _at: whole
    places, keys = read_ranges(own, parent, mapping)
    ordered = [every.get(key, NOTHING) for key in keys]
    read = dict(zip(places, sliding(ordered, list(places.values())), strict=True))
    return lambda at: read.get(str(at), NOTHING)


def read_ranges(own: Any, parent: Any, mapping: Any) -> tuple[dict[str, Range], Sequence[str]]:
    """By partition, where those that it reads begin and end among the partitions of the parent, which follow."""
    known, read, offset = known_partitions(own), known_partitions(parent), mapping.start_offset
    starts = [*[-inf] * -offset, *known.starts] if offset else known.starts
    ranges = (
        (bisect_right(read.ends, start), bisect_left(read.starts, end)) for start, end in zip(starts, known.ends, strict=False)
    )
    return dict(zip(known.keys, ranges, strict=True)), read.keys


def sliding(values: Sequence[Newest], ranges: Iterable[Range]) -> Iterator[Newest]:
    """The join of each range, neither of whose ends ever goes back. Two stacks make a queue whose join is always known."""
    leaving, entered, begin, end = list[Newest](), NOTHING, 0, 0  # `leaving` has the joins up to the end of the older part
    middle = 0
    for first, last in ranges:
        for at in range(max(end, first), last):
            entered = entered.join(values[at])
        end, begin = max(end, last), max(begin, first)
        if begin >= middle and begin < end:  # the older part is used up
            leaving, entered, middle = [NOTHING], NOTHING, end
            for at in range(end - 1, begin - 1, -1):
                leaving.append(leaving[-1].join(values[at]))
        yield leaving[middle - begin].join(entered) if begin < end else NOTHING
