"""The runs that follow from delivered files: raw and validated tables, feature views and their online values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import ONE_MICROSECOND, Calendar, Partition
from mlops_assets.foundation.grains import declared_partitions, table_calendar, view_calendar
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

LONGEST = timedelta(days=31)  # of a partition
Keys = tuple[str, str] | None
Partitions = Mapping[str, Sequence[Partition]]  # by table


class Ingestion(NamedTuple):
    """One run: the assets that it makes, and the first and last key of their partitions; None of whole tables."""

    paths: tuple[names.AssetPath, ...]
    keys: Keys


def plan_ingestion(
    use_case: UseCase, delivered: Partitions, landed: Partitions, *, after: datetime | None, until: datetime
) -> list[Ingestion]:
    """The runs for the `delivered` files, in order; `landed` are all partitions by now. A view is made of the partitions that
    were complete after the one moment and by the other, where every due file has landed.
    """
    tables = _joined((keys, _table(use_case, table)) for table in delivered for keys in _table_keys(use_case, table, delivered))
    views = _joined(
        (keys, _view(use_case, view))
        for view in use_case.features.views
        for keys in _view_keys(use_case, view, delivered, landed, after=after, until=until)
    )
    if len(tables) == 1 and tables.keys() == views.keys():
        return [Ingestion((*tables[keys], *views[keys]), keys) for keys in tables]
    return [Ingestion(paths, keys) for runs in (tables, views) for keys, paths in runs.items()]


def _joined(parts: Iterable[tuple[Keys, Sequence[names.AssetPath]]]) -> dict[Keys, tuple[names.AssetPath, ...]]:
    joined: dict[Keys, tuple[names.AssetPath, ...]] = {}
    for keys, paths in parts:
        joined[keys] = (*joined.get(keys, ()), *paths)
    return joined


def _table(use_case: UseCase, table: str) -> list[names.AssetPath]:
    return [stage(use_case.name, table) for stage in (names.raw, names.validated, names.quarantine)]


def _view(use_case: UseCase, view: FeatureView) -> list[names.AssetPath]:
    return [stage(use_case.name, view.name) for stage in (names.feature, names.online)]


def _table_keys(use_case: UseCase, table: str, delivered: Partitions) -> Iterator[Keys]:
    """Of each unbroken range of delivered partitions; of a table without due files, of all tables of its calendar together."""
    calendar = table_calendar(use_case, table)
    if not calendar.cron:
        yield None
    elif use_case.is_due(table):
        yield from _ranges(delivered[table], calendar)
    else:
        together = [one for other in delivered if table_calendar(use_case, other) == calendar for one in delivered[other]]
        yield calendar.key(min(together)), calendar.key(max(together))


def _view_keys(
    use_case: UseCase, view: FeatureView, delivered: Partitions, landed: Partitions, *, after: datetime | None, until: datetime
) -> Iterator[Keys]:
    calendar = view_calendar(use_case, view)
    if not calendar.cron:
        yield from [None] if any(table in delivered for table in view.tables) else []
        return
    due = [table for table in view.tables if use_case.is_due(table) and table_calendar(use_case, table).cron]
    has_landed = {table: {*landed.get(table, ())} for table in due}

    def is_new(partition: Partition) -> bool:
        read = {table: _overlapping(partition, calendar, table_calendar(use_case, table)) for table in due}
        complete = max([calendar.end(partition), *(table_calendar(use_case, table).end(read[table][-1]) for table in due)])
        return (after is None or complete > after) and complete <= until and all(has_landed[one] >= {*read[one]} for one in due)

    yield from _ranges([*filter(is_new, _partitions(use_case, calendar, after, until))], calendar)


def _partitions(use_case: UseCase, calendar: Calendar, after: datetime | None, until: datetime) -> Iterator[Partition]:
    """Those that end by `until`, from one before `after` on: a table with longer partitions may have completed it later."""
    first, _last = declared_partitions(use_case, calendar)
    begin = first if after is None else max(first, calendar.of(after - LONGEST))
    while calendar.end(begin) <= until:
        yield begin
        begin = calendar.next(begin)


def _overlapping(partition: Partition, calendar: Calendar, other: Calendar) -> list[Partition]:
    """The partitions of the `other` calendar that share a moment with this one."""
    overlapping, last = [other.of(calendar.start(partition))], other.of(calendar.end(partition) - ONE_MICROSECOND)
    while overlapping[-1] != last:
        overlapping.append(other.next(overlapping[-1]))
    return overlapping


def _ranges(partitions: Sequence[Partition], calendar: Calendar) -> Iterator[tuple[str, str]]:
    """The first and last key of each unbroken range, in order."""
    first = before = None
    for partition in partitions:
        if before is not None and calendar.next(before) != partition:
            yield calendar.key(first), calendar.key(before)
            first = None
        first, before = partition if first is None else first, partition
    if before is not None:
        yield calendar.key(first), calendar.key(before)
