"""Texts that are different values, although they differ by blanks or by case alone."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

MAX_CASED = 500  # different texts; of more, such as random identifiers, case may be a part


class Spellings(NamedTuple):
    """`pairs` are values that probably mean the same, and `padded` is a value with a blank at an end. Empty: there are none."""

    pairs: Sequence[tuple[str, str]]
    padded: str

    def describe(self) -> str:
        """As a clause about a column; empty where there is no fault."""
        if self.pairs:
            one, other = self.pairs[0]
            by = "blanks" if one.strip() == other.strip() else "case" if one.casefold() == other.casefold() else "blanks and case"
            return f"{one!r} and {other!r} are different values, although they differ by {by} alone"
        padded = "some of its values begin or end with a blank, which is a part of the value"
        return f"{padded}, such as {self.padded!r}" if self.padded else ""


def find_spellings(texts: pl.Series) -> Spellings:
    """`texts`: the distinct values of a column."""
    stripped = texts.str.strip_chars()
    padded = texts.filter(stripped != texts)
    plain = stripped.str.to_lowercase() if len(texts) <= MAX_CASED else stripped
    groups = pl.DataFrame({"text": texts, "plain": plain}).filter(pl.col("plain").is_duplicated())
    pairs = groups.group_by("plain", maintain_order=True).agg(pl.col("text").first(), other=pl.col("text").last())
    return Spellings(pairs.select("text", "other").rows(), padded[0] if len(padded) else "")
