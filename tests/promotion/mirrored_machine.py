"""The promotion machine next to a real MLflow, in which people move aliases and rewrite stages."""

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from mlops_assets.promotion.mlflow_aliases import STAGE
from mlops_assets.training.model_registry import ModelRegistry
from tests.promotion.machine import PromotionMachine
from tests.promotion.mirrored_line import MirroredLine

ALIASES = st.sampled_from(["champion", "champion", "challenger"])
STAGES = st.sampled_from(["Production", "Staging", "Archived"])


class MirroredMachine(PromotionMachine):
    registry: ModelRegistry

    def line_below(self, root: Path, risk: str) -> MirroredLine:
        self.mirrored = MirroredLine(root, self.registry, risk=risk)
        return self.mirrored

    @rule(version=PromotionMachine.versions, alias=ALIASES)
    def move_alias(self, version: int, alias: str) -> None:
        self.mirrored.client.set_registered_model_alias(self.mirrored.name, alias, str(version))

    @rule(alias=ALIASES)
    def delete_alias(self, alias: str) -> None:
        if self.mirrored.current()[alias] is not None:
            self.mirrored.client.delete_registered_model_alias(self.mirrored.name, alias)

    @rule(version=PromotionMachine.versions, stage=STAGES)
    def write_stage(self, version: int, stage: str) -> None:
        self.mirrored.client.set_model_version_tag(self.mirrored.name, str(version), STAGE, stage)

    @rule()
    def mirror(self) -> None:
        self.mirrored.mirror()
        assert self.mirrored.differences() == []

    @invariant()
    def every_edit_is_reported(self) -> None:
        """The audit computes the serving version independently."""
        if hasattr(self, "mirrored"):
            now, named = self.mirrored.current(), {"champion": self.audit.champion, "challenger": self.audit.challenger}
            production = [version for version, stage in now.items() if stage == "Production"]
            same = {alias: now[alias] for alias in named} == named
            assert (same and production == [self.audit.champion] * bool(self.audit.champion)) or self.mirrored.differences()
