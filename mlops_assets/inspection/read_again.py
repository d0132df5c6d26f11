"""What a contract does with rows of a file: those that it accepts, and those that go to quarantine."""

import polars as pl

from mlops_assets.foundation.calendars import WHOLE_TABLE, Days
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.ingestion.landed_values import typed
from mlops_assets.ingestion.validate import Split, split_rows
from mlops_assets.spec.use_case import UseCase


def read_again(use_case: UseCase, rows: pl.DataFrame) -> Split:
    """`rows` of the only table: text by the names of its columns. Each is in the partition of its day."""
    source, contract = use_case.sources[0], use_case.contracts[0]
    calendar, day = table_calendar(use_case, source.table), pl.lit(WHOLE_TABLE)
    if contract.day and isinstance(calendar, Days):
        day = calendar.first_days(typed(contract.column(contract.day), source.form).cast(pl.Date()))
    lines = rows.select(
        *contract.names,
        day=day,
        source_file=pl.lit("sample"),
        source_line=pl.int_range(pl.len()),
        problem=pl.lit(None, pl.String()),
    )
    return split_rows(lines, contract, source.form, calendar)
