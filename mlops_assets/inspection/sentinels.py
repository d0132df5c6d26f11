"""Numbers that mean a missing value, such as -999: they are far from all other values of their column."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import polars as pl

from mlops_assets.inspection.formats import MIN_SHARE, Formats, converted, share_read
from mlops_assets.spec.form import Form

NINES = tuple(sign * (10**digits - 1) for digits in range(2, 8) for sign in (-1, 1))
# The ends of the machine's whole numbers, too.
SENTINELS = [*map(float, (-1, -9, *NINES, -32768, 32767, -(2**31), 2**31 - 1))]
SURE = 999  # from which no smaller number is a usual value by chance
MIN_ROWS, MIN_ROW_SHARE = 3, 0.005
FEWEST_OTHERS = 5  # distinct values: with fewer, -1 and 99 are codes


class Sentinel(NamedTuple):
    """`low` to `high` are all other values of the column."""

    number: float
    rows: int
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        return abs(self.number) >= SURE


def find_sentinels(numbers: pl.Series) -> tuple[Sentinel, ...]:
    """Those of a column of numbers."""
    known = numbers.drop_nulls().cast(pl.Float64())
    others = known.filter(~known.is_in(SENTINELS))
    if others.n_unique() < FEWEST_OTHERS:
        return ()
    low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]
    frequent = max(MIN_ROWS, MIN_ROW_SHARE * len(known))
    counts = known.filter(known.is_in(SENTINELS)).value_counts().sort(known.name).rows()
    return tuple(Sentinel(number, rows, low, high) for number, rows in counts if rows >= frequent and _is_far(number, low, high))


def _is_far(number: float, low: float, high: float) -> bool:
    return max(low - number, number - high) > high - low or (number == -1 and low >= 0)


def declare_sentinels(rows: pl.DataFrame, headers: Mapping[str, str], form: Form) -> Formats:
    """The form with the sure ones as missing, where no other column has them as values. `headers`: by column of the rows."""
    stand_ins = {name: [*_with_words(rows[name], form)] for name in headers}
    words = {name: {word for one, own in sentinels if one.is_sure for word in own} for name, sentinels in stand_ins.items()}
    wanted = {word for own in words.values() for word in own}
    values = {word for name in headers for word in _present(rows[name], wanted - words[name])}
    missing = sorted(wanted - values)
    sentences = [
        _describe(header, one, own, rows.height, is_declared={*own} <= {*missing})
        for name, header in headers.items()
        for one, own in stand_ins[name]
    ]
    return Formats(form.but(missing=(*form.missing, *missing)) if missing else form, tuple(sentences))


def _with_words(text: pl.Series, form: Form) -> Iterator[tuple[Sentinel, tuple[str, ...]]]:
    """Each with the texts of the file that mean it."""
    distinct = text.filter(text.is_not_null() & (text != "") & ~text.is_in([*form.missing])).unique(maintain_order=True)
    if share_read(distinct.head(1000), "float", form) < MIN_SHARE:
        return
    numbers = converted(distinct, "float", form)
    for one in find_sentinels(converted(text, "float", form)):
        yield one, tuple(distinct.filter(numbers == one.number))


def _present(text: pl.Series, words: set[str]) -> set[str]:
    return {*text.filter(text.is_in([*words])).unique()} if words else set()


def _describe(header: str, one: Sentinel, words: tuple[str, ...], rows: int, *, is_declared: bool) -> str:
    word, named = words[0], ", ".join(map(repr, words))
    where = f"{header}: {word} in {one.rows:,} of {rows:,} rows is apart from the other values, {one.low:g} to {one.high:g}"
    if is_declared:
        return f"{where}, so it is read as missing: remove it from form.missing if it is a value"
    remedy = f"deliver an empty value, or add {named} to form.missing, which holds for every column"
    return f"{where}: if it means a missing value, {remedy}"
