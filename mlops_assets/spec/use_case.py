"""UseCase: the whole declaration of one use case, and its fingerprints."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cached_property
from itertools import chain
from typing import Annotated, Literal, Self, cast

from pydantic import Field, InstanceOf, ValidationInfo, field_validator, model_validator

from mlops_assets.spec.compute import Compute
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.cross_checks import READS_MONITOR, find_contradictions
from mlops_assets.spec.defaults import TRAINER, complete_features, complete_label, default_split
from mlops_assets.spec.feature import Features, Label
from mlops_assets.spec.freshness import Freshness
from mlops_assets.spec.gate import BeatsChampion, Gate, NoLeak
from mlops_assets.spec.implemented import own_sources
from mlops_assets.spec.moment import MAX_YEAR, MIN_YEAR
from mlops_assets.spec.monitor import Monitor, OwnMonitor, Skew, stage_names
from mlops_assets.spec.pulled_source import Http, Sql, Stream
from mlops_assets.spec.rollout import AtOnce, Rollout
from mlops_assets.spec.serving import Serving
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import Name, Spec, Text
from mlops_assets.spec.split import GroupSplit, RandomSplit, TimeSplit
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.spec.training import Search, Trainer
from mlops_assets.spec.trigger import OnCheck, Trigger

# What each stage of a training is made from: editing a field changes the code version of these stages and of no other. Those of
# the tables, which are made again by themselves, are in code_version.py.
STAGE_FIELDS: dict[str, tuple[str, ...]] = {
    "training_set": ("features", "label", "split"),
    "candidate": ("trainer", "search"),
    "evaluation": ("reference", "slices", "task", "gates"),
}
Day = Annotated[date, Field(ge=date(MIN_YEAR, 1, 1), lt=date(MAX_YEAR, 1, 1))]
Stage = Literal["training_set", "candidate", "evaluation"]


class UseCase(Spec):
    """One business question answered by one model line. `first_day` to `last_day` (None: today) are the days that can land, in
    the time zone of each source; a use case of snapshots alone has neither. `reference` is a second trainer, fitted on the same
    rows and never promoted. What `features` leave out, and `split`, follow from the other fields: spec/defaults.py.
    `example` names a function, as module:function, whose deliveries of two days and those between `mlops land` writes.
    """

    name: Name
    owner: str = Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")
    question: Text
    risk: Literal["low", "medium", "high"] = "medium"
    first_day: Day | None = None
    last_day: Day | None = None
    sources: tuple[Files | Sql | Http | Stream, ...] = Field(min_length=1)
    contracts: tuple[Contract, ...] = Field(min_length=1)
    features: Features = Features()
    task: Binary | Multiclass | Regression
    split: TimeSplit | RandomSplit | GroupSplit = RandomSplit()
    trainer: InstanceOf[Trainer] = TRAINER
    search: Search | None = None
    reference: InstanceOf[Trainer] | None = None
    slices: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = Field(default=(BeatsChampion(), NoLeak()), min_length=1, validate_default=True)
    monitors: tuple[Monitor, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    freshness: Freshness = Freshness()
    serving: Serving = Serving()
    rollout: Rollout = AtOnce()
    compute: Compute = Compute()
    example: str = Field(default="", pattern=r"^([\w.]+:\w+)?$")

    @field_validator("gates")
    @classmethod
    def _with_metrics(cls, gates: tuple[Gate, ...], info: ValidationInfo) -> tuple[Gate, ...]:
        """A gate without a metric judges the main one of the task."""
        task = info.data.get("task")  # None where it is illegal itself
        return tuple(gate.but(metric=task.METRICS[0]) if task and getattr(gate, "metric", "") is None else gate for gate in gates)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        # A frozen model cannot be assigned to; what is completed here was left out of the declaration.
        object.__setattr__(self, "features", complete_features(self))
        if "split" not in self.model_fields_set:
            object.__setattr__(self, "split", default_split(self))
        return self

    def contract(self, table: str) -> Contract:
        return next(contract for contract in self.contracts if contract.table == table)

    def source(self, table: str) -> Files:
        return next(source for source in self.sources if source.table == table)

    def is_due(self, *tables: str) -> bool:
        """Whether every partition of any of these tables must be delivered; the others get files only for changes."""
        return any(not source.only_when_changed for source in self.sources if source.table in tables)

    @property
    def monitor_stages(self) -> dict[str, Monitor]:
        """The monitors by the names of their assets."""
        return dict(zip(stage_names(self.monitors), self.monitors, strict=True))

    @property
    def own_monitors(self) -> list[OwnMonitor]:
        return [monitor for monitor in self.monitors if isinstance(monitor, OwnMonitor)]

    def triggers_of(self, stage: str) -> list[OnCheck]:
        """The triggers that an alarm of this monitor fires."""
        kind, readers = type(self.monitor_stages[stage]), [one for one in self.triggers if isinstance(one, OnCheck)]
        return [reader for reader in readers if issubclass(kind, READS_MONITOR[type(reader)]) and reader.monitor in ("", stage)]

    @property
    def label(self) -> Label:
        return complete_label(self, self.features.request_table)

    @property
    def is_dated(self) -> bool:
        """Whether requests have a time: their moment, or the day on which they happened."""
        return self.features.has_moment or any(
            contract.day for contract in self.contracts if contract.table == self.features.request_table
        )

    @property
    def skew(self) -> Skew | None:
        return next((monitor for monitor in self.monitors if isinstance(monitor, Skew)), None)

    def fingerprint(self, stage: Stage) -> str:
        """Twelve hex digits over the fields (and the source of the transforms) that `stage` is made from."""
        text = "\n".join(self.texts[field] for field in STAGE_FIELDS[stage])
        text += self.task.learned if stage == "candidate" else ""
        text += own_sources(*self._modules(stage))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _modules(self, stage: Stage) -> Iterator[str]:
        """Those whose source is part of the code version of a stage."""
        trainer = {"candidate": self.trainer, "evaluation": self.reference}.get(stage)
        yield from (trainer.modules if trainer else ())
        if stage == "evaluation":
            yield from (*(gate.module for gate in self.gates), self.task.IMPLEMENTATION.partition(":")[0])

    @cached_property
    def texts(self) -> dict[str, str]:
        """Of the fields that a stage is made from."""
        return {field: stable_text(getattr(self, field)) for field in sorted({*chain(*STAGE_FIELDS.values())})}

    def columns(self, table: str) -> dict[str, Column]:
        """By name; none of an unknown table."""
        return {column.name: column for contract in self.contracts if contract.table == table for column in contract.columns}

    def description_of(self, column: str, tables: Sequence[str]) -> str:
        """The description of the column of this name in any of these tables; empty where none has it."""
        return next((columns[column].description for table in tables if column in (columns := self.columns(table))), "")

    def contradictions(self) -> Iterator[str]:
        yield from find_contradictions(self)


def stable_text(value: object) -> str:
    """A text that changes exactly when the declaration does; functions count by their module's source."""
    if isinstance(value, Spec):
        made_from = (name for name, info in type(value).model_fields.items() if not info.exclude)
        fields = (f"{name}={stable_text(getattr(value, name))}" for name in made_from)
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(stable_text, cast(tuple[object, ...], value)))})"
    if callable(value):
        return inspect.getsource(inspect.getmodule(value) or type(value))
    return repr(value)
