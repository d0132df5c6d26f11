"""A model line whose versions are registered in a real MLflow, under a name of their own."""

from itertools import count
from pathlib import Path

from mlops_assets.promotion import mlflow_aliases as mirrors
from mlops_assets.promotion.mlflow_aliases import Mirror
from mlops_assets.training.model_registry import ModelRegistry
from tests.promotion.model_line import ModelLine, model
from tests.training.mlflow_runs import new_run

NAMES = count(1)


class MirroredLine(ModelLine):
    def __init__(self, root: Path, registry: ModelRegistry, *, risk: str = "medium") -> None:
        super().__init__(root, name=f"line_{next(NAMES)}", risk=risk)
        self.registry, self.client, self.name = registry, registry.client, self.use_case.name

    def train(self, version: int) -> None:
        about = {"run_id": new_run(self.registry, self.name).run_id, "tags": {}, "description": "a model"}
        onnx = model(version)
        assert version == self.registry.register(self.name, onnx, **about)

    def mirror(self) -> None:
        mirrors.mirror(self.registry, self.state())

    def current(self) -> Mirror:
        return mirrors.current(self.registry, self.name)

    def differences(self) -> list[str]:
        return mirrors.differences(self.registry, self.state())
