"""The calendar of each declared grain, and of the tables and views of a use case."""

from mlops_assets.foundation.calendars import ONE_MICROSECOND, Calendar, Days, Hours, Months, Partition, Weeks, WholeTable
from mlops_assets.spec import grain as declared
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.grain import Grain
from mlops_assets.spec.use_case import UseCase

CALENDARS: dict[type[Grain], type[Calendar]] = {
    declared.Hourly: Hours,
    declared.Daily: Days,
    declared.Weekly: Weeks,
    declared.Monthly: Months,
    declared.Snapshot: WholeTable,
}


def calendar_of(grain: Grain) -> Calendar:
    return CALENDARS[type(grain)](getattr(grain, "tz", "UTC"))


def table_calendar(use_case: UseCase, table: str) -> Calendar:
    return calendar_of(use_case.source(table).grain)


def calendars_of(use_case: UseCase) -> dict[str, Calendar]:
    """By table."""
    return {source.table: calendar_of(source.grain) for source in use_case.sources}


def view_calendar(use_case: UseCase, view: FeatureView) -> Calendar:
    """The finest one of its tables."""
    return min((table_calendar(use_case, table) for table in view.tables), key=lambda calendar: calendar.length)


def declared_partitions(use_case: UseCase, calendar: Calendar) -> tuple[Partition | None, Partition | None]:
    """The first and the last one that can land; None: any."""
    days, first, last = Days(calendar.tz), use_case.first_day, use_case.last_day
    return first and calendar.of(days.start(first)), last and calendar.of(days.end(last) - ONE_MICROSECOND)
