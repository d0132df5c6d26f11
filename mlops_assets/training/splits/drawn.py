"""Parts drawn at random: every row gets a place from 0 to 1, and every part a piece of that range."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import polars as pl
import polars.selectors as cs

from mlops_assets.spec.split import GroupSplit, RandomSplit
from mlops_assets.tasks import task_of
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION
from mlops_assets.training.splits.split import PARTS, VALIDATION_SHARE, MissingRows, ReadLabelled, Split, untrainable_fold

D = TypeVar("D", bound=RandomSplit | GroupSplit)
BITS = 53  # of a draw: those that a float holds exactly


class DrawnSplit(Split[D]):
    """The same rows get the same parts in any order, in every version of every library."""

    @abstractmethod
    def places(self, rows: pl.DataFrame, draw: str) -> pl.Series:
        """From 0 to below 1, uniformly. Two names of a draw are independent of each other."""

    @abstractmethod
    def units(self, rows: pl.DataFrame) -> tuple[int, str]:
        """How many things are drawn, and what they are."""

    def divide(self, read: ReadLabelled, *, end: datetime) -> pl.DataFrame:
        rows, test = read(None).collect(), self.declared.test
        rows = _cut(rows, self.places(rows, "parts"), {TEST: test, VALIDATION: test + self.declared.validation})
        if empty := [part for part in PARTS if part not in set(rows["split"])]:
            raise MissingRows(self._describe(rows, empty))
        return rows

    def _describe(self, rows: pl.DataFrame, empty: Sequence[str]) -> str:
        count, unit = self.units(rows)
        shares = {TEST: self.declared.test, VALIDATION: self.declared.validation}
        shares[TRAIN] = 1 - sum(shares.values())
        takes = " and ".join(f"{part}, which takes {shares[part]:.0%} of the {unit}, has no row" for part in empty)
        needed = math.ceil(1 / min(shares[part] for part in empty))
        return f"training_set · {takes}. There are {count:,} {unit}; needed are some {needed}. Land more, or raise the share."

    def folds(self, rows: pl.DataFrame, count: int) -> list[pl.DataFrame]:
        places = self.places(rows, "folds")
        return [self._fold(rows, (places * count).floor() == number, number) for number in range(count)]

    def _fold(self, rows: pl.DataFrame, is_scored: pl.Series, number: int) -> pl.DataFrame:
        others = rows.filter(~is_scored)
        fold = _cut(others, self.places(others, f"fold {number}"), {VALIDATION: VALIDATION_SHARE})
        fold = pl.concat([fold, rows.filter(is_scored).with_columns(split=pl.lit(TEST))])
        if empty := [part for part in PARTS if part not in set(fold["split"])]:
            count, unit = self.units(rows)
            raise untrainable_fold(f"a fold has no {', '.join(empty)} rows: the train rows have {count:,} {unit}")
        return fold


class SplitAtRandom(DrawnSplit[RandomSplit]):
    is_at_random = True

    def places(self, rows: pl.DataFrame, draw: str) -> pl.Series:
        drawn = _draw(rows, self.use_case.label.key, f"{self.declared.seed} {draw}")
        if not self.declared.stratify:
            return drawn
        task = task_of(self.use_case.task)
        classes = pl.DataFrame(dict(task.binarized(task.truth(rows[task.name]))))
        place = (pl.col("drawn").rank("min") - 0.5) / pl.len()  # rows of one key have one place
        return classes.select(drawn, stratum=pl.struct(pl.all())).select(place.over("stratum")).to_series()

    def units(self, rows: pl.DataFrame) -> tuple[int, str]:
        return len(rows), "labelled requests"


class SplitByGroup(DrawnSplit[GroupSplit]):
    @property
    def how(self) -> str:
        return f"by {self.declared.column}"

    def places(self, rows: pl.DataFrame, draw: str) -> pl.Series:
        return _draw(rows, [self.declared.column], f"{self.declared.seed} {draw}")

    def units(self, rows: pl.DataFrame) -> tuple[int, str]:
        return rows[self.declared.column].n_unique(), f"groups of {self.declared.column}"


def _cut(rows: pl.DataFrame, places: pl.Series, ends: dict[str, float]) -> pl.DataFrame:
    """`ends` are where the first parts end, in rising order; the other rows are for training."""
    part = pl.coalesce(*(pl.when(pl.lit(places) < end).then(pl.lit(name)) for name, end in ends.items()), pl.lit(TRAIN))
    return rows.with_columns(split=part)


def _draw(rows: pl.DataFrame, columns: Sequence[str], salt: str) -> pl.Series:
    """From the values alone: Polars' own hash changes from version to version. 1 µs a row."""
    # The text of a moment may change as well, and its number does not.
    numbered = rows.select(columns).with_columns(cs.temporal().to_physical())
    values = numbered.select(pl.all().cast(pl.String).fill_null("\0"))
    texts = values.select(pl.concat_str(pl.all(), separator="\0")).to_series()
    digests = b"".join(blake2b(f"{salt}\0{text}".encode(), digest_size=8).digest() for text in texts)
    return pl.Series("drawn", (np.frombuffer(digests, ">u8") >> (64 - BITS)) / 2.0**BITS)
