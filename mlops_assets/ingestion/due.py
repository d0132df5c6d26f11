"""Partitions whose file is due and has not landed."""

from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import pairwise

from mlops_assets.foundation.calendars import Calendar, Partition
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase


def missing_partitions(use_case: UseCase, source: Files, landed: Collection[str], *, now: datetime) -> list[str]:
    """The keys of those without a file, in order, that ended longer than the declared `freshness.raw` ago: between the first and
    the newest of the `landed` ones, and later ones too where the deliveries have no declared last day.
    """
    calendar = calendar_of(source.grain)
    if source.only_when_changed or not calendar.cron or not landed:
        return []
    due = calendar.of(now - use_case.freshness.raw)  # the first one that is not
    there = sorted(map(calendar.parse, landed))
    missing = [one for before, after in pairwise(there) for one in _between(calendar, before, min(after, due))]
    if use_case.last_day is None:
        missing += _between(calendar, there[-1], due)
    return [*map(calendar.key, missing)]


def _between(calendar: Calendar, before: Partition, after: Partition) -> Iterator[Partition]:
    while (before := calendar.next(before)) < after:
        yield before
