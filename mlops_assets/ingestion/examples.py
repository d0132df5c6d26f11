"""The example deliveries that a use case declares."""

from datetime import date, timedelta
from importlib import import_module
from typing import NamedTuple

from mlops_assets.foundation.grains import table_calendar
from mlops_assets.ingestion.delivery import complete
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.use_case import UseCase

TRAINED_SHARE = 1  # days to train on for every day of validation and test


class Landed(NamedTuple):
    files: int
    changed: int


def land_example(use_case: UseCase, landing: Landing, first: date, last: date) -> Landed:
    """Writes the deliveries of these days, both included; a file with the same content is left untouched."""
    module, _, function = use_case.example.partition(":")
    changed = [
        landing.put(use_case.name, file.table, day=file.partition, rows=file.rows, calendar=table_calendar(use_case, file.table))
        for file in getattr(import_module(module), function)(first, last)
    ]
    complete(landing.root, use_case.name)
    return Landed(len(changed), sum(changed))


def example_days(use_case: UseCase) -> tuple[date, date]:
    """Enough days for the declared split, from the first declared day; of a use case without days any day."""
    first, split = use_case.first_day or date.min, use_case.split
    if use_case.first_day is None or not isinstance(split, TimeSplit):
        return first, use_case.last_day or first
    held_out = split.test + split.validation + 3 * split.label_delay
    last = first + (1 + TRAINED_SHARE) * held_out + timedelta(days=1)
    return first, min(last, use_case.last_day or last)
