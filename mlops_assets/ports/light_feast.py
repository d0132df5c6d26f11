"""Imports Feast without what it does not need here: 2 s of CPU instead of 7, and 0.4 GB less.

Feast 0.67 has typeguard take its classes apart at import (3 s; typeguard itself leaves them alone under `python -O`), and
loads torch for a tensor type that no view of ours has (2 s); where torch is not installed it goes on without it.
Not here: any use of Feast (feature_registry, feature_store).
"""

import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import typeguard


def import_feast() -> None:
    """Before the first import of a module that imports Feast; afterwards it does nothing."""
    if "feast" not in sys.modules:
        with _unchecked(), _without("torch"):
            importlib.import_module("feast")


@contextmanager
def _unchecked() -> Generator[None]:
    module, checked = cast(Any, typeguard), typeguard.typechecked
    module.typechecked = _as_it_is
    try:
        yield
    finally:
        module.typechecked = checked


@contextmanager
def _without(name: str) -> Generator[None]:
    """As if it were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    cast(dict[str, Any], sys.modules)[name] = None
    try:
        yield
    finally:
        del sys.modules[name]


def _as_it_is(target: Any = None, **_: Any) -> Any:
    """In the place of a decorator, with or without arguments."""
    return _as_it_is if target is None else target
