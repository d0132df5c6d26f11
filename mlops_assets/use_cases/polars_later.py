"""Polars under its usual name for transforms, imported by the first one that runs."""

# The code location loads every use case and runs no transform; Polars alone would take longer than all its definitions.
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
else:

    class _LazyPolars:
        def __getattr__(self, name: str) -> Any:
            return getattr(import_module("polars"), name)

    pl = _LazyPolars()

__all__ = ["pl"]
