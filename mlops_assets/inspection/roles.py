"""Which column is the label, which one the time of a row, and which ones identify it."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from mlops_assets.inspection.columns import InspectedColumn
from mlops_assets.inspection.formats import converted
from mlops_assets.inspection.table_file import NoTable, TableFile, read_column
from mlops_assets.spec.form import Form

LABEL_WORDS = (
    "label", "target", "class", "klasse", "outcome", "y", "churn", "churned", "default", "defaulted", "fraud", "survived",
    "diagnosis", "species", "response", "sold", "ziel", "cancelled", "canceled", "gekündigt", "sentiment", "spam", "late",
    "approved", "attrition", "exited",
)  # fmt: skip
TIME_WORDS = (
    "time", "timestamp", "datetime", "date", "datum", "zeit", "zeitpunkt", "day", "tag", "at", "on", "am", "ts", "when",
    "created",    "hour", "month", "week", "fecha", "data", "jour", "heure",
)  # fmt: skip
NO_TIME = re.compile(r"birth|dob|geburt|geboren|expir|valid|due|end|until|bis\b|closed|deliver|return")
MAX_MADE_KEY = 2  # columns: a number for each row is better than more
MIN_DAYS = 5  # of a table with a time
MAX_CLASSES = 50


@dataclass(frozen=True)
class Choice:
    """The likeliest first. `is_sure`: nothing speaks for another one."""

    candidates: tuple[InspectedColumn, ...]
    is_sure: bool


@dataclass(frozen=True)
class Key:
    """`repeated`: how many rows have the key of an earlier one. `is_made`: of values, as no column is an identifier."""

    columns: tuple[InspectedColumn, ...]
    repeated: int
    is_made: bool = False


def find_column(columns: Sequence[InspectedColumn], wish: str, option: str) -> InspectedColumn:
    """By its header or its name, in any case. Raises NoTable."""
    for column in columns:
        if wish in (column.header, column.name):
            return column
    if same := [one for one in columns if wish.casefold() in (one.header.casefold().strip(), one.name)]:
        return same[0]
    headers = [column.header for column in columns]
    near = difflib.get_close_matches(wish, [*headers, *(column.name for column in columns)], n=1)
    hint = f" Is it {near[0]!r}?" if near else ""
    raise NoTable(f"{option} · {wish!r} is no column of the file; columns: {', '.join(headers)}.{hint}")


def label_choice(columns: Sequence[InspectedColumn]) -> Choice:
    """By the words of its name; of several, and of none, the last one is the likeliest."""
    possible = [
        column
        for column in columns
        if column.kind == "value"
        and not column.personal
        and column.dtype not in ("date", "datetime")
        and _has_few_classes(column)
    ]
    named = [column for column in possible if {*_words(column)} & {*LABEL_WORDS} or _words(column)[:1] == ["is"]]
    ordered = [*reversed(named), *(column for column in reversed(possible) if column not in named)]
    return Choice(tuple(ordered), len(named) == 1 or len(possible) == 1)


def _has_few_classes(column: InspectedColumn) -> bool:
    return column.dtype != "string" or len(column.levels) <= MAX_CLASSES


def time_choice(columns: Sequence[InspectedColumn]) -> Choice:
    """A moment or a day that every row has; a day of birth is none."""
    possible = [
        column
        for column in columns
        if column.dtype in ("date", "datetime")
        and not column.missing
        and not NO_TIME.search(column.name)
        and days(column) >= MIN_DAYS
    ]
    named = [column for column in possible if {*_words(column)} & {*TIME_WORDS}]
    return Choice(tuple([*named, *(column for column in possible if column not in named)]), len(possible) < 2 or len(named) == 1)


def days(column: InspectedColumn) -> int:
    return column.values.drop_nulls().cast(pl.Date()).n_unique()


class Period(NamedTuple):
    """Of `rows`, which happen on so many different `days`."""

    first: date
    last: date
    days: int
    rows: int

    @property
    def span(self) -> timedelta:
        return self.last - self.first + timedelta(days=1)


def find_period(table: TableFile, time: InspectedColumn, form: Form) -> Period:
    """Of all rows of the file, also of those that were not inspected."""
    parts = [time.values] if table.is_whole else (converted(part, time.dtype, form) for part in read_column(table, time.place))
    days, rows = set[date](), 0
    for part in parts:
        days |= {*part.drop_nulls().cast(pl.Date()).unique()}
        rows += len(part)
    return Period(min(days), max(days), len(days), rows)


def find_key(columns: Sequence[InspectedColumn], time: InspectedColumn | None, *, with_measured: bool = False) -> Key | None:
    """The columns that identify a row: an identifier, the time, one with the other, or else two values that do, which are equal
    by chance where they are measured. `columns` are without the label.
    """
    whole = [column for column in columns if not column.missing and not column.personal and column.kind != "empty"]
    identifiers = [column for column in whole if column.kind == "identifier"]
    for column in (*identifiers, *filter(None, [time])):
        if column.is_unique:
            return Key((column,), 0)
    others = [column for column in whole if column.dtype in ("int", "string", "bool") and column.kind != "constant"]
    if time:
        for column in others:
            if not (repeated := count_repeated((column, time))):
                return Key((column, time), repeated)
    values = (one for one in whole if one.kind != "free text" and (with_measured or one.dtype != "float"))
    made = _fewest(sorted(values, key=lambda one: -one.values.n_unique()))
    return made if made.columns and not made.repeated else None


def _fewest(columns: Sequence[InspectedColumn]) -> Key:
    """Columns are added, those with most values first, until they tell all rows apart."""
    key = tuple[InspectedColumn, ...]()
    repeated = len(columns[0].values) if columns else 0
    for column in columns:
        if (left := count_repeated((*key, column))) < repeated:
            key, repeated = (*key, column), left
        if not repeated or len(key) == MAX_MADE_KEY:
            break
    return Key(key, repeated, is_made=True)


def count_repeated(columns: Sequence[InspectedColumn]) -> int:
    rows = pl.DataFrame([column.values.alias(column.name) for column in columns])
    return rows.height - rows.n_unique()


def _words(column: InspectedColumn) -> list[str]:
    return [*column.name.split("_"), *re.findall(r"\w+", column.header.lower())]
