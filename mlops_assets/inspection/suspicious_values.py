"""Values that mean another one: numbers for a missing value or for a moment, and several spellings of one text."""

from collections.abc import Iterator

import polars as pl

from mlops_assets.inspection.finding import Finding, share
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.inspection.sentinels import find_sentinels
from mlops_assets.inspection.spellings import find_spellings
from mlops_assets.inspection.unix_times import describe_unix_times
from mlops_assets.spec.column_type import TEXTS


def find_stand_ins(data: Inspected) -> Iterator[Finding]:
    """Numbers such as -999 in an input."""
    for name in data.use_case.features.numeric:
        values = data.rows[name]
        for one in find_sentinels(values) if values.dtype.is_numeric() else ():
            measured, number = share(values == one.number), f"{one.number:.0f}"
            found = f"`{name}` is {number} in {measured:.1%} of the rows, and {one.low:g} to {one.high:g} in the others"
            advice = f"If it means a missing value, deliver an empty one, or add '{number}' to `missing` of the form."
            yield Finding("stand-in", name, measured, 0, found, advice)


def find_unix_times(data: Inspected) -> Iterator[Finding]:
    for column in (column for column in data.columns() if column.dtype == "int"):
        if sentence := describe_unix_times(column.name, data.requests[column.name]):
            found, _, advice = sentence.partition(". ")
            yield Finding("unix time", column.name, 1, 0, f"`{column.name}`: {found}", f"{advice}.")


def find_spelled_twice(data: Inspected) -> Iterator[Finding]:
    """In the inputs, the keys and the label."""
    texts = {column.name: data.requests[column.name] for column in data.columns() if column.dtype in TEXTS}
    texts |= {data.label: data.rows[data.label]} if data.rows[data.label].dtype == pl.String() else {}
    for name, values in texts.items():
        spellings = find_spellings(values.drop_nulls().unique(maintain_order=True))
        if clause := spellings.describe():
            advice = "Deliver one spelling, without blanks at the ends."
            yield Finding("spelling", name, len(spellings.pairs), 0, f"`{name}`: {clause}", advice)
