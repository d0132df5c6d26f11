"""The machine beside a real MLflow, in which somebody moves aliases and rewrites stages.

Belongs here: the rules and invariants of the mirror. Not here: everything else that can happen (machine.py).
"""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from mlops_assets.ports.model_registry import ModelRegistry
from mlops_assets.ports.model_stages import STAGE, Shown, shown_of
from mlops_assets.promotion import mirrors
from mlops_assets.promotion.mirrors import NothingToAdopt
from tests.promotion.machine import PromotionMachine
from tests.promotion.mirrored_line import MirroredLine

ALIASES = st.sampled_from(["champion", "champion", "challenger", "best"])
STAGES = st.sampled_from(["Production", "Staging", "Archived"])


class MirroredMachine(PromotionMachine):
    registry: ModelRegistry

    def line_below(self, root: Path, risk: str) -> MirroredLine:
        self.mirrored = MirroredLine(root, self.registry, risk=risk)
        self.ours = self.shown()
        return self.mirrored

    def shown(self) -> Shown:
        return shown_of(self.registry, self.mirrored.name)

    @rule(version=PromotionMachine.versions, alias=ALIASES)
    def move_alias(self, version: int, alias: str) -> None:
        self.mirrored.client.set_registered_model_alias(self.mirrored.name, alias, str(version))

    @rule(alias=ALIASES)
    def delete_alias(self, alias: str) -> None:
        if alias in self.shown().aliases:
            self.mirrored.client.delete_registered_model_alias(self.mirrored.name, alias)

    @rule(version=PromotionMachine.versions, stage=STAGES)
    def write_stage(self, version: int, stage: str) -> None:
        self.mirrored.client.set_model_version_tag(self.mirrored.name, str(version), STAGE, stage)

    @rule()
    def put_right(self) -> None:
        self.mirrored.put_right()
        self.ours = self.shown()

    @rule()
    def adopt(self) -> None:
        moved = self.shown().aliases.get("champion")
        said: dict[str, Any] = {"by": "bob", "at": self.line.now()}
        try:
            legal = moved is not None and self.may(moved)
            if self.attempt(lambda: mirrors.adopt(self.registry, self.line.promotions, **said), legal=legal):
                self.ours = self.shown()
        except NothingToAdopt:
            assert moved in (None, self.audit.champion)

    @invariant()
    def exactly_the_edits_of_others_are_found(self) -> None:
        if hasattr(self, "mirrored"):
            shown = self.shown()
            stages = {version: stage for version, stage in shown.stages.items() if stage is not None}
            ours = {version: stage for version, stage in self.ours.stages.items() if stage is not None}
            edited = (shown.aliases, stages) != (self.ours.aliases, ours)
            assert bool(self.mirrored.differences()) == edited
