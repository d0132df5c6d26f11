"""The subject to forget, such as `customer_id=42`, and how its value is matched in rows, text and Polars frames."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import polars as pl

from mlops_assets.serving.log.prediction_log import keyed_hash
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase

# Raw tables store why a line could not be parsed in `problem`, quarantine in `reasons`; both texts begin with BROKEN_LINE.
LINE_PROBLEMS = ("problem", "reasons")
BROKEN_LINE = "line "
PLACE = ("source_file", "source_line")


class UnknownSubject(ValueError):
    """The column identifies nothing or more than one thing, or the value does not have the column's type."""


class Erasable(Protocol):
    """One subject's rows in one store. Erasing is idempotent, and completes an erasure that was killed."""

    def count(self) -> int: ...

    def erase(self) -> None: ...


@dataclass(frozen=True)
class SubjectMatcher:
    """Matches `text` in `columns`, typed or as delivered, and `hashed`, which replaces it in the prediction log.

    Surrounding blanks are ignored; of a number also a plus sign, leading zeros and an empty fraction.
    """

    columns: frozenset[str]
    text: str
    hashed: str
    is_number: bool

    @cached_property
    def _value(self) -> str:
        """A regular expression with the same meaning in Python and Polars."""
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
        """Whether the value is a word of `text`, such as a line that cannot be parsed."""
        return re.search(self._word, text) is not None

    def is_in_column(self, name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String).str.strip_chars().str.contains(f"^{self._value}$").fill_null(value=False)

    def is_in_rows(self, schema: pl.Schema) -> pl.Expr:
        """True for the subject's rows; a row that could not be parsed is searched as text."""
        columns = [self.is_in_column(name) for name in sorted(self.columns & set(schema))]
        return pl.any_horizontal(*columns, *self._is_in_broken_line(schema)) if columns else pl.lit(value=False)

    def _is_in_broken_line(self, schema: pl.Schema) -> list[pl.Expr]:
        texts = [name for name, dtype in schema.items() if dtype == pl.String and name not in PLACE]
        text = pl.concat_str(texts or [pl.lit("")], separator=",", ignore_nulls=True)
        broken = [pl.col(name).str.starts_with(BROKEN_LINE) for name in LINE_PROBLEMS if name in schema]
        return [(column & text.str.contains(self._word)).fill_null(value=False) for column in broken]


@dataclass(frozen=True)
class Subject:
    """One `entity`, such as a customer, named by the column `tag`. `digest` stands for its value in the ledger."""

    tag: str
    entity: str
    matcher: SubjectMatcher
    digest: str


def find_subject(use_case: UseCase, request: str, *, secret: bytes) -> Subject:
    """`request` is <column>=<value>; `secret` is the key of the prediction log's hashes. Raises UnknownSubject."""
    tag, _, value = (part.strip() for part in request.partition("="))
    tagged = {column.name: column for contract in use_case.contracts for column in contract.columns if column.identifies}
    if tag not in tagged:
        legal = ", ".join(f"{column.name}=<{column.identifies}>" for column in tagged.values())
        remedy = "Use one of these, or tag the column in its contract." if legal else "Tag the column: Column(identifies=...)."
        raise UnknownSubject(f"{use_case.name} · forget · column {tag!r} identifies nothing; legal: {legal or 'none'}. {remedy}")
    column = tagged[tag]
    text, entity = _parse(use_case, column, value), str(column.identifies)
    columns = frozenset(name for name, other in tagged.items() if other.identifies == entity) | {entity}
    _require_one_meaning(use_case, columns, column)
    # Not the hash of the prediction log: the ledger's digest must not lead to rows of a log that was copied elsewhere.
    digest = hashlib.blake2b(text.encode(), key=secret, digest_size=16, person=b"erasure").hexdigest()
    return Subject(tag, entity, SubjectMatcher(columns, text, keyed_hash(text, secret), column.dtype == "int"), digest)


def _parse(use_case: UseCase, column: Column, value: str) -> str:
    where = f"{use_case.name} · forget · {column.name} is a {column.dtype}"
    if not value:
        raise UnknownSubject(f"{where} · the value is missing; legal: {column.name}=<{column.identifies}>. Add one.")
    try:
        return value if column.dtype == "string" else str(int(value))
    except ValueError:
        raise UnknownSubject(f"{where} · found {value!r}; legal: a whole number. Use one.") from None


def _require_one_meaning(use_case: UseCase, names: frozenset[str], column: Column) -> None:
    # Feature tables and logs store a column's name alone, so that it must not mean something else in another table.
    for table, other in ((contract.table, other) for contract in use_case.contracts for other in contract.columns):
        if other.name in names and (other.identifies, other.dtype) != (column.identifies, column.dtype):
            raise UnknownSubject(
                f"{use_case.name} · contracts[{table}] · {other.name!r} is a {other.dtype} that identifies "
                f"{other.identifies or 'nothing'}; in another table it is a {column.dtype} that identifies a "
                f"{column.identifies}. Tag both alike, or rename one."
            )
