"""How one subject's value is recognised in rows, text and Polars frames."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

# A line that could not be parsed: raw tables hold its problem, quarantine its reasons; both begin with BROKEN_LINE.
LINE_PROBLEMS = ("problem", "reasons")
BROKEN_LINE = "line "
PLACE = ("source_file", "source_line")


@dataclass(frozen=True)
class SubjectMatcher:
    """`text` in the columns of these names, typed or as delivered: blanks around it are ignored, and so are a plus sign,
    leading zeros and an empty fraction where it `is_number`. `hashed` replaces it in the prediction log.
    """

    columns: frozenset[str]
    text: str
    hashed: str
    is_number: bool

    @cached_property
    def _value(self) -> str:
        """A regular expression that Python and Polars read alike."""
        if not self.is_number:
            return f"(?:{re.escape(self.text)}|{self.hashed})"
        sign = "-" if self.text.startswith("-") else r"\+?"
        return rf"(?:{sign}0*{self.text.lstrip('-')}(?:\.0*)?|{self.hashed})"

    @cached_property
    def _word(self) -> str:
        return f"(?:^|[^0-9A-Za-z]){self._value}(?:[^0-9A-Za-z]|$)"

    def is_value(self, value: object) -> bool:
        return value is not None and re.match(f"^{self._value}$", str(value).strip()) is not None

    def is_in(self, row: Mapping[str, object]) -> bool:
        return any(self.is_value(row.get(name)) for name in self.columns)

    def is_in_text(self, text: str) -> bool:
        """Whether it is a word of the text: a line that cannot be parsed may be about any value in it."""
        return re.search(self._word, text) is not None

    def in_column(self, name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String).str.strip_chars().str.contains(f"^{self._value}$").fill_null(value=False)

    def in_rows(self, schema: pl.Schema) -> pl.Expr | None:
        """The subject's rows in a table; None where no column identifies it."""
        named = [self.in_column(name) for name in sorted(self.columns & set(schema))]
        return pl.any_horizontal(*named, *self._in_broken_line(schema)) if named else None

    def _in_broken_line(self, schema: pl.Schema) -> list[pl.Expr]:
        texts = [name for name, dtype in schema.items() if dtype == pl.String and name not in PLACE]
        text = pl.concat_str(texts or [pl.lit("")], separator=",", ignore_nulls=True)
        broken = [pl.col(name).str.starts_with(BROKEN_LINE) for name in LINE_PROBLEMS if name in schema]
        return [(column & text.str.contains(self._word)).fill_null(value=False) for column in broken]
