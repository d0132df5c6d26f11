"""Polars under its usual name for transforms, opened by the first one that runs.

The code location loads every use case and runs none; Polars alone would cost it more than all its definitions together.
Not here: anything but `pl`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
else:

    class _Later:
        def __getattr__(self, name: str) -> Any:
            return getattr(import_module("polars"), name)

    pl = _Later()

__all__ = ["pl"]
