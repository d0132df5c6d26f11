"""Broken or late partitions: files that did not land, landed late, failed their checks, or have too few rows."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from statistics import median
from typing import NamedTuple

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.wording import counted
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Delivery, Evidence

MISSING, REFUSED, LATE, SHORT, DIRTY = 0.9, 0.9, 0.85, 0.8, 0.7
# The weight of a fault that the alarm does not read, or that is of another time, or does not begin with it.
ELSEWHERE, ANOTHER_TIME, NOT_NEAR = 0.2, 0.3, 0.7
MIN_SHARE, MAX_QUARANTINED = 0.6, 0.05  # of the usual rows; of the rows
LAND = "Have the file delivered again, or accept it: `mlops waive {use_case} {table} {key} --why …`."


class Fault(NamedTuple):
    delivery: Delivery
    what: str
    weight: float
    shows_at: datetime  # when readers of the table notice


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    by_table = sorted(evidence.deliveries, key=lambda one: (one.table, one.start))
    for table, deliveries in groupby(by_table, key=lambda one: one.table):
        faults = [(_relevance(evidence, fault), fault) for fault in _faults(evidence, table, [*deliveries])]
        if faults:
            weight, worst = max(faults, key=lambda one: one[0] * one[1].weight)  # the first of the most relevant ones
            yield _cause(evidence, table, worst, weight, others=len(faults) - 1)


def _cause(evidence: Evidence, table: str, fault: Fault, weight: float, *, others: int) -> Cause:
    key, use_case = fault.delivery.key, evidence.use_case.name
    return Cause(
        Kind.PARTITION,
        f"{names.landing(use_case, table)[-1]} {key}",
        fault.delivery.start,
        fault.weight * weight,
        f"{fault.what}{f'; so have {others} other partitions a fault' if others else ''}.",
        LAND.format(use_case=use_case, table=table, key=key),
        evidence.readers(table),
    )


def _faults(evidence: Evidence, table: str, deliveries: Sequence[Delivery]) -> Iterator[Fault]:
    usual_rows = median([one.rows for one in deliveries if one.landed_at] or [0])
    usual, most = _delays(evidence.use_case.freshness.raw, deliveries)
    for one in deliveries:
        delay = (one.landed_at or evidence.now) - one.end
        if one.landed_at is None:
            yield Fault(one, f"No file has landed for {one.key}", MISSING, one.end)
        elif one.failed:
            yield Fault(one, f"{one.key} failed its checks: {one.failed.rstrip('.')}", REFUSED, one.end)
        elif delay > most:
            late = f"{one.key} landed {in_words(_rounded(delay))} after its end, usually {in_words(_rounded(usual))}"
            yield Fault(one, late, LATE, one.end)
        elif one.rows < MIN_SHARE * usual_rows:
            yield Fault(one, f"{one.key} has {counted(one.rows, 'row')}, usually {usual_rows:,.0f}", SHORT, one.landed_at)
        elif one.quarantined > MAX_QUARANTINED * (one.rows + one.quarantined):
            yield Fault(one, f"{one.quarantined:,} of the rows of {one.key} are quarantined", DIRTY, one.landed_at)


def _delays(freshness: timedelta, deliveries: Sequence[Delivery]) -> tuple[timedelta, timedelta]:
    """The usual one, and above which one a file is late. A history that landed at once has all delays there are."""
    delays = [(one.landed_at - one.end).total_seconds() for one in deliveries if one.landed_at]
    usual = median(delays or [0.0])
    spread = median([abs(delay - usual) for delay in delays] or [0.0])
    return timedelta(seconds=usual), timedelta(seconds=usual) + max(freshness, timedelta(seconds=5 * spread))


def _relevance(evidence: Evidence, fault: Fault) -> float:
    """From 0 to 1: whether what alarms reads the table, and whether it began when the fault showed."""
    table, length = fault.delivery.table, fault.delivery.end - fault.delivery.start
    inputs = evidence.readers(table) & evidence.affected
    is_read = bool(inputs) or (evidence.is_about_labels and table == evidence.use_case.label.table)
    lineage = 1.0 if is_read else ELSEWHERE
    if fault.shows_at <= evidence.start:
        return lineage * ANOTHER_TIME
    onset, lasts = evidence.onset(inputs), fault.delivery.landed_at is None or bool(fault.delivery.failed)
    is_near = lasts or onset is None or abs(onset - fault.shows_at) <= 2 * length
    return lineage * (1.0 if is_near else NOT_NEAR)


def _rounded(delay: timedelta) -> timedelta:
    return timedelta(hours=round(delay / timedelta(hours=1)))
