"""The log of one Delta table, freed of what it tells about files that are gone: least and greatest values, predicates.

Belongs here: commits and checkpoints as files. Not here: the rows (erasable_tables.py). Which files a commit added and
removed stays: a writer who began before must still see what has changed since.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from mlops_assets.ports.durable_file import sync_folder, write_aside
from mlops_assets.ports.sought import Sought

LOG = "_delta_log"
Action = dict[str, Any]


def data_files(table: Path) -> list[Path]:
    """Every Parquet file of the table, whatever version or writer it belongs to."""
    return sorted(path for path in table.rglob("*.parquet") if LOG not in path.relative_to(table).parts)


def removed_files(table: Path) -> set[str]:
    """The names of the files that some commit took out of the table."""
    actions = (json.loads(line) for commit in _commits(table) for line in commit.read_text().splitlines())
    return {_file(action["remove"]) for action in actions if "remove" in action}


def clean_log(table: Path, sought: Sought) -> None:
    """Doing it again changes nothing. Each file of the log is replaced as a whole."""
    for aside in (table / LOG).glob(".new-*"):  # left by a call that was killed
        aside.unlink()
    there = {path.name for path in data_files(table)}
    for commit in _commits(table):
        lines = commit.read_text().splitlines()
        clean = [_cleaned(line, there, sought) for line in lines]
        if clean != lines:
            _replace(commit, "".join(f"{line}\n" for line in clean).encode())
    _renew_checkpoints(table, there)


def _commits(table: Path) -> Iterator[Path]:
    return (path for path in sorted((table / LOG).glob("*.json")) if path.stem.isdecimal())


def _file(action: Action) -> str:
    return Path(unquote(action["path"])).name


def _cleaned(line: str, there: set[str], sought: Sought) -> str:
    action: Action = json.loads(line)
    told = [action[kind].pop("stats", None) for kind in ("add", "remove") if kind in action and _file(action[kind]) not in there]
    parameters = action.get("commitInfo", {}).get("operationParameters", {})
    if sought.is_in_text(str(parameters.get("predicate", "")).replace("''", "'")):
        told.append(parameters.pop("predicate"))
    return json.dumps(action, separators=(",", ":")) if any(told) else line


def _replace(commit: Path, content: bytes) -> None:
    """At its own time, by which versions are found."""
    aside = write_aside(commit, content)
    shutil.copystat(commit, aside)
    aside.rename(commit)
    sync_folder(commit.parent)


def _renew_checkpoints(table: Path, there: set[str]) -> None:
    """Checkpoints tell of every file of their moment; one of now tells of those that are there."""
    found = sorted((table / LOG).glob("*.checkpoint*.parquet"))
    if not any(_tells_of_gone(path, there) for path in found):
        return
    current = DeltaTable(str(table))
    current.create_checkpoint()
    for path in found:
        if not path.name.startswith(f"{current.version():020d}."):
            path.unlink()


def _tells_of_gone(checkpoint: Path, there: set[str]) -> bool:
    paths = pl.read_parquet(checkpoint, columns=["add"], glob=False)["add"].struct.field("path").drop_nulls()
    return any(Path(unquote(path)).name not in there for path in paths)
