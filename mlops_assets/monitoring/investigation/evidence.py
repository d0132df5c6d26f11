"""What an investigation looks at: plain values, gathered by gather.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

import polars as pl

from mlops_assets.features.parity import KEY
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.investigation.changes import Change, find_change
from mlops_assets.spec.use_case import UseCase

AT = "at"  # a column of source rows: the start of their partition


class Alarm(NamedTuple):
    """The verdict of a monitor. `symptoms` are what it is about, such as inputs; `labelled`: it judges answers with labels."""

    monitor: str
    verdict: Verdict
    message: str
    symptoms: tuple[str, ...] = ()
    labelled: bool = False

    @property
    def is_silent(self) -> bool:
        return self.verdict is Verdict.NOT_ENOUGH_DATA


class Delivery(NamedTuple):
    """One partition of a table, from `start` to `end`. `landed_at` is None where the file is due and has not landed; `failed` is
    what its checks found, empty where they passed.
    """

    table: str
    key: str
    start: datetime
    end: datetime
    landed_at: datetime | None
    rows: int
    quarantined: int = 0
    failed: str = ""


class Refill(NamedTuple):
    """A view whose code changed at `at`. `differing` is the share of rows, of a partition filled by the earlier code, that the
    present code computes differently from the same rows, by feature; empty where no such partition is left.
    """

    view: str
    at: datetime
    version: str
    rows: int
    differing: Mapping[str, float]


class Origin(NamedTuple):
    """Where an input comes from: a view (None: the request), and the columns, as table.column, that it reads."""

    view: str | None
    columns: frozenset[str]

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(column.partition(".")[0] for column in self.columns)


class Relation(NamedTuple):
    """Of the inputs and a label, as the champion has learned it: by how much the share of the label differs among answers with
    the same output since a moment (None: before the window), and the PSI of the inputs that differ among rows of the same label.
    """

    label: str
    is_changed: bool
    change: float
    since: datetime | None
    within: Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """`served` are the answers since `start`, by moment. `reference` is a sample of the champion's training rows, `sources` are
    the validated rows of each table with the start AT of their partition, also those before `start`. `recomputed` has the
    features of a sample of the answers as the tables give them now. Without enough labels no `relation` is known.
    """

    use_case: UseCase
    now: datetime
    start: datetime
    alarms: Sequence[Alarm]
    served: pl.DataFrame
    reference: pl.DataFrame
    origins: Mapping[str, Origin]
    sources: Mapping[str, pl.DataFrame]
    recomputed: pl.DataFrame
    deliveries: Sequence[Delivery] = ()
    refills: Sequence[Refill] = ()
    relation: Relation | None = None

    @cached_property
    def changes(self) -> Mapping[str, Change]:
        """Of the served inputs, against the training."""
        moments = self.served[EVENT_TIMESTAMP]
        names = [name for name in self.origins if name in self.served.columns and name in self.reference.columns]
        # What a monitor has named is no chance any more.
        changes = {
            name: find_change(self.reference[name], self.served[name], moments, is_certain=name in self.named) for name in names
        }
        return {name: change for name, change in changes.items() if change}

    @cached_property
    def compared(self) -> pl.DataFrame:
        """The recomputed answers by moment, with whether each feature differs from the served one."""
        names = [name for name in self.recomputed.columns if name != KEY and name in self.served.columns]
        pairs = self.served.join(self.recomputed.select(KEY, *names), on=KEY, suffix=" now", maintain_order="left")
        return pairs.select(EVENT_TIMESTAMP, *(_differs(pairs, name) for name in names))

    @cached_property
    def mismatches(self) -> Mapping[str, Change]:
        """Since when a feature is served differently from what its tables give."""
        sound = pl.Series([False]).new_from_index(0, max(len(self.compared), 1))
        names = [name for name in self.compared.columns if name != EVENT_TIMESTAMP]
        changes = {name: find_change(sound, self.compared[name], self.compared[EVENT_TIMESTAMP]) for name in names}
        return {name: change for name, change in changes.items() if change}

    @cached_property
    def named(self) -> frozenset[str]:
        """The inputs that an alarm names, itself or by their view."""
        symptoms = {symptom for alarm in self.alarms for symptom in alarm.symptoms}
        return frozenset(name for name, origin in self.origins.items() if {name, origin.view} & symptoms)

    @property
    def is_silent(self) -> bool:
        """Every monitor has too little to judge."""
        return all(alarm.is_silent for alarm in self.alarms)

    @cached_property
    def affected(self) -> frozenset[str]:
        """The inputs that alarms name, that have changed, or that are served differently."""
        if self.is_silent:
            return frozenset()
        return self.named | self.changes.keys() | (self.mismatches.keys() & self.origins.keys())

    def onset(self, inputs: frozenset[str]) -> datetime | None:
        """When the first of them changed; None where that is not known."""
        changes = [changes[name] for changes in (self.changes, self.mismatches) for name in inputs if name in changes]
        return min((change.since for change in changes if change.since), default=None)

    def agreement(self, name: str) -> float:
        """The share of the answers whose feature is what the tables give."""
        change = self.mismatches.get(name)
        return 1.0 if change is None else 1 - float(self.compared[name][change.first :].mean() or 0)  # pyright: ignore

    def readers(self, table: str) -> frozenset[str]:
        """The inputs that read a table."""
        return frozenset(name for name, origin in self.origins.items() if table in origin.tables)

    def of_view(self, view: str) -> frozenset[str]:
        """The affected inputs of a view."""
        return frozenset(name for name in self.affected if self.origins[name].view == view)

    @property
    def is_about_labels(self) -> bool:
        return any(alarm.labelled for alarm in self.alarms)


def _differs(pairs: pl.DataFrame, name: str) -> pl.Series:
    served, now = pairs[name], pairs[f"{name} now"]
    if served.dtype.is_numeric() and now.dtype.is_numeric():
        a, b = (one.cast(pl.Float64).fill_nan(None) for one in (served, now))
        close = (a - b).abs() <= 1e-6 * pl.select(pl.max_horizontal(a.abs(), b.abs(), pl.lit(1.0))).to_series()
    else:
        close = served.cast(pl.String) == now.cast(pl.String)
    return (~close).fill_null(served.is_null() != now.is_null()).alias(name)
