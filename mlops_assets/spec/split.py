"""Splits: which labelled rows a model is trained on, and on which it is tested. training/splits/ implements each class."""

from collections.abc import Iterator
from datetime import timedelta

from pydantic import Field

from mlops_assets.spec.spec import Spec


class Split(Spec):
    """How labelled rows become train, validation and test. To add one: a subclass here, a module in training/splits/, and a
    line in SPLITS of training/splits/__init__.py.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rows need besides key, label and times."""
        return ()

    def span_problems(self, span: timedelta) -> Iterator[str]:
        """What is wrong where at most this span of days can land."""
        yield from ()

    def undated_problems(self, table: str) -> Iterator[str]:
        """What is wrong where the rows of the request table have no time."""
        yield from ()


class TimeSplit(Split):
    """Train, then validation, then test, in time order. The test part ends `label_delay` before the end of the last landed day,
    every other part `label_delay` before the next one begins, so that labels that take this long to become known are used.
    """

    # Never at random: that would leak what the rows of a day share into training.
    test: timedelta = Field(gt=timedelta(0))
    validation: timedelta = Field(gt=timedelta(0))
    max_train: timedelta | None = Field(default=None, gt=timedelta(0))
    label_delay: timedelta = Field(default=timedelta(0), ge=timedelta(0))

    def span_problems(self, span: timedelta) -> Iterator[str]:
        if (held_out := self.test + self.validation + 3 * self.label_delay) >= span:
            parts = "test, validation and three times label_delay" if self.label_delay else "test and validation"
            found = f"{parts} take {held_out.days} days of the {span.days} that can land"
            yield f"split · {found}; legal: fewer, so that days to train on are left. Shorten them."

    def undated_problems(self, table: str) -> Iterator[str]:
        found = f"TimeSplit orders requests by their time, and the rows of {table} have none"
        yield f"split · {found}; legal: RandomSplit, GroupSplit. Use one, or declare a PredictionMoment or the contract's day."


class _Shares(Split):
    """`test` and `validation` are shares of the rows. A draw depends on `seed` and on what is drawn, and on nothing else."""

    test: float = Field(default=0.2, gt=0, lt=1)
    validation: float = Field(default=0.2, gt=0, lt=1)
    seed: int = 0

    def contradictions(self) -> Iterator[str]:
        if self.test + self.validation >= 1:
            found = f"test and validation are {self.test:g} and {self.validation:g} of the rows"
            yield f"{found}; legal: together less than 1, so that rows to train on are left. Lower them."


class RandomSplit(_Shares):
    """Parts drawn at random, by the key of the label: rows with one label are in one part. With `stratify` every class of the
    label (of a regression: each half of its values) has exactly these shares, so that new rows move a few others to another
    part; without it a row keeps its part for ever.
    """

    stratify: bool = True


class GroupSplit(_Shares):
    """Whole groups drawn at random: rows with one value of `column`, such as a patient, are in one part, which the group keeps
    for ever. `column` is one of the request table, which clients need not send, or a request feature. The shares are those of
    groups. Rows without a value are one group.
    """

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)
