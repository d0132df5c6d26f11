"""The record that lets a training be repeated: trainer, rows, code, libraries and machine."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.spec.implemented import module_source
from mlops_assets.spec.training import BUILT_IN, TRAINERS, Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import THREADS, TRAIN
from mlops_assets.training.imported import implementation

Record = dict[str, str]
TRAINER, TRAINER_CLASS, TRAIN_SECONDS = "trainer", "trainer_class", "train_seconds"
LIBRARIES = ("numpy", "polars", "onnx")  # of every trainer
FOLDER, SOURCES = Path(__file__).parent, ("train", "fitted", "signature", "onnx_file")  # the modules that shape a model


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


def record_code(use_case: UseCase, trainer: Trainer) -> Record:
    """Fingerprints of the declaration and of the training code: 12 hex digits of SHA-256."""
    sources = {f"source.{module}": (FOLDER / f"{module}.py").read_bytes() for module in SOURCES}
    for parent, _, name in (module.rpartition(".") for module in trainer.modules):
        if parent == TRAINERS:
            sources[f"source.train_{name}"] = (FOLDER / "trainers" / f"{name}.py").read_bytes()
        else:
            sources[f"module.{parent}.{name}"] = module_source(f"{parent}.{name}".lstrip("."))
    return {
        "code.training_set": use_case.fingerprint("training_set"),
        "code.candidate": use_case.fingerprint("candidate"),
        **{recorded: hashlib.sha256(code).hexdigest()[:12] for recorded, code in sources.items()},
    }


def record_surroundings(use_case: UseCase, trainer: Trainer) -> Record:
    """The code, versions of libraries, and the machine."""
    return {
        **record_code(use_case, trainer),
        **{f"library.{name}": version(name) for name in (*LIBRARIES, *trainer.LIBRARIES)},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": str(THREADS),
        "accelerator": getattr(implementation(trainer), "accelerator", lambda: "cpu")(),
    }


def record_trainer(trainer: Trainer) -> Record:
    """What `read_trainer` reads; a class outside this package is recorded by its import path."""
    own = (
        {} if type(trainer) in BUILT_IN.values() else {TRAINER_CLASS: f"{type(trainer).__module__}:{type(trainer).__qualname__}"}
    )
    return {TRAINER: trainer.model_dump_json(), **own}


def read_trainer(record: Mapping[str, str], where: str) -> Trainer:
    """The trainer of a record. Raises NotRecorded when there is none, or none that can be read."""
    path, text = record.get(TRAINER_CLASS), record.get(TRAINER, "")
    try:
        declared: type[Trainer] = resolve_name(path) if path else BUILT_IN[json.loads(text)["kind"]]
        return declared.model_validate_json(text)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"the record of its training has trainer {record.get(TRAINER)!r}; legal: one as JSON. Train it again."
        raise NotRecorded(f"{where} · {problem}") from error
    except (ImportError, AttributeError) as error:
        problem = f"it was trained by {path}, which cannot be imported: {error}. Install its package."
        raise NotRecorded(f"{where} · {problem}") from error


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Changed, ...]:
    """The entries of `now` that were different or not recorded, in the order of `now`."""
    return tuple(Changed(name, then.get(name), value) for name, value in now.items() if then.get(name) != value)


def _cpu() -> str:
    # Another processor may have other vector units, which sum in another order.
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
