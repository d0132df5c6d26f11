"""The record that lets a training be repeated: trainer, rows, code, libraries and machine."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
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
# The modules of training/ that shape a model, by the name under which the record stores their fingerprint.
SOURCES = {name: name for name in ("train", "fitted", "signature", "onnx_file")}
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
    name = "lightning" if isinstance(trainer, Lightning) else "boosting"
    sources = SOURCES | {f"train_{name}": f"trainers.{name}"}
    return {
        "code.training_set": use_case.fingerprint("training_set"),
        "code.candidate": use_case.fingerprint("candidate"),
        **{f"source.{recorded}": _source(module) for recorded, module in sources.items()},
        **{f"library.{name}": version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "threads": str(THREADS),
        "accelerator": _accelerator(trainer),
    }


def record_trainer(trainer: Trainer) -> Record:
    """The trainer as it was fitted: after a search, the one that it found."""
    return {TRAINER: trainer.model_dump_json()}


def read_trainer(record: Mapping[str, str], where: str) -> Trainer:
    """The trainer of a record. Raises NotRecorded when there is none, or none that can be read."""
    try:
        return _TRAINER.validate_json(record.get(TRAINER, ""))
    except ValueError:
        found = record.get(TRAINER)
        message = f"{where} · the record of its training has trainer {found!r}; legal: one as JSON. Train it again."
        raise NotRecorded(message) from None


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Changed, ...]:
    """The entries of `now` that were different or not recorded, in the order of `now`."""
    return tuple(Changed(name, then.get(name), value) for name, value in now.items() if then.get(name) != value)


def _source(module: str) -> str:
    found = find_spec(f"mlops_assets.training.{module}")
    assert found is not None and found.origin is not None
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()[:12]


def _cpu(info: Path) -> str:
    # Another processor may have other vector units, which sum in another order.
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _accelerator(trainer: Trainer) -> str:
    if not isinstance(trainer, Lightning):
        return "cpu"
    from mlops_assets.training.trainers.lightning import accelerator

    return accelerator()
