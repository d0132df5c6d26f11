"""Every word of a declaration is imported from the package itself, and none loads before it is used."""

import subprocess
import sys
from importlib import import_module
from inspect import isabstract, isclass
from pkgutil import iter_modules
from typing import Any

import pytest

import mlops_assets
from mlops_assets import spec
from mlops_assets.spec.request_feature import hashed_words
from mlops_assets.spec.spec import Spec

# Base classes, which no declaration uses itself.
BASES = {"Spec", "Form", "InTime", "Implemented", "Imported", "OfLocalTime", "OnCheck", "PulledSource", "RequestFeature",
         "Split", "Suffixed", "Task", "Watching"}  # fmt: skip


def declared() -> dict[str, Any]:
    modules = [import_module(module.name) for module in iter_modules(spec.__path__, f"{spec.__name__}.")]
    classes = [one for module in modules for one in vars(module).values() if isclass(one) and one.__module__ == module.__name__]
    words = {one.__name__: one for one in classes if issubclass(one, Spec) and not one.__name__.startswith("_")}
    return words | {"hashed_words": hashed_words}  # the only word that declares several


def test_every_word_of_a_declaration_is_public_in_the_order_of_the_alphabet() -> None:
    assert mlops_assets.__all__ == sorted(declared().keys() - BASES)
    assert all(getattr(mlops_assets, name) is declared()[name] for name in mlops_assets.__all__)
    assert not any(isabstract(declared()[name]) for name in mlops_assets.__all__)


def test_a_word_that_does_not_exist_is_an_error_of_python() -> None:
    with pytest.raises(AttributeError, match="module 'mlops_assets' has no attribute 'Monthy'"):
        mlops_assets.Monthy  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_alone_loads_nothing() -> None:
    code = "import sys, mlops_assets; print([name for name in sys.modules if name.startswith(('mlops_assets.', 'pydantic'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
