"""Modules and classes that a trainer names by their import path, loaded when it trains."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from mlops_assets.spec.training import BUILT_IN, Imported, Trainer
from mlops_assets.spec.use_case import UseCase


class UnusableTrainer(ValueError):
    """A declared trainer that cannot train: its library or class is missing or does not fit, or its model file is wrong."""


def implementation(trainer: Trainer) -> Any:
    """The module whose `train` fits it. Raises UnusableTrainer."""
    module = _import(trainer, trainer.modules[0])
    if not hasattr(module, "train"):
        raise UnusableTrainer(f"{type(trainer).__name__} · {module.__name__} has no function train. Add it (docs/trainers.md).")
    return module


def build(trainer: Imported, **more: Any) -> Any:
    """An object of its class, from its arguments and these. Raises UnusableTrainer."""
    imported = _imported(trainer)
    try:
        return imported(**trainer.arguments, **more)
    except (TypeError, ValueError) as error:
        found = ", ".join(f"{key}={value!r}" for key, value in trainer.arguments.items()) or "none"
        where = f"{type(trainer).__name__} · {trainer.path}"
        raise UnusableTrainer(f"{where} · it cannot be built: {error}; arguments: {found}. Correct them.") from error


def find_trainer_problems(use_case: UseCase) -> Iterator[str]:
    """What is wrong with the paths and arguments of trainers, a sentence each; imports what they name."""
    for field, trainer in {"trainer": use_case.trainer, "reference": use_case.reference}.items():
        try:
            if isinstance(trainer, Imported):
                _require_arguments(trainer)
            elif trainer and type(trainer) not in BUILT_IN.values():
                implementation(trainer)
        except UnusableTrainer as error:
            yield f"{field} · {error}"


def _require_arguments(trainer: Imported) -> None:
    signature = inspect.signature(_imported(trainer))
    try:
        signature.bind_partial(**trainer.arguments)
    except TypeError as error:
        names = ", ".join(name for name in signature.parameters if name != "self") or "none"
        raise UnusableTrainer(f"{type(trainer).__name__} · {trainer.path} · {error}; it has: {names}. Correct it.") from error


def _imported(trainer: Imported) -> Any:
    """Its class. Raises UnusableTrainer."""
    module, _, name = trainer.path.partition(":")
    if (imported := getattr(_import(trainer, module), name, None)) is None:
        raise UnusableTrainer(f"{type(trainer).__name__} · {trainer.path} · {module} has no {name}. Correct the path.")
    return imported


def _import(trainer: Trainer, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        where, library = type(trainer).__name__, str(error.name or module).partition(".")[0]
        if module.partition(".")[0] == library and error.name != library:
            raise UnusableTrainer(f"{where} · {module} cannot be imported: {error}. Correct the path or the module.") from error
        wanted = f"'mlops-assets[{trainer.EXTRA}]'" if trainer.EXTRA else library
        raise UnusableTrainer(f"{where} · {library} is not installed. Run: pip install {wanted}") from error
