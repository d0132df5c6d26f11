"""Words of a declaration whose work a function of another module does, also of a module outside this package."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from mlops_assets.spec.spec import Spec


class Implemented(Spec):
    """The function FUNCTION is in MODULE: without one, in the module of the class. PAGE describes what it gets and returns."""

    FUNCTION: ClassVar[str]
    PAGE: ClassVar[str]
    MODULE: ClassVar[str] = ""

    @property
    def module(self) -> str:
        return self.MODULE or type(self).__module__


def snake_case(name: str) -> str:
    """Of a class: BeatsChampion is beats_champion."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def module_source(module: str) -> bytes:
    """The file of a module, found without importing it; empty where there is none."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec and not rest:
        return Path(spec.origin).read_bytes() if spec.origin else b""
    paths = [Path(folder, *rest) for folder in (spec.submodule_search_locations if spec else None) or ()]
    files = [file for path in paths for file in (path.with_name(f"{path.name}.py"), path / "__init__.py") if file.is_file()]
    return files[0].read_bytes() if files else b""


def own_sources(*modules: str) -> str:
    """Those of the modules that are outside this package, as text that changes with them."""
    package = f"{__name__.partition('.')[0]}."
    return "".join(repr(module_source(module)) for module in modules if not module.startswith(package))
