"""The record that lets a training be repeated: trainer, rows, code, libraries and machine."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, TypeAdapter

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.spec.training import Lightning, Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import THREADS, TRAIN

Record = dict[str, str]
TRAINER, TRAIN_SECONDS = "trainer", "train_seconds"
LIBRARIES = ("torch", "pytorch-lightning", "scikit-learn", "numpy", "polars", "onnx", "skl2onnx", "onnxscript")
FOLDER, SOURCES = Path(__file__).parent, ("train", "fitted", "signature", "onnx_file")  # the modules that shape a model
_TRAINER: TypeAdapter[Trainer] = TypeAdapter(Annotated[Trainer, Field(discriminator="kind")])


class NotRecorded(LookupError):
    """A record that lacks what is needed to repeat the training."""


@dataclass(frozen=True)
class Changed:
    """One entry of the record that differs now; `then` is None where nothing was recorded."""

    name: str
    then: str | None
    now: str


def in_training_order(rows: pl.DataFrame, use_case: UseCase) -> pl.DataFrame:
    """By moment and key, so that a model does not depend on the order in which a table's files are read."""
    return rows.sort(EVENT_TIMESTAMP, *use_case.label.key, maintain_order=True)


def record_rows(rows: pl.DataFrame) -> Record:
    """The number of rows of all splits, and the first and last moment of those in train."""
    moments = rows.filter(pl.col("split") == TRAIN)[EVENT_TIMESTAMP]
    return {"window.first": str(moments.min()), "window.last": str(moments.max()), "rows": str(len(rows))}


def record_surroundings(use_case: UseCase, trainer: Trainer) -> Record:
    """Fingerprints of the declaration and of the training code (12 hex digits of SHA-256), versions, machine."""
    files, accelerator = ("boosting",), "cpu"
    if isinstance(trainer, Lightning):
        from mlops_assets.training.trainers import lightning

        files, accelerator = ("lightning", "network"), lightning.accelerator()
    modules = {module: module for module in SOURCES} | {f"train_{name}": f"trainers/{name}" for name in files}
    sources = {recorded: (FOLDER / f"{module}.py").read_bytes() for recorded, module in modules.items()}
    return {
        "code.training_set": use_case.fingerprint("training_set"),
        "code.candidate": use_case.fingerprint("candidate"),
        **{f"source.{recorded}": hashlib.sha256(code).hexdigest()[:12] for recorded, code in sources.items()},
        **{f"library.{name}": version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": str(THREADS),
        "accelerator": accelerator,
    }


def read_trainer(record: Mapping[str, str], where: str) -> Trainer:
    """The trainer of a record. Raises NotRecorded when there is none, or none that can be read."""
    try:
        return _TRAINER.validate_json(record.get(TRAINER, ""))
    except ValueError:
        problem = f"the record of its training has trainer {record.get(TRAINER)!r}; legal: one as JSON. Train it again."
        raise NotRecorded(f"{where} · {problem}") from None


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Changed, ...]:
    """The entries of `now` that were different or not recorded, in the order of `now`."""
    return tuple(Changed(name, then.get(name), value) for name, value in now.items() if then.get(name) != value)


def _cpu() -> str:
    # Another processor may have other vector units, which sum in another order.
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
