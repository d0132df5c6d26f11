"""Polars for transforms, `from mlops_assets.use_cases import polars_later as pl`, imported by the first one that runs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polars import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]


def __getattr__(name: str) -> Any:
    # The code location loads every use case and runs no transform; Polars alone would take longer than all its definitions.
    return getattr(import_module("polars"), name)
