"""What each column of a file is: its type, how its values are written, and whether a model can learn from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import polars as pl

from mlops_assets.ingestion.landed_values import FINER_THAN_MICROSECONDS, landed_text, typed
from mlops_assets.inspection.column_names import column_names
from mlops_assets.inspection.column_types import INTEGER, NEARLY, find_type
from mlops_assets.inspection.formats import share_matching
from mlops_assets.inspection.personal_data import personal_data
from mlops_assets.inspection.spellings import find_spellings
from mlops_assets.inspection.table_file import TableFile
from mlops_assets.inspection.unix_times import describe_unix_times
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.form import Form

Kind = Literal["value", "empty", "constant", "identifier", "free text", "many levels"]
ID_WORDS = re.compile(
    r"(?<![^\W_])(id|ids|uuid|guid|nr|no|num|number|nummer|key|code|index|idx|row|zeile|kennung|ref|rownames)(?![^\W_])|_?id$|^$"
)
ALL_EXACT = 2**53  # beyond it, a model's floats mix numbers up
MOSTLY_DISTINCT = 0.95
MAX_LEVELS = 500  # that a model can learn from
FEW = 20  # rows or values, by which nothing is known of the others
SAMPLE = 1000  # values
MAX_SHOWN = 3
FREE_TEXT_CHARACTERS = 25  # on average
NUMBER = r"^[+-]?[\d.,]+$"
DAY_LIKE = r"^\D{0,9}\d{1,4}[-./ ]\w{1,9}[-./ ,]+\d{2,4}"
ISO_MOMENT = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d"
UNIT = r"^\s*([€$£]\s*)?[+-]?\d[\d.,]*\s*(%|€|\$|£|[a-zA-Z]{1,4})?\s*$"


@dataclass(frozen=True)
class InspectedColumn:
    """`place` in the file, the first is 0. `values` are typed, with nulls. `levels`: the values of a text or whole-number column
    with their counts, the most frequent first. `remarks`: a sentence each, of what a person should know.
    """

    place: int
    header: str
    name: str
    dtype: DType
    kind: Kind
    values: pl.Series
    levels: Mapping[Any, int] = field(default_factory=dict[Any, int])
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    digits: tuple[int, int] | None = None  # precision and scale of a decimal
    personal: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        return self.values.null_count()

    @property
    def is_unique(self) -> bool:
        return not self.missing and self.values.n_unique() == len(self.values)

    @property
    def shown(self) -> str:
        return self.name if self.name == self.header else f"{self.name} ({self.header!r} in the file)"


def inspect_columns(table: TableFile, form: Form) -> tuple[InspectedColumn, ...]:
    """One for each column, in the order of the file. `form` has the formats of its values."""
    headers = table.distinct_headers
    names = column_names(headers)
    return tuple(
        _inspect(place, header, name, table.rows[f"c{place}"], form)
        for place, (header, name) in enumerate(zip(headers, names, strict=True))
    )


def _inspect(place: int, header: str, name: str, text: pl.Series, form: Form) -> InspectedColumn:
    as_text = Column(name="value", dtype="string", description=".")
    landed = pl.DataFrame({"value": text}).select(landed_text(as_text, form)).to_series()
    words = landed.drop_nulls().unique(maintain_order=True)
    dtype, fields = find_type(words, landed.drop_nulls(), form)
    column = as_text.but(dtype=dtype, **fields)
    values = pl.DataFrame({"value": text}).select(typed(column, form)).to_series()
    remarks = [*_describe_faults(landed, values, dtype), *_describe_text(words, dtype, form)]
    remarks += [moments] if (moments := describe_unix_times(name, values)) else []
    remarks += [_describe_words(column)] if len(column.yes) + len(column.no) > 2 else []
    kind = _kind(header, values, dtype)
    counts = values.drop_nulls().value_counts(sort=True).head(MAX_LEVELS) if dtype in ("string", "int", "bool") else None
    digits = (column.precision or 0, column.scale or 0) if dtype == "decimal" else None
    personal = personal_data(header, words) if dtype not in ("bool", "float", "decimal") else ""
    return InspectedColumn(
        place, header, name, dtype, kind, values, dict(counts.rows()) if counts is not None else {}, column.yes, column.no,
        digits, personal, tuple(remarks),
    )  # fmt: skip


def _kind(header: str, values: pl.Series, dtype: DType) -> Kind:
    known = values.drop_nulls()
    if known.n_unique() < 2:
        return "constant" if len(known) else "empty"
    if dtype == "int":
        return _kind_of_numbers(header, known)
    return _kind_of_texts(known) if dtype == "string" else "value"


def _kind_of_numbers(header: str, numbers: pl.Series) -> Kind:
    lowest, highest = extent(numbers)
    distinct, is_sample = numbers.n_unique(), len(numbers) > FEW
    is_counted = distinct == len(numbers) == highest - lowest + 1
    is_named = bool(ID_WORDS.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", header).lower()))
    is_ascending = distinct == len(numbers) and numbers.is_sorted()
    is_id = is_sample and (is_counted or is_ascending or (is_named and distinct >= MOSTLY_DISTINCT * len(numbers)))
    return "identifier" if is_id or max(-lowest, highest) > ALL_EXACT else "value"


def _kind_of_texts(texts: pl.Series) -> Kind:
    distinct, some = texts.n_unique(), texts.head(SAMPLE)
    is_prose = some.str.len_chars().sum() > FREE_TEXT_CHARACTERS * len(some) and share_matching(some, r"\S\s+\S") > 0.8
    if is_prose and distinct > FEW:
        return "free text"
    if len(texts) > FEW and distinct >= MOSTLY_DISTINCT * len(texts):
        return "identifier"
    return "many levels" if distinct > MAX_LEVELS or (distinct > 50 and distinct > len(texts) / 4) else "value"


def extent(numbers: pl.Series) -> tuple[Any, Any]:
    """The lowest and the highest value."""
    return cast(Any, numbers.min()), cast(Any, numbers.max())


def _describe_faults(landed: pl.Series, values: pl.Series, dtype: DType) -> list[str]:
    faulty = landed.filter(landed.is_not_null() & values.is_null())
    if faulty.is_empty():
        return []
    shown = ", ".join(repr(value) for value in faulty.unique(maintain_order=True).head(MAX_SHOWN))
    return [f"it is read as {dtype}, which other values are not, such as {shown}. Correct them in the file"]


def _describe_words(column: Column) -> str:
    yes, no = (", ".join(map(repr, words)) for words in (column.yes, column.no))
    return f"{yes} mean true and {no} false, in any case: other words go to quarantine"


def _describe_text(words: pl.Series, dtype: DType, form: Form) -> list[str]:
    """Why a column that looks like numbers or days is text, and which of its texts probably mean the same."""
    if dtype != "string":
        return []
    sentence = _describe_fraction(words) or _describe_spellings(words, form) or _describe_marks(words.head(SAMPLE))
    return [sentence] if sentence else []


def _describe_fraction(words: pl.Series) -> str:
    is_finer = share_matching(words, ISO_MOMENT) == 1 and share_matching(words, FINER_THAN_MICROSECONDS)
    reason = "it is read as text, as its moments are finer than a microsecond"
    return f"{reason}. Deliver at most six digits of a second" if is_finer else ""


def _describe_spellings(words: pl.Series, form: Form) -> str:
    if not (description := find_spellings(words).describe()):
        return ""
    stripped = words.str.strip_chars()
    read, _ = find_type(stripped, stripped, form)
    as_text = f"it is read as text and not as {read}, as " if read != "string" else ""
    return f"{as_text}{description}. Deliver one spelling, without blanks at the ends"


def _describe_marks(some: pl.Series) -> str:
    others = some.filter(~some.str.contains(NUMBER))
    if 0 < len(others) < len(some) / 2:
        return (
            f"it is read as text, as it has numbers and others, such as {others[0]!r}. Deliver numbers alone to use them as such"
        )
    if share_matching(some, UNIT) >= NEARLY and not share_matching(some, INTEGER):
        return "it is read as text, as its numbers have a unit or other marks. Deliver plain numbers to use them as such"
    if share_matching(some, DAY_LIKE) >= NEARLY:
        return "it is read as text, as its dates have several forms, or another one than other columns. Deliver one form"
    return ""
