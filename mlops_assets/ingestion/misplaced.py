"""Entries of the landing folder that no table reads, as a folder is named nearly like a declared one, or has no folder."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from mlops_assets.spec.use_case import UseCase


def find_misplaced(use_case: UseCase, root: Path, declared: Sequence[str]) -> Iterator[str]:
    """A sentence for each. `declared`: the names of all use cases."""
    tables = [source.table for source in use_case.sources]
    for entry in _entries(root):
        nearest = get_close_matches(entry.name.lower(), declared, n=1)
        if entry.is_dir() and entry.name not in declared and nearest == [use_case.name]:
            yield f"{entry.name}/ is the folder of no use case, so nothing in it is read. Is it {use_case.name}? Rename it"
    for entry in _entries(root / use_case.name):
        where = f"{use_case.name}/{entry.name}"
        if not entry.is_dir():
            yield f"{where} is in the folder of no table, so it is not read. Move it to that of {' or '.join(tables)}"
        elif entry.name not in tables and (nearest := get_close_matches(entry.name.lower(), tables, n=1)):
            yield f"{where}/ is the folder of no table, so nothing in it is read. Is it {nearest[0]}? Rename it"


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
