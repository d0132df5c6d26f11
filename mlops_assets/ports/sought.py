"""One value that is sought in the columns that identify by it, and how it is told in rows, lines and frames.

Belongs here: comparing. Not here: which columns a contract tags (erasure/subject.py), and what is done with what is found.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

# A delivered line that could not be told apart into its columns: raw tables hold its problem, quarantine its reasons.
TOLD_OF_LINES = ("problem", "reasons")
BROKEN_LINE = "line "
PLACE = ("source_file", "source_line")


@dataclass(frozen=True)
class Sought:
    """`text` in the columns by these names, as a type or as delivered text: blanks around it do not count, and neither do
    a plus, zeros in front and an empty fraction where it `is_number`. `hashed` stands for it in the prediction log.
    """

    columns: frozenset[str]
    text: str
    hashed: str
    is_number: bool

    @cached_property
    def _spelled(self) -> str:
        """A regular expression that Python and Polars read alike."""
        if not self.is_number:
            return f"(?:{re.escape(self.text)}|{self.hashed})"
        sign = "-" if self.text.startswith("-") else r"\+?"
        return rf"(?:{sign}0*{self.text.lstrip('-')}(?:\.0*)?|{self.hashed})"

    @cached_property
    def _whole(self) -> str:
        return f"^{self._spelled}$"

    @cached_property
    def _as_a_word(self) -> str:
        return f"(?:^|[^0-9A-Za-z]){self._spelled}(?:[^0-9A-Za-z]|$)"

    def is_value(self, found: object) -> bool:
        return found is not None and re.match(self._whole, str(found).strip()) is not None

    def is_in(self, row: Mapping[str, object]) -> bool:
        return any(self.is_value(row.get(name)) for name in self.columns)

    def is_in_text(self, text: str) -> bool:
        """Whether it stands there as a word of its own: a line that nobody can tell apart may be about anybody in it."""
        return re.search(self._as_a_word, text) is not None

    def in_column(self, name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String).str.strip_chars().str.contains(self._whole).fill_null(value=False)

    def in_rows(self, schema: pl.Schema) -> pl.Expr | None:
        """The rows of a table that are sought; None where none of its columns identifies by it."""
        named = sorted(self.columns & set(schema))
        broken = self._in_broken_line(schema)
        told = [self.in_column(name) for name in named] + ([] if broken is None else [broken])
        return pl.any_horizontal(told) if named else None

    def _in_broken_line(self, schema: pl.Schema) -> pl.Expr | None:
        of_lines = [name for name in TOLD_OF_LINES if name in schema]
        if not of_lines:
            return None
        texts = [name for name, dtype in schema.items() if dtype == pl.String and name not in PLACE]
        found = pl.concat_str(texts, separator=",", ignore_nulls=True).str.contains(self._as_a_word)
        return (pl.col(of_lines[0]).str.starts_with(BROKEN_LINE) & found).fill_null(value=False)
