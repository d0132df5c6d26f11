"""UseCase: the whole declaration of one use case, its cross-field checks and its fingerprints."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Literal, Self, cast

from pydantic import Field, InstanceOf, ValidationInfo, field_validator, model_validator

from mlops_assets.spec.column_type import COLUMN_TYPES, DType
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.defaults import TRAINER, complete_features, complete_label, default_split
from mlops_assets.spec.feature import Features, Label
from mlops_assets.spec.form import AnyForm
from mlops_assets.spec.gate import FAIRNESS, BeatsChampion, EverySlice, Gate, NoLeak, NoSkew
from mlops_assets.spec.grain import Snapshot
from mlops_assets.spec.monitor import (
    Drift,
    Freshness,
    Monitor,
    OnDrift,
    OnPerformance,
    OnSchedule,
    Performance,
    Skew,
    Trigger,
    stage_names,
)
from mlops_assets.spec.pulled_source import Http, Sql, Stream
from mlops_assets.spec.rollout import AtOnce, Canary, Rollout
from mlops_assets.spec.serving import Serving
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import Spec
from mlops_assets.spec.split import GroupSplit, RandomSplit, TimeSplit
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.spec.training import Search, Trainer, own_sources

# What each stage is made from: editing a field changes the code version of these stages and of no other.
STAGE_FIELDS: dict[str, tuple[str, ...]] = {
    "raw": ("sources",),
    "validated": ("contracts", "forms"),
    "feature": ("features",),
    "training_set": ("features", "label", "split"),
    "candidate": ("trainer", "search"),
    "evaluation": ("reference", "slices", "task", "gates"),
    "monitor": ("monitors",),
}
READS_MONITOR: dict[type[Spec], type[Monitor]] = {NoSkew: Skew, OnDrift: Drift, OnPerformance: Performance}
# The types of request columns that a model cannot read: a day or a moment has no level that comes back.
NO_INPUT: dict[str, tuple[DType, ...]] = {"numeric": ("datetime", "date"), "categorical": ("datetime", "date", "decimal")}
Stage = Literal["raw", "validated", "feature", "training_set", "candidate", "evaluation", "monitor"]


class UseCase(Spec):
    """One business question answered by one model line. `first_day` to `last_day` (None: today) are the days that can land, in
    the time zone of each source; a use case of snapshots alone has neither. `reference` is a second trainer, fitted on the same
    rows and never promoted. What `features` leave out, and `split`, follow from the other fields: spec/defaults.py.
    `example` names a function, as module:function, whose deliveries of two days and those between `mlops land` writes.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    owner: str = Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")
    question: str
    risk: Literal["low", "medium", "high"] = "medium"
    first_day: date | None = None
    last_day: date | None = None
    sources: tuple[Files | Sql | Http | Stream, ...]
    contracts: tuple[Contract, ...]
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

    @property
    def forms(self) -> tuple[AnyForm, ...]:
        """What the text of a file means."""
        return tuple(source.form for source in self.sources)

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

    def triggers_of(self, stage: str) -> list[OnDrift | OnPerformance]:
        """The triggers that a failed check of this monitor fires."""
        kind, readers = type(self.monitor_stages[stage]), [one for one in self.triggers if not isinstance(one, OnSchedule)]
        return [reader for reader in readers if READS_MONITOR[type(reader)] is kind and reader.monitor in ("", stage)]

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
        text = "\n".join(_stable_text(getattr(self, field)) for field in STAGE_FIELDS[stage])
        text += self.task.learned + own_sources(self.trainer) if stage == "candidate" else ""
        text += own_sources(self.reference) if stage == "evaluation" and self.reference else ""
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def contradictions(self) -> Iterator[str]:
        yield from self._table_problems()
        yield from self._zone_problems()
        yield from self._snapshot_problems()
        yield from self._feature_problems()
        yield from self._label_problems()
        yield from self._day_problems()
        yield from self._split_problems()
        yield from self._rollout_problems()
        yield from self._monitor_problems()
        yield from self._metric_problems()
        if self.search and not self.trainer.space():
            yield f"search · {type(self.trainer).__name__} declares nothing that a search varies. Declare ranges, or no search."
        yield from _unknown("slices", self.slices, self.features.inputs, "is not an input of the model; inputs")
        for index, gate in enumerate(self.gates):
            if isinstance(gate, EverySlice):
                yield from _unknown(f"gates[{index}].column", [gate.column], self.slices, "is not a declared slice; slices")

    def _table_problems(self) -> Iterator[str]:
        tables, sources = [one.table for one in self.contracts], [one.table for one in self.sources]
        no_contract = "has no contract; contracts"
        yield from _unknown("sources", sources, tables, no_contract)
        yield from _unknown("contracts", tables, sources, "has no source; sources")
        for source in (source for source in self.sources if source.table in tables):
            yield from source.contract_problems(self.contract(source.table))
        if not self.features.request_table:
            legal = ", ".join(tables)
            yield f"features.request_table · there are several tables, and none is declared; legal: {legal}. Declare it."
            return
        yield from _unknown("label.table", [self.label.table], tables, no_contract)
        for view in self.features.views:
            yield from _unknown(f"features.views[{view.name}].tables", view.tables, tables, no_contract)
        yield from _unknown("features.request_table", [self.features.request_table], tables, no_contract)

    def _zone_problems(self) -> Iterator[str]:
        zones = {source.table: source.grain.tz for source in self.sources if not isinstance(source.grain, Snapshot)}
        for view in self.features.views:
            own = {zones[table]: table for table in view.tables if table in zones}
            if len(own) > 1:
                found = ", ".join(f"{zone} ({table})" for zone, table in own.items())
                yield f"features.views[{view.name}].tables · of the time zones {found}; legal: of one. Declare one view for each."

    def _snapshot_problems(self) -> Iterator[str]:
        """What needs a partition in time."""
        snapshots = {source.table for source in self.sources if isinstance(source.grain, Snapshot)}
        for contract in (contract for contract in self.contracts if contract.table in snapshots):
            declared = {
                "day": bool(contract.day) and "no day that a row could miss",
                "columns": any(column.since for column in contract.columns) and "no first day of a column",
                "expectations": any(hasattr(one, "partitions") for one in contract.expectations) and "nothing to compare with",
            }
            for field, found in declared.items():
                if found:
                    place = f"contracts[{contract.table}].{field}"
                    yield f"{place} · a Snapshot has {found}. Leave it out, or declare another grain."
        for view in self.features.views:
            if view.lookback and snapshots.issuperset(view.tables):
                found = "a lookback, and its tables are snapshots, which are always read whole"
                yield f"features.views[{view.name}].lookback · {found}. Leave it out, or declare another grain."

    def columns(self, table: str) -> list[Column]:
        """None for an unknown table."""
        return [column for contract in self.contracts if contract.table == table for column in contract.columns]

    def _columns(self, table: str) -> dict[str, Column]:
        return {column.name: column for column in self.columns(table)}

    def _feature_problems(self) -> Iterator[str]:
        features, columns = self.features, [*self._columns(self.features.request_table)]
        # What was left out may be illegal as well, such as an input with a name of the platform.
        yield from (f"features.{problem}" for problem in features.contradictions() if columns)
        if columns and not features.inputs:
            yield f"features.numeric · {self._describe_no_inputs()} Declare numeric or categorical."
        if columns and not features.request:
            yield "features.request · no request column is declared or follows from the inputs. Declare what clients send."
        if columns:
            yield from _unknown("features.request", features.request, columns, "is not a column of its table; columns")
            yield from self._request_feature_problems()
            yield from self._input_problems()
        yield from _unknown("serving.sticky_key", self.serving.sticky_key, features.request, "is not a request column; request")

    def _describe_no_inputs(self) -> str:
        if self.features.views or self.features.entity_rows:
            return "no input is declared, and the columns of views and entity_rows are known only when they run."
        return f"no column of {self.features.request_table} can be one: all are key, label, moments or personal data."

    def _input_problems(self) -> Iterator[str]:
        columns = self._columns(self.features.request_table)
        for field, dtypes in NO_INPUT.items():
            for name in (name for name in getattr(self.features, field) if name in self.features.request and name in columns):
                if (dtype := columns[name].dtype) in dtypes:
                    legal = ", ".join(sorted(COLUMN_TYPES.keys() - {*dtypes}))
                    yield f"features.{field} · {name!r} is of type {dtype}; legal: {legal}. Derive a feature from it."

    def _request_feature_problems(self) -> Iterator[str]:
        columns = self._columns(self.features.request_table)
        types: dict[str, DType] = {name: columns[name].dtype for name in self.features.request if name in columns}
        for feature in self.features.request_features:
            field = f"features.request_features[{feature.name}]"
            unknown = "is neither a request column nor an earlier request feature; these are"
            yield from _unknown(field, feature.columns, [*types], unknown)
            for name in (name for name in feature.columns if types.get(name, feature.READS[0]) not in feature.READS):
                legal = f"{type(feature).__name__} reads: {', '.join(feature.READS)}"
                yield f"{field} · {name!r} is of type {types[name]}; {legal}. Use another column or word."
            if feature.name in self.features.request:
                yield f"{field} · a request column has this name, too. Rename the feature."
            if types.keys() >= {*feature.columns}:
                types[feature.name] = feature.dtype(types)

    def _label_problems(self) -> Iterator[str]:
        label, features = self.label, self.features
        yield from self._label_column_problems()
        pii = {name: column.pii for name, column in self._columns(features.request_table).items()}
        # Outcomes are joined to the prediction log, which has these columns of its own.
        columns = tuple(dict.fromkeys((*features.request, *features.inputs)))
        yield from _unknown("label.key", label.key, columns, "is neither a request column nor an input; these are")
        for name in sorted(name for name in label.key if pii.get(name)):
            yield f"label.key · {name!r} is personal data that the log hides: no outcome would join. Use another key."
        for field in (field for field in ("request", "inputs") if label.name in getattr(features, field)):
            yield f"features.{field} · {label.name!r} is the label, which is unknown when a request is made. Remove it."

    def _label_column_problems(self) -> Iterator[str]:
        """Of a label that no transform makes."""
        label, columns = self.label, self._columns(self.label.table)
        yield from (f"label.{problem}" for problem in label.contradictions())
        if label.transform:
            if not label.key:
                yield "label.key · the label has no key; legal: columns that the transform returns. Declare it."
        elif columns:
            read = filter(None, (label.name, *label.key, label.known_at))
            yield from _unknown("label", [*read], [*columns], f"is no column of {label.table}; columns")
            if label.name in columns:
                yield from self.task.label_problems(columns[label.name])
            if label.known_at in columns and (dtype := columns[str(label.known_at)].dtype) != "datetime":
                yield f"label.known_at · {label.known_at!r} is of type {dtype}; legal: datetime. Use another column."

    def _day_problems(self) -> Iterator[str]:
        in_time = [source.table for source in self.sources if not isinstance(source.grain, Snapshot)]
        if in_time and self.first_day is None:
            yield f"first_day is missing; it is needed for sources with a time: {', '.join(in_time)}. Declare it."
        if self.first_day is None or self.last_day is None:
            return
        if self.last_day < self.first_day:
            yield f"last_day is {self.last_day}; legal: first_day, which is {self.first_day}, or later. Swap or correct them."
        else:
            yield from self.split.span_problems(timedelta(days=(self.last_day - self.first_day).days + 1))

    def _split_problems(self) -> Iterator[str]:
        features, columns = self.features, self._columns(self.features.request_table)
        if columns and not self.is_dated:
            yield from self.split.undated_problems(features.request_table)
        legal = [*columns, *(feature.name for feature in features.request_features)]
        if columns:
            found = f"is neither a column of {features.request_table} nor a request feature; these are"
            yield from _unknown("split.column", self.split.columns, legal, found)

    def _rollout_problems(self) -> Iterator[str]:
        if not (isinstance(self.rollout, Canary) and self.rollout.split == "ab"):
            return
        if not self.serving.sticky_key:
            yield "rollout.split · 'ab' draws by serving.sticky_key, which is empty. Declare it, or use split='canary'."
        columns = self._columns(self.features.request_table)
        for name in (name for name in self.serving.sticky_key if name in columns and columns[name].pii == "left_out"):
            yield f"serving.sticky_key · {name!r} is left out of the log, which must show who was drawn. Use pii='hashed'."

    def _monitor_problems(self) -> Iterator[str]:
        stages = stage_names(self.monitors)
        if self.skew and not self.features.views:
            yield "monitors · Skew compares features of views with those served, and features.views is empty. Remove it."
        for name in (name for name in dict.fromkeys(stages) if stages.count(name) > 1):
            yield f"monitors · {stages.count(name)} are named {name!r}; legal: names of their own. Give each another suffix."
        for field, readers in {"gates": self.gates, "triggers": self.triggers}.items():
            for index, reader in enumerate(readers):
                yield from self._reader_problems(f"{field}[{index}]", reader)

    def _metric_problems(self) -> Iterator[str]:
        legal = (*self.task.METRICS, *(FAIRNESS if self.task.DECIDES else ()))
        for field, readers in {"gates": self.gates, "triggers": self.triggers}.items():
            for index, reader in enumerate(readers):
                if (metric := getattr(reader, "metric", legal[0])) not in legal:
                    found = f"{type(reader).__name__} reads {metric}, which {type(self.task).__name__} does not measure"
                    yield f"{field}[{index}] · {found}; legal: {', '.join(legal)}. Use one of these."

    def _reader_problems(self, field: str, reader: Gate | Trigger) -> Iterator[str]:
        if not (needed := READS_MONITOR.get(type(reader))):
            return
        if not (stages := [name for name, monitor in self.monitor_stages.items() if isinstance(monitor, needed)]):
            found = f"{type(reader).__name__} reads the result of the monitor {needed.__name__}"
            monitors = ", ".join(type(monitor).__name__ for monitor in self.monitors) or "none"
            yield f"{field} · {found}; monitors: {monitors}. Declare {needed.__name__}()."
        elif isinstance(reader, OnDrift | OnPerformance) and reader.monitor:
            yield from _unknown(f"{field}.monitor", [reader.monitor], stages, f"is no {needed.__name__} monitor; legal")


def _unknown(field: str, names: Sequence[str], legal: Sequence[str], problem: str) -> Iterator[str]:
    for name in (name for name in names if name not in legal):
        yield f"{field} · {name!r} {problem}: {', '.join(legal) or 'none'}. Use one of these or declare it."


def _stable_text(value: object) -> str:
    """A text that changes exactly when the declaration does; functions count by their module's source."""
    if isinstance(value, Spec):
        fields = (f"{name}={_stable_text(getattr(value, name))}" for name in type(value).model_fields)
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_stable_text, cast(tuple[object, ...], value)))})"
    if callable(value):
        return inspect.getsource(inspect.getmodule(value) or type(value))
    return repr(value)
