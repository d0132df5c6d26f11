"""Contracts: columns, keys, bounds and statistical expectations of a table."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Context, Decimal
from typing import Annotated, Literal

from pydantic import Field, WrapValidator

from mlops_assets.spec.column_type import COLUMN_TYPES, LEGAL_ON, DType, bound_text, parse_example
from mlops_assets.spec.spec import Name, Spec, Text

MAX_DIGITS = 38
# An int stays one, as not every int has a float.
Bound = Annotated[float, WrapValidator(lambda value, as_float: value if type(value) is int else as_float(value))]


class Column(Spec):
    """One column. `source` is its name in the files, where that is another one. `min` and `max` are inclusive; `datetime` is UTC;
    the whole value matches `pattern`, as Python's re reads it. Files write a bool as `yes` and `no`, in any case. A decimal has
    `precision` digits, `scale` of them after the point. The levels of a category are `allowed`, or else learned in training.
    Files of days before `since` may lack the column: its values are missing there. `renamed_from` is its name in older files
    and tables, which `mlops migrate` converts. `pii` marks personal data, and how the prediction log
    stores it: as a keyed hash, or not at all. `identifies` names the kind of subject, such as customer, whose rows `mlops
    forget` erases by this column, in every table, view and log.
    """

    name: Name
    dtype: DType
    description: Text
    source: str | None = Field(default=None, min_length=1)
    nullable: bool = False
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    precision: int | None = Field(default=None, ge=1, le=MAX_DIGITS)
    scale: int | None = Field(default=None, ge=0, le=MAX_DIGITS)
    min: Bound | None = None
    max: Bound | None = None
    allowed: tuple[str, ...] = ()
    pattern: str | None = None
    example: str | bool | int | float | None = None
    pii: Literal["hashed", "left_out"] | None = None
    identifies: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    since: date | None = None
    renamed_from: Text | None = None

    def holds_on(self, day: date | None) -> bool:
        """Whether a file of this day must have the column; None: a file of any day."""
        return self.since is None or (day is not None and day >= self.since)

    @property
    def header(self) -> str:
        """Its name in the files."""
        return self.source or self.name

    @property
    def sql(self) -> str:
        return COLUMN_TYPES[self.dtype].sql.format(precision=self.precision, scale=self.scale)

    def contradictions(self) -> Iterator[str]:
        if self.identifies and self.dtype not in ("string", "int"):
            found = f"{self.name!r} identifies a {self.identifies} and is a {self.dtype}; legal: string, int"
            yield f"identifies · {found}. Tag a column of exact values."
        for field, dtypes in LEGAL_ON.items():
            if getattr(self, field) not in (None, ()) and self.dtype not in dtypes:
                found = f"{self.name!r} is of type {self.dtype}; legal: {', '.join(dtypes)}"
                yield f"{field} · {found}. Leave it out, or change the type."
        if self.min is not None and self.max is not None and self.min > self.max:
            bounds = f"{bound_text(self.min)} to {bound_text(self.max)}"
            yield f"min to max is {bounds}; legal: min at most max. Swap or widen them."
        yield from self._word_problems()
        yield from self._digit_problems()
        problems = [*_pattern_problems(self.pattern)]
        yield from problems
        for value in self.allowed if self.pattern and not problems else ():
            if not re.fullmatch(self.pattern or "", value):
                yield f"allowed · {value!r} does not match the pattern {self.pattern!r}. Leave one of them out."
        if self.example is not None and not self._is_legal(self.example):
            found = f"{self.example!r} is no value of this column; legal: type {self.dtype}, within min, max and allowed"
            yield f"example · {found}. Correct it."

    def _word_problems(self) -> Iterator[str]:
        yes, no = ([word.lower() for word in words] for words in (self.yes, self.no))
        if bool(yes) != bool(no):
            yield f"yes and no · only {'yes' if yes else 'no'} is declared; legal: both or neither. Declare the other."
        for word in sorted({*yes} & {*no}):
            yield f"yes and no · {word!r} is in both; legal: in one. Remove it from the other."

    def _digit_problems(self) -> Iterator[str]:
        if self.dtype != "decimal":
            return
        if self.precision is None or self.scale is None:
            legal = "legal: such as precision=10, scale=2"
            yield f"precision and scale · {self.name!r} is a decimal without both; {legal}. Add them."
        elif self.scale > self.precision:
            yield f"scale is {self.scale}; legal: at most precision, which is {self.precision}. Lower it."

    def _is_legal(self, example: str | float) -> bool:
        value = parse_example(self.dtype, example)
        with suppress(ValueError):
            value = parse_decimal(str(value), self) if self.dtype == "decimal" else value
            is_within = not isinstance(value, int | float) or self.holds(value)
            return value is not None and is_within and (not self.allowed or value in self.allowed)
        return False

    @property
    def sample(self) -> str | float:
        """The example, or a legal value that stands for one. Text with a pattern cannot be made up: it is "text"."""
        kind = COLUMN_TYPES[self.dtype]
        bounds = [type(kind.sample)(bound) for bound in (self.min, self.max) if bound is not None]
        options = [self.example, *self.allowed, kind.sample, *bounds]
        return next((option for option in options if option is not None and self._is_legal(option)), kind.sample)

    def holds(self, number: float | Decimal) -> bool:
        """Whether the number is within the bounds. For a decimal 0.1 is that, and not the float next to it."""
        least, most = (
            Decimal(str(bound)) if isinstance(number, Decimal) and bound is not None else bound for bound in (self.min, self.max)
        )
        return (least is None or number >= least) and (most is None or number <= most)


def parse_decimal(text: str, column: Column) -> Decimal:
    """Raises ValueError for other forms, more digits than the column's, and values beyond its bounds."""
    precision, scale = column.precision or 0, column.scale or 0
    form = rf"[+-]?0*(?=\.?\d)\d{{0,{precision - scale}}}(\.\d{{0,{scale}}}0*)?"
    if not re.fullmatch(form, text, re.ASCII):
        raise ValueError(f"Expected a decimal number with {precision} digits, {scale} of them after the point")
    value = Decimal(text).quantize(Decimal(1).scaleb(-scale), context=Context(prec=MAX_DIGITS))
    if not column.holds(value):
        raise ValueError("Expected a value within the bounds")
    return value


