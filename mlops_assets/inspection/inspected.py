"""The rows of one use case as its findings read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import polars as pl

from mlops_assets.foundation.names import SEED
from mlops_assets.foundation.wording import counted
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import Array
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION

MOST_ROWS = 20_000  # of a statistic that takes long
MOST_QUESTIONS = 20  # one for each class


@dataclass(frozen=True)
class Inspected:
    """`tables` are the accepted rows of each table, and `refused` the others, with their `reasons`. `requests` are those of the
    request table, or some of very many, and `rows` those with a label, with the inputs and the `split` of a training set of these
    tables: none for a row that no part has, and for all where no training set can be made, because of the `problem`. `now` is
    the present moment, and `origins` what each table was read from.
    """

    use_case: UseCase
    tables: Mapping[str, pl.DataFrame]
    requests: pl.DataFrame
    rows: pl.DataFrame
    now: datetime
    refused: Mapping[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    problem: str = ""
    origins: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def label(self) -> str:
        return self.use_case.label.name

    @cached_property
    def task(self) -> Task[Any]:
        return task_of(self.use_case.task)

    @cached_property
    def truth(self) -> Array:
        return self.task.truth(self.rows[self.label])

    @cached_property
    def sample(self) -> pl.DataFrame:
        return self.rows.sample(MOST_ROWS, seed=SEED) if len(self.rows) > MOST_ROWS else self.rows

    @cached_property
    def is_trainable(self) -> bool:
        return len(self.rows) > 0 and not self.task.untrainable(self.truth)

    def questions(self, rows: pl.DataFrame) -> dict[str, Array]:
        """The label of the rows as questions of yes and no; none where no model can learn it."""
        if not self.is_trainable:
            return {}
        questions = self.task.binarized(self.task.truth(rows[self.label]))
        return dict([*questions.items()][:MOST_QUESTIONS])

    def describe(self) -> str:
        """How many rows there are, from where, and how many of each part."""
        tables = {one: [table for table, origin in self.origins.items() if origin == one] for one in self.origins.values()}
        origins = "; ".join(f"{', '.join(names)} from {origin}" for origin, names in tables.items())
        parts = ", ".join(f"{len(self.part(name)):,} {name}" for name in (TRAIN, VALIDATION, TEST))
        labels = self.task.describe_labels(self.task.truth(self.rows[self.label]))
        total = len(self.tables[self.use_case.features.request_table])
        origins += f", {len(self.requests):,} of {total:,} requests drawn" if len(self.requests) < total else ""
        return f"{counted(len(self.rows), 'request')} with a label ({parts}), {labels}: {origins}."

    def part(self, *names: str) -> pl.DataFrame:
        """The rows of these parts of the split."""
        return self.rows.filter(pl.col("split").is_in(names))

    def columns(self) -> Sequence[Column]:
        """Of the request table, without the label."""
        table = self.use_case.features.request_table
        return [column for column in self.use_case.contract(table).columns if column.name != self.label]
