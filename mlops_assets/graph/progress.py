"""How far a use case is on its way to a champion: a line for each stage that is complete, read from the event log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.wording import counted, some
from mlops_assets.graph.kernel.asset_metadata import WARNING
from mlops_assets.spec.use_case import UseCase

TRAINED = {
    "training set": "training_set",
    "candidate": "candidate",
    "gates": "evaluation",
    "blessing": "blessing",
    "rollout": "rollout",
}
SENTENCES = ("verdict", "summary")  # metadata that says what happened
WIDTH = max(map(len, TRAINED))


def training_stages(use_case: UseCase) -> dict[str, list[names.AssetPath]]:
    """The assets of a training, by stage."""
    return {stage: [names.stage(use_case.name, asset)] for stage, asset in TRAINED.items()}


def all_stages(use_case: UseCase) -> dict[str, list[names.AssetPath]]:
    """The assets from the landed file to the rollout, by stage."""
    name, tables = use_case.name, [source.table for source in use_case.sources]
    views = [view.name for view in use_case.features.views]
    first = {
        "raw": [names.raw(name, table) for table in tables],
        "validated": [names.validated(name, table) for table in tables],
        "features": [asset(name, view) for view in views for asset in (names.feature, names.online)],
    }
    return {stage: assets for stage, assets in first.items() if assets} | training_stages(use_case)


@dataclass
class Progress:
    """Reports each stage once, as soon as each of its assets has been materialized after `since`, in seconds of the epoch."""

    instance: dg.DagsterInstance
    stages: dict[str, list[names.AssetPath]]
    report: Callable[[str], None]
    since: float = 0.0
    began: float = field(default_factory=monotonic)

    def update(self) -> None:
        for stage, assets in [*self.stages.items()]:
            events = [self.instance.get_latest_materialization_event(dg.AssetKey(asset)) for asset in assets]
            made = [event for event in events if event and event.timestamp > self.since]
            if len(made) < len(assets):
                continue
            del self.stages[stage]
            self.report(f"  {stage:<{WIDTH}}  {monotonic() - self.began:4.0f} s  {_sentence(made) or _count(assets)}")


def _sentence(events: list[dg.EventLogEntry]) -> str:
    """Of a stage of one asset."""
    made = events[0].asset_materialization if len(events) == 1 else None
    metadata: Mapping[str, dg.MetadataValue[Any]] = made.metadata if made else {}
    sentences = [str(metadata[name].value) for name in SENTENCES if name in metadata]
    warning = f" Warning: {metadata[WARNING].value}" if WARNING in metadata else ""
    return sentences[0] + warning if sentences else ""


def _count(assets: list[names.AssetPath]) -> str:
    return f"{counted(len(assets), 'asset')}: {some([asset[-1] for asset in assets], 4)}"
