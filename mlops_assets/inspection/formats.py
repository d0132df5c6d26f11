"""How the values of a whole file are written: missing values, the marks of numbers, dates and datetimes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from mlops_assets.ingestion.landed_values import typed
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.form import Csv, Form

MISSING = ("NA", "N/A", "n/a", "#N/A", "NULL", "null", "Null", "NaN", "nan", "<NA>", "NaT")
# Also words of their own: missing only where the other values of a column are numbers or dates.
MAYBE_MISSING = (
    "-", "--", "?", ".", "*", "none", "None", "NONE", "unknown", "Unknown", "missing", "Missing", "k.A.", "k. A.", "keine Angabe",
    "n.a.", "nil", "ND", "(null)", "not available", "PrivacySuppressed",
    "inf", "-inf", "Inf", "-Inf", "Infinity", "-Infinity", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?",
)  # fmt: skip
NUMBER_MARKS = ((".", ""), (",", ""), (",", "."), (".", ","), (",", " "), (",", "\xa0"), (",", "\u202f"), (".", " "), (".", "'"))
DATES = (
    None, "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
    "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y%m%d",
)  # fmt: skip
CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p", "%H:%M:%S.%f")
DATETIMES = (
    None, *(f"{day}{gap}{clock}" for clock in CLOCKS for gap in (" ", "T", ", ") for day in DATES[1:-1] if day),
    *(f"%Y-%m-%d{gap}{clock}" for clock in CLOCKS[2:4] for gap in (" ", "T")),
)  # fmt: skip
STARTS_LIKE_VALUE = r"^[+-]?[.,]?\d"
MIN_SHARE = 0.95  # of the distinct values of a column have its type
MAX_DISTINCT = 2000  # of each column; a format that reads these reads the rest


class Formats(NamedTuple):
    """`alternatives`: a sentence for each way of writing that would fit as well."""

    form: Form
    alternatives: tuple[str, ...]


def share_read(values: pl.Series, dtype: DType, form: Form) -> float:
    """How many of the values have an equal of this type."""
    return 1 - converted(values, dtype, form).null_count() / len(values) if len(values) else 0.0


def share_matching(values: pl.Series, pattern: str) -> float:
    """How many of the texts match, by Polars' engine."""
    return int(values.str.contains(pattern).sum()) / len(values) if len(values) else 0.0


def converted(values: pl.Series, dtype: DType, form: Form) -> pl.Series:
    return pl.DataFrame({"value": values}).select(typed(Column(name="value", dtype=dtype, description="."), form)).to_series()


def find_formats(rows: pl.DataFrame, names: Sequence[str], form: Form) -> Formats:
    distinct = {name: rows[name].drop_nulls().unique(maintain_order=True) for name in names}
    values = {name: series.filter(series != "") for name, series in distinct.items()}
    form = form.but(missing=missing) if (missing := _find_missing(values.values())) else form
    values = {name: series.filter(~series.is_in([*missing])).head(MAX_DISTINCT) for name, series in values.items()}
    if isinstance(form, Csv):
        form = _with_number_marks(values, form)
    digits = {
        name: series for name, series in values.items()
        if share_matching(series.head(50), r"\d") == 1 and not form.TYPED
        and (share_read(series, "float", form) < MIN_SHARE or _is_digits_of_days(series))
    }  # fmt: skip
    form, dates = _with_days(digits, form, "date", DATES)
    form, datetimes = _with_days(digits, form, "datetime", DATETIMES)
    return Formats(form, (*dates, *datetimes))


def _find_missing(columns: Iterable[pl.Series]) -> tuple[str, ...]:
    marks = dict[str, None]()
    for values in columns:
        present = set(values)
        marks |= dict.fromkeys(word for word in MISSING if word in present)
        if not present & {*MAYBE_MISSING}:
            continue
        others = values.filter(~values.is_in([*MISSING, *MAYBE_MISSING]))
        if share_matching(others.head(MAX_DISTINCT), STARTS_LIKE_VALUE) >= MIN_SHARE:
            marks |= dict.fromkeys(word for word in MAYBE_MISSING if word in present)
    return tuple(marks)


def _with_number_marks(values: Mapping[str, pl.Series], form: Csv) -> Csv:
    """Those with which most columns are numbers."""
    columns = [series for series in values.values() if share_matching(series.head(50), r"\d")]

    def with_marks(marks: tuple[str, str]) -> Csv:
        decimal, thousands = marks
        return form.but(decimal=decimal, thousands=thousands) if marks != (".", "") else form

    legal = [with_marks(marks) for marks in NUMBER_MARKS if marks[0] != form.delimiter]
    return max(legal, key=lambda one: sum(share_read(series, "float", one) >= MIN_SHARE for series in columns))


def _is_digits_of_days(values: pl.Series) -> bool:
    """Such as 20131231."""
    return bool(len(values) > 1 and values.str.contains(r"^(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])$").all())


def _with_days(
    values: Mapping[str, pl.Series], form: Form, field: DType, layouts: Sequence[str | None]
) -> tuple[Form, tuple[str, ...]]:
    """The layout by which most columns are dates; of several the one with the fewest days between the first and the last."""

    def with_layout(layout: str | None) -> Form:
        return form.but(**{f"{field}_format": layout}) if layout else form

    read: dict[str | None, list[str]] = {}
    for layout in layouts:
        one = with_layout(layout)
        some = [name for name, series in values.items() if share_read(series.head(20), field, one) >= MIN_SHARE]
        read[layout] = [name for name in some if share_read(values[name], field, one) >= MIN_SHARE]
    best = [layout for layout in layouts if len(read[layout]) == max(map(len, read.values()))]
    if not read[best[0]] or best[0] is None or len(best) == 1:
        return with_layout(best[0] if read[best[0]] else None), ()
    best = [layout for layout in best if read[layout] == read[best[0]]]
    likely = min(best, key=lambda layout: _span([values[name] for name in read[layout]], field, with_layout(layout)))
    others = ", ".join(str(layout) for layout in best if layout != likely)
    note = f"{field}s are read as {likely}; {others} would fit as well: correct {field}_format if so"
    return with_layout(likely), (note,) if others else ()


def _span(columns: Iterable[pl.Series], field: DType, form: Form) -> float:
    days = [converted(series, field, form).drop_nulls() for series in columns]
    return sum((series.max() - series.min()).total_seconds() for series in days if len(series))  # type: ignore[operator,union-attr]
