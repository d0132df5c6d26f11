"""What a split owns: the parts of a training set, and the folds of a search."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

import polars as pl

from mlops_assets.spec.split import Split as Declared
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION, UntrainableRows

D = TypeVar("D", bound=Declared)
PARTS = (TRAIN, VALIDATION, TEST)
VALIDATION_SHARE = 0.15  # of the rows of a fold that are not scored
# Labelled requests, with the labels as they were known before a moment (None: as they are known now).
ReadLabelled = Callable[[datetime | None], pl.LazyFrame]


class MissingRows(ValueError):
    """A part has no row: what is there, and what is needed."""


class Split(ABC, Generic[D]):
    """One declared split of one use case. A part is a value of PARTS in the column `split`. With `is_at_random`, rows that
    resemble each other may be in different parts, so that no other split is easier.
    """

    is_at_random: ClassVar[bool] = False

    def __init__(self, declared: D, use_case: UseCase) -> None:
        self.declared, self.use_case = declared, use_case

    @property
    def how(self) -> str:
        """The end of a phrase: the split …"""
        return "at random"

    @abstractmethod
    def divide(self, read: ReadLabelled, *, end: datetime) -> pl.DataFrame:
        """The labelled rows with their `split`, those of no part left out; `end` is the end of the last day with outcomes. Raises
        MissingRows when a part has none.
        """

    def describe_span(self, rows: pl.DataFrame, *, end: datetime) -> str:
        """How much more must land before every part has a row; empty where that does not depend on days."""
        return ""

    @abstractmethod
    def folds(self, rows: pl.DataFrame, count: int) -> list[pl.DataFrame]:
        """`count` training sets of these rows, each with all PARTS; what is scored is its test part. Raises UntrainableRows."""


def untrainable_fold(found: str) -> UntrainableRows:
    return UntrainableRows(f"search · {found}. Declare fewer folds, or train on more rows.")
