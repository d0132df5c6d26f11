"""UseCase: the whole declaration of one use case, its cross-field checks and its fingerprints."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal, cast

from pydantic import Field

from mlops_assets.spec.contract import Contract, Daily, Files
from mlops_assets.spec.feature import Features, Label, TimeSplit
from mlops_assets.spec.gate import EverySlice, Gate, NoSkew
from mlops_assets.spec.monitor import Freshness, Monitor, Skew, Trigger
from mlops_assets.spec.rollout import AtOnce, Canary, Rollout
from mlops_assets.spec.serving import Serving
from mlops_assets.spec.spec import Spec
from mlops_assets.spec.training import Search, Trainer

# What each stage is made from: editing a field changes the code version of these stages and of no other.
STAGE_FIELDS: dict[str, tuple[str, ...]] = {
    "raw": ("sources",),
    "validated": ("contracts",),
    "feature": ("features",),
    "training_set": ("features", "label", "split"),
    "candidate": ("trainer", "search"),
    "evaluation": ("reference", "slices", "threshold", "gates"),
    "monitor": ("monitors",),
}
Stage = Literal["raw", "validated", "feature", "training_set", "candidate", "evaluation", "monitor"]


class UseCase(Spec):
    """One business question answered by one model line. `first_day` to `last_day` (None: today) are the UTC days that can land.
    `reference` is a second trainer, fitted on the same rows and never promoted. `threshold` turns a probability into a decision.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    owner: str = Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")
    question: str
    risk: Literal["low", "medium", "high"] = "medium"
    first_day: date
    last_day: date | None = None
    sources: tuple[Files, ...]
    contracts: tuple[Contract, ...]
    features: Features
    label: Label
    split: TimeSplit
    trainer: Trainer = Field(discriminator="kind")
    search: Search | None = None
    reference: Trainer | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)
    slices: tuple[str, ...] = ()
    gates: tuple[Gate, ...]
    monitors: tuple[Monitor, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    freshness: Freshness = Freshness()
    serving: Serving = Serving()
    rollout: Rollout = AtOnce()

    def contract(self, table: str) -> Contract:
        return next(contract for contract in self.contracts if contract.table == table)

    def is_daily(self, *tables: str) -> bool:
        """Whether a file is due each day for any of these tables; the others get files only for changes."""
        return any(isinstance(source.cadence, Daily) for source in self.sources if source.table in tables)

    @property
    def skew(self) -> Skew | None:
        return next((monitor for monitor in self.monitors if isinstance(monitor, Skew)), None)

    def fingerprint(self, stage: Stage) -> str:
        """Twelve hex digits over the fields (and the source of the transforms) that `stage` is made from."""
        text = "\n".join(_stable_text(getattr(self, field)) for field in STAGE_FIELDS[stage])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def contradictions(self) -> Iterator[str]:
        features, tables, sources = self.features, [one.table for one in self.contracts], [one.table for one in self.sources]
        no_contract = "has no contract; contracts"
        yield from _unknown("sources", sources, tables, no_contract)
        yield from _unknown("contracts", tables, sources, "has no source; sources")
        yield from _unknown("label.table", [self.label.table], tables, no_contract)
        for view in features.views:
            yield from _unknown(f"features.views[{view.name}].tables", view.tables, tables, no_contract)
        yield from _unknown("features.request_table", [features.request_table], tables, no_contract)
        yield from _unknown("serving.sticky_key", self.serving.sticky_key, features.request, "is not a request column; request")
        pii = {column.name: column.pii for column in self.contract(features.request_table).columns}
        for name in sorted(name for name in self.label.key if pii.get(name)):
            yield f"label.key · {name!r} is personal data that the log hides: no outcome would join. Use another key."
        if isinstance(self.rollout, Canary) and self.rollout.split == "ab":
            if not self.serving.sticky_key:
                yield "rollout.split · 'ab' draws by serving.sticky_key, which is empty. Declare it, or use split='canary'."
            for name in (name for name in self.serving.sticky_key if pii.get(name) == "left_out"):
                yield f"serving.sticky_key · {name!r} is left out of the log, which must show who was drawn. Use pii='hashed'."
        yield from _unknown("slices", self.slices, features.inputs, "is not an input of the model; inputs")
        for index, gate in enumerate(self.gates):
            if isinstance(gate, EverySlice):
                yield from _unknown(f"gates[{index}].column", [gate.column], self.slices, "is not a declared slice; slices")
            if isinstance(gate, NoSkew) and self.skew is None:
                declared = ", ".join(type(monitor).__name__ for monitor in self.monitors) or "none"
                yield f"gates[{index}] · NoSkew reads the result of the monitor Skew; monitors: {declared}. Declare Skew()."
        for field, names in {"features.inputs": features.inputs, "contracts": tables}.items():
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"{field} · {name!r} is declared twice. Keep one."


def _unknown(field: str, names: Sequence[str], legal: Sequence[str], problem: str) -> Iterator[str]:
    for name in (name for name in names if name not in legal):
        yield f"{field} · {name!r} {problem}: {', '.join(legal)}. Use one of these or declare it."


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
