"""One finding about the data of a use case, and what a check is."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import polars as pl

from mlops_assets.inspection.inspected import Inspected


class Finding(NamedTuple):
    """`kind` is a word such as leak, and `where` a column, the label, a table or a part of the split. `measured` is on the wrong
    side of `bound`.
    """

    kind: str
    where: str
    measured: float
    bound: float
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.kind} · {self.message}. {self.advice}".rstrip()


Check = Callable[[Inspected], Iterator[Finding]]


def share(flags: pl.Series) -> float:
    """How many are true, of those that are not missing; 0 of none."""
    known = flags.drop_nulls()
    return float(known.sum()) / len(known) if len(known) else 0.0
