"""Writes a project with use cases of its own, which depends on this package as it is installed."""

import keyword
import os
import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).parent / "project"
SUFFIX = ".txt"  # of what is no Python file before its names are filled in


class CannotInit(ValueError):
    """A folder in which no project is written. Nothing has been changed."""


def write_project(folder: Path, package: str | None = None) -> list[Path]:
    """The files that were written; no file is replaced. The package is called as the folder, by default. Raises CannotInit."""
    root = folder.resolve()
    package = package or re.sub(r"\W+", "_", root.name.lower()).strip("_")
    _require_name(package)
    if file := next((path for path in (root, *root.parents) if path.exists() and not path.is_dir()), None):
        raise CannotInit(f"{file} · it is a file; legal: a folder, new or with other files. Name another one.")
    names = {"name": package.replace("_", "-"), "package": package}
    parts = [path for path in sorted(TEMPLATE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    contents = {root / _target(path, package): _fill(path, names) for path in parts}
    if existing := [str(path.relative_to(root)) for path in contents if os.path.lexists(path)]:
        raise CannotInit(f"{root} · it has {', '.join(existing)} already. Name another folder, or remove them.")
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return [*contents]


def _require_name(package: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or keyword.iskeyword(package):
        problem = f"{package!r} is no name of a package; legal: a letter, then letters, digits and _"
        raise CannotInit(f"{problem}. Name the folder otherwise, or use --package.")
    if find_spec(package):
        raise CannotInit(f"{package!r} is the name of an installed package. Name the folder otherwise, or use --package.")


def _target(path: Path, package: str) -> str:
    parts = [package if part == "package" else part for part in path.relative_to(TEMPLATE).parts]
    return "/".join(parts).removesuffix(SUFFIX).replace("dot_", ".")


def _fill(path: Path, names: dict[str, str]) -> str:
    return Template(path.read_text()).substitute(names) if path.suffix == SUFFIX else path.read_text()
