"""The models that a retraining before every step serves: each trained on what was known then, and promoted at once."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlops_assets.foundation import names
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.graph.in_process import InProcess
from mlops_assets.training.train import fit, training_columns
from mlops_assets.training.training_record import in_training_order


@dataclass(frozen=True)
class Retrained:
    """One model file for each step, in `folder`."""

    platform: InProcess
    folder: Path

    def keep(self, step: int, version: int, *, at: datetime) -> None:
        """Of a step before which the platform trained this version, whether or not its gates passed it."""
        registry = self.platform.resources(at)["registry"].open()
        self._store(step, registry.load(names.registered_model(self.platform.use_case.name), version))

    def train(self, step: int, *, at: datetime) -> str:
        """Of a step before which the platform trained none. Why it could not be trained; empty where it was."""
        use_case, path = self.platform.use_case, names.stage(self.platform.use_case.name, "training_set")
        ran = self.platform.materialize([path], at=at)
        if not ran.succeeded:
            return ran.error
        rows = self.platform.resources(at)["warehouse"].open().scan(path).collect()
        model = fit(use_case.trainer, in_training_order(rows, use_case), **training_columns(use_case))
        self._store(step, model.onnx)
        return ""

    def load(self, step: int) -> bytes:
        return (self.folder / f"{step}.onnx").read_bytes()

    def _store(self, step: int, onnx: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / f"{step}.onnx", onnx)