def _pattern_problems(pattern: str | None) -> Iterator[str]:
    try:
        re.compile(pattern or "")
        re.compile(f"(?:{pattern or ''})")  # as a part of another, where flags such as (?i) are illegal
    except re.error as error:
        yield f"pattern · {pattern!r} is not a regular expression: {error}. Correct it."


class RowCountBand(Spec):
    """Rows of one partition (a day, or as the grain of the source), as a ratio to the median of the `partitions` before it. With
    `min_ratio=0` one may have no rows: a file with a header alone.
    """

    min_ratio: float = Field(default=0.5, ge=0)
    max_ratio: float = Field(default=2.0, gt=0)
    partitions: int = Field(default=28, ge=3)

    def contradictions(self) -> Iterator[str]:
        if self.min_ratio > self.max_ratio:
            found = f"min_ratio to max_ratio is {self.min_ratio:g} to {self.max_ratio:g}"
            yield f"{found}; legal: min_ratio at most max_ratio. Swap or widen them."


class MaxNullShare(Spec):
    """At most this share of the rows of one partition may miss `column`."""

    column: str
    share: float = Field(ge=0, le=1)


class MaxNovelShare(Spec):
    """At most this share of one partition's rows may have a `column` value that is new against the `partitions` before it."""

    column: str
    share: float = Field(ge=0, le=1)
    partitions: int = Field(default=28, ge=1)


# Columns that the platform adds to landed and quarantined rows.
RESERVED = ("day", "hour_start", "source_file", "source_line", "source_digest", "problem", "reasons")
Expectation = RowCountBand | MaxNullShare | MaxNovelShare


class Contract(Spec):
    """The contract of one table. `unique` identifies a row: the same key in a later partition is a newer version, which replaces
    it from then on; a history of values needs its date in the key. `day` names the datetime or date column that must be in the
    day of the file, or in its hour, week or month (None: any). `max_bad_share` is the share of the rows of a partition that may
    go to quarantine before it is refused as a whole. Files may still have `dropped` columns, which are ignored.
    """

    table: Name
    description: Text
    columns: tuple[Column, ...] = Field(min_length=1)
    unique: tuple[str, ...] = Field(min_length=1)
    day: str | None = None
    max_bad_share: float = Field(default=0.01, ge=0, lt=1)
    expectations: tuple[Expectation, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def contradictions(self) -> Iterator[str]:
        expected = [expectation.column for expectation in self.expectations if not isinstance(expectation, RowCountBand)]
        for name in [*self.unique, *filter(None, [self.day]), *expected]:
            if name not in self.names:
                yield f"column {name!r} is not in the contract; legal: {', '.join(self.names)}. Use one of these."
        for name in (name for name in self.names if name in RESERVED):
            yield f"column {name!r} is one that the platform adds ({', '.join(RESERVED)}). Rename yours."
        headers = [column.header for column in self.columns]
        for name in sorted({name for name in headers if headers.count(name) > max(1, self.names.count(name))}):
            yield f"source · {name!r} is the name of two columns in the files. Correct one."
        renamed = [column.renamed_from for column in self.columns if column.renamed_from]
        former, taken = [*self.dropped, *renamed], {*headers, *({*renamed} & {*self.names})}
        for name in (name for name in former if name in taken or former.count(name) > 1):
            yield f"former column {name!r} is a column of the contract, or declared twice in dropped and renamed_from. Keep one."
        moments = [column.name for column in self.columns if column.dtype in ("datetime", "date")]
        if self.day in self.names and self.day not in moments:
            found = f"{self.day!r} is of type {self.column(self.day).dtype}; datetimes and dates: {', '.join(moments) or 'none'}"
            yield f"day · {found}. Use one of these, or leave day out."
