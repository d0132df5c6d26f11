"""The use cases that this platform runs, one folder each: those of the project, or else the shipped ones. One that cannot be
loaded does not take down the others.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mlops_assets.foundation.project import IllegalProject, find_project
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase


def find_modules(folder: Path, package: str) -> tuple[str, ...]:
    """The packages in the folder, by name; each has a USE_CASE."""
    return tuple(f"{package}.{path.parent.name}" for path in sorted(folder.glob("*/__init__.py")))


def new_use_cases() -> tuple[Path, str, Path]:
    """Where new use cases of the project go: a folder, its package (the first), and the folder of their tests. Raises
    IllegalProject.
    """
    project = find_project(os.environ)
    package = project.use_cases[0]
    try:
        return _folders(package)[0], package, project.root / "tests" / "use_cases"
    except Exception as error:  # noqa: BLE001 - a package may fail in any way
        raise IllegalProject(_unloaded(package, error)) from None


def _folders(package: str) -> list[Path]:
    """Of a package that is installed, or in the project's root or its `src`."""
    root = find_project(os.environ).root
    for folder in map(str, (root, root / "src")):
        if folder not in sys.path and Path(folder).is_dir():
            sys.path.append(folder)  # last, so that no folder of the project hides a library
    return [Path(folder) for folder in import_module(package).__path__]


def _load_project() -> tuple[tuple[UseCase, ...], tuple[str, ...]]:
    modules, problems = list[str](), list[str]()
    try:
        packages = find_project(os.environ).use_cases
    except IllegalProject as error:
        return (), (str(error),)
    for package in packages:
        try:
            modules += [module for folder in _folders(package) for module in find_modules(folder, package)]
        except Exception as error:  # noqa: BLE001 - a package may fail in any way, and the others load
            problems.append(_unloaded(package, error))
    loaded, others = load_use_cases(modules)
    return loaded, (*problems, *others)


def _unloaded(package: str, error: Exception) -> str:
    place = "It is use_cases of [tool.mlops] in pyproject.toml: correct it, or install its project"
    return f"{package} · does not load: {type(error).__name__}: {' '.join(str(error).split())}. {place}."


def load_use_cases(modules: Sequence[str]) -> tuple[tuple[UseCase, ...], tuple[str, ...]]:
    """The legal use cases, and what is wrong with the modules that have none, one line per problem."""
    loaded: dict[str, UseCase] = {}
    problems: list[str] = []
    for module in modules:
        try:
            use_case = _declared_in(import_module(module))
        except IllegalDeclaration as error:
            problems += [f"{module} · {line}" for line in str(error).splitlines()]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may fail in any way
            problems.append(f"{module} · does not load: {type(error).__name__}: {' '.join(str(error).split())}. Correct it.")
        else:
            if shared := _shared(use_case, loaded.values()):
                problems.append(f"{module} · {shared}, too. Rename one.")
            else:
                loaded[use_case.name] = use_case
    return tuple(loaded.values()), tuple(problems)


def _declared_in(module: ModuleType) -> UseCase:
    declared: object = getattr(module, "USE_CASE", None)
    if isinstance(declared, UseCase):
        return declared
    found = f"is of type {type(declared).__name__}" if hasattr(module, "USE_CASE") else "is missing"
    raise IllegalDeclaration(f"USE_CASE {found}; legal: a UseCase(...). Declare it, or move the folder out of the use cases.")


def _shared(use_case: UseCase, others: Iterable[UseCase]) -> str | None:
    """What may not be shared with another use case, and is."""
    for other in others:
        if other.name == use_case.name:
            return f"its use case {use_case.name!r} is declared by another module"
        if use_case.features.views and other.features.views and other.features.service == use_case.features.service:
            return f"its feature service {use_case.features.service!r} is that of {other.name!r}"
    return None


def select_use_cases(names: Sequence[str]) -> tuple[tuple[UseCase, ...], tuple[str, ...]]:
    """The named use cases, or all where none is named; and the problems of all, one line each."""
    legal = [use_case.name for use_case in USE_CASES]
    unknown = [name for name in names if name not in legal and not NOT_LOADED]  # it may be one that does not load
    problems = [f"MLOPS_USE_CASE · found {name!r}; legal: {', '.join(legal)}. Name one of these." for name in unknown]
    return tuple(use_case for use_case in USE_CASES if not names or use_case.name in names), (*NOT_LOADED, *problems)


USE_CASES, NOT_LOADED = _load_project()
