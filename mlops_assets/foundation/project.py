"""The project of the user, which has the use cases: the nearest folder whose pyproject.toml has [tool.mlops], as git finds its
repository; else the checkout of this package.
"""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parents[2]  # the checkout; of an installed package the folder of all packages
SHIPPED = "mlops_assets.use_cases"
PACKAGE = '"churn.use_cases", or a list of packages'


class IllegalProject(ValueError):
    """A pyproject.toml that cannot be used; `place` is its file, or the variable that names it."""


class Project(NamedTuple):
    """`use_cases`: the packages whose packages declare the use cases. `is_own`: whether it is a project, or a checkout."""

    root: Path
    use_cases: tuple[str, ...] = (SHIPPED,)
    is_own: bool = True


def find_project(variables: Mapping[str, str]) -> Project:
    """That of MLOPS_PROJECT, or of the working folder. Raises IllegalProject."""
    if named := variables.get("MLOPS_PROJECT", "").strip():
        if project := _read(Path(named).resolve()):
            return project
        raise IllegalProject(f"MLOPS_PROJECT · {named} has no pyproject.toml with [tool.mlops]. Correct it, or do not set it.")
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was removed
        folder = PROJECT
    projects = (project for parent in (folder, *folder.parents) if (project := _read(parent)))
    return next(projects, Project(PROJECT, is_own=(PROJECT / "pyproject.toml").is_file()))


def _read(folder: Path) -> Project | None:
    """The project with this root; None of any other folder."""
    try:
        return _parse(folder / "pyproject.toml", (folder / "pyproject.toml").stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache
def _parse(file: Path, _version: int) -> Project | None:
    try:
        tools: dict[str, Any] = tomllib.loads(file.read_text()).get("tool", {})
    except ValueError as error:
        raise IllegalProject(f"{file} · it is no TOML: {error}. Correct it.") from None
    if "mlops" not in tools:
        return None
    match tools["mlops"]:
        case {"use_cases": str(package), **others} if package and not others:
            return Project(file.parent, (package,))
        case {"use_cases": [str(), *_] as packages, **others} if all(isinstance(one, str) for one in packages) and not others:
            return Project(file.parent, tuple(packages))
        case found:
            raise IllegalProject(f"{file} · [tool.mlops] is {found!r}; legal: use_cases = {PACKAGE}. Correct it.")
