"""The subject to forget, such as `customer_id=42`, and how its value is matched in rows, text and Polars frames."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape

import polars as pl

from mlops_assets.serving.log.keyed_hash import keyed_hash
from mlops_assets.spec.request_feature import Renamed
from mlops_assets.spec.use_case import UseCase

PLACE = ("source_file", "source_line")


class UnknownSubject(ValueError):
    """The column identifies nothing or more than one thing, or the value does not have the column's type."""


@dataclass(frozen=True)
class Subject:
    """One `entity`, such as a customer, named by the column `tag`; `digest` stands for its value in the ledger.

    Its value is `text` in `columns`, typed or as delivered, and `hashed` in the prediction log. Surrounding blanks are
    ignored; of a number also a plus sign, leading zeros and an empty fraction.
    """

    tag: str
    entity: str
    columns: frozenset[str]
    text: str
    hashed: str
    digest: str
    is_number: bool

    @cached_property
    def _value(self) -> str:
        """A regular expression with the same meaning in Python and Polars."""
        sign = "-" if self.text.startswith("-") else r"\+?"
        text = rf"{sign}0*{self.text.lstrip('-')}(?:\.0*)?" if self.is_number else re.escape(self.text)
        return f"(?:{text}|{self.hashed})"

    @cached_property
    def _word(self) -> str:
        return f"(?:^|[^0-9A-Za-z]){self._value}(?:[^0-9A-Za-z]|$)"

    @cached_property
    def spellings(self) -> frozenset[bytes]:
        """The value as it is in files that are not read row by row: plain, hashed, or escaped as in HTML and JSON."""
        return frozenset(text.encode() for text in (self.text, self.hashed, escape(self.text), json.dumps(self.text)[1:-1]))

    @cached_property
    def spelled(self) -> re.Pattern[bytes]:
        """One of the spellings as a word."""
        texts = b"|".join(re.escape(text) for text in sorted(self.spellings, key=len, reverse=True))
        return re.compile(b"(?<![0-9A-Za-z])(?:" + texts + b")(?![0-9A-Za-z])")

    def mask(self, text: str) -> str:
        """The text without the value, for a record that is kept."""
        return self.spelled.sub(b"***", text.encode()).decode()

    def is_value(self, value: object) -> bool:
        return value is not None and re.match(f"^{self._value}$", str(value).strip()) is not None

    def is_in(self, row: Mapping[str, object]) -> bool:
        return any(self.is_value(row.get(name)) for name in self.columns)

    def is_in_text(self, text: str) -> bool:
        """Whether the value is a word of `text`, such as a line that cannot be parsed."""
        return re.search(self._word, text) is not None

    def is_in_rows(self, schema: pl.Schema) -> pl.Expr:
        """True for the subject's rows; a row that could not be parsed is searched as text."""
        columns = [pl.col(name).cast(pl.String).str.strip_chars() for name in sorted(self.columns & set(schema))]
        if not columns:
            return pl.lit(value=False)
        texts = [name for name, dtype in schema.items() if dtype == pl.String and name not in PLACE]
        # Raw tables store why a line could not be parsed in `problem`, quarantine in `reasons`; both begin with "line ".
        broken = [pl.col(name).str.starts_with("line ") for name in ("problem", "reasons") if name in schema]
        text = pl.concat_str(texts or [pl.lit("")], separator=",", ignore_nulls=True)
        values = [column.str.contains(f"^{self._value}$") for column in columns]
        return pl.any_horizontal(*values, *(line & text.str.contains(self._word) for line in broken)).fill_null(value=False)


def find_subject(use_case: UseCase, request: str, *, secret: bytes) -> Subject:
    """`request` is <column>=<value>; `secret` is the key of the prediction log's hashes. Raises UnknownSubject."""
    tag, _, text = (part.strip() for part in request.partition("="))
    columns = [(contract.table, column) for contract in use_case.contracts for column in contract.columns]
    tagged = {column.name: column for _, column in columns if column.identifies}
    where, legal = f"{use_case.name} · forget", ", ".join(f"{name}=<{column.identifies}>" for name, column in tagged.items())
    if tag not in tagged:
        remedy = "Use one of these, or tag the column in its contract." if legal else "Tag the column: Column(identifies=...)."
        raise UnknownSubject(f"{where} · column {tag!r} identifies nothing; legal: {legal or 'none'}. {remedy}")
    dtype, entity = tagged[tag].dtype, str(tagged[tag].identifies)
    if not text:
        raise UnknownSubject(f"{where} · {tag} is a {dtype} · the value is missing; legal: {tag}=<{entity}>. Add one.")
    if dtype == "int" and not re.fullmatch(r"[+-]?\d+", text):
        raise UnknownSubject(f"{where} · {tag} is an int · found {text!r}; legal: a whole number. Use one.")
    text = str(int(text)) if dtype == "int" else text
    same = [column for column in tagged.values() if column.identifies == entity]
    names = frozenset(name for column in same for name in (column.name, column.renamed_from) if name) | {entity}
    for feature in use_case.features.request_features:  # in order, as one may rename another
        if isinstance(feature, Renamed) and feature.column in names:
            names |= {feature.name}
    # Feature tables and logs store a column's name alone, so that it must not mean something else in another table.
    for table, other in columns:
        if other.name in names and (other.identifies, other.dtype) != (entity, dtype):
            raise UnknownSubject(
                f"{use_case.name} · contracts[{table}] · {other.name!r} is a {other.dtype} that identifies "
                f"{other.identifies or 'nothing'}; in another table it is a {dtype} that identifies a {entity}. "
                f"Tag both alike, or rename one."
            )
    # Not the hash of the prediction log: the ledger's digest must not lead to rows of a log that was copied elsewhere.
    digest = hashlib.blake2b(text.encode(), key=secret, digest_size=16, person=b"erasure").hexdigest()
    return Subject(tag, entity, names, text, keyed_hash(text, secret), digest, is_number=dtype == "int")
