"""Entries of the landing folder that no table reads, as a folder is named nearly like a declared one, or has no folder."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from mlops_assets.ingestion.delivery import SUCCESS
from mlops_assets.spec.use_case import UseCase


class Misplaced(NamedTuple):
    """`table` is the one for which the entry was probably meant; `sentence` says what to do, without its full stop."""

    table: str
    sentence: str


def find_misplaced(use_case: UseCase, root: Path, declared: Collection[str]) -> Iterator[Misplaced]:
    """`declared`: the names of all use cases."""
    tables = [source.table for source in use_case.sources]
    for entry in _entries(root, declared):
        if entry.is_dir() and get_close_matches(entry.name.lower(), declared, n=1) == [use_case.name]:
            found = f"{entry.name}/ is the folder of no use case, so nothing in it is read. Is it {use_case.name}? Rename it"
            yield Misplaced(tables[0], found)
    for entry in _entries(root / use_case.name, [*tables, SUCCESS]):
        where = f"{use_case.name}/{entry.name}"
        if not entry.is_dir():
            found = f"{where} is in the folder of no table, so it is not read. Move it to that of {' or '.join(tables)}"
            yield Misplaced(tables[0], found)
        elif nearest := get_close_matches(entry.name.lower(), tables, n=1):
            found = f"{where}/ is the folder of no table, so nothing in it is read. Is it {nearest[0]}? Rename it"
            yield Misplaced(nearest[0], found)


def _entries(folder: Path, declared: Collection[str]) -> list[Path]:
    """The others, in the order of their names. A folder that cannot be read has none: its tables report it."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in declared)
    except OSError:
        return []
