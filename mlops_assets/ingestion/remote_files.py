"""Copies files from an address that fsspec reads, such as s3:// or another folder, into the landing folder, each as a whole."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlsplit

import fsspec.core

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.foundation.outages import outage_of
from mlops_assets.ingestion.csv_lines import escape, shorten
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.pulling.credentials import hide
from mlops_assets.spec.source import Files

SEVERAL = "several files have this name. Narrow the path"
MAX_FILES = 50  # of one call, which a sensor makes again and again
# A sensor looks at all use cases in turn, and at each again after seconds: one store that hangs holds up the others no longer.
LISTED_S = 10.0
# On top of the five tries of s3fs, botocore tries each five times, and 503 takes 42 s instead of 3.
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}


def fetch(source: Files, landing: Landing, use_case: str, *, copies: bool = True) -> dict[str, str]:
    """Copies new and changed files, of which at most MAX_FILES, the oldest names first. Returns what cannot be fetched, and why,
    by name; the other files are fetched nevertheless. Without `copies` it only lists them.
    """
    if source.path is None:
        return {}
    try:
        system, entries = _list(source.path)
    except Exception as error:  # noqa: BLE001 - each store has errors of its own
        remedy = _why_later(error) or "Correct the address, or the credentials of its store"
        return {source.path: f"it cannot be listed: {_describe(error)}. {remedy}"}
    calendar = calendar_of(source.grain)
    folder, faults, fetched = landing.root / use_case / source.table, dict[str, str](), 0
    versions = _read(state := landing.root / use_case / f".{source.table}.fetched.json")
    names = [PurePosixPath(path).name for path in entries]
    for name, path in sorted(zip(names, entries, strict=True)):
        version, is_there = system.ukey(path), (folder / name).exists()
        if not landing.key_of(name, calendar) or fetched >= MAX_FILES or (is_there and versions.get(name) == version):
            continue
        is_only = names.count(name) == 1
        if is_only and not copies:
            continue
        try:
            problem = _copy(system, path, entries[path]["size"], folder / name, source.max_bytes) if is_only else SEVERAL
        except StoreDown as error:  # each of the others would wait as long
            return faults | {escape(name): str(error)}
        if problem:
            faults[escape(name)] = problem
            continue
        versions[name], fetched = version, fetched + 1
        replace_file(state, json.dumps(versions).encode())
    return faults


def _list(path: str) -> tuple[Any, dict[str, Any]]:
    """The file system and the files that it has there. Raises what the library of the store raises."""
    system, pattern = fsspec.core.url_to_fs(path, **OPTIONS.get(path.partition("://")[0], {}))
    limit = {"timeout": LISTED_S} if system.async_impl else {}
    system.invalidate_cache()
    entries: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        entries = system.glob(pattern, detail=True, **limit)
    bucket = pattern.partition("/")[0]
    # s3fs finds no files in a bucket that does not exist, and gcsfs names a request to the store.
    if not entries and bucket and ":" not in bucket and not system.exists(bucket, **limit):
        raise FileNotFoundError(f"there is no bucket or container {bucket}")
    return system, entries


class StoreDown(RuntimeError):
    """A store that does not give one file gives none."""


def _why_later(error: Exception) -> str:
    """Empty where the error does not pass by itself."""
    outage = outage_of(error)
    return f"It is tried again by itself, as {outage.noun}" if outage else ""


def _copy(system: Any, path: str, size: int, to: Path, max_bytes: int) -> str:
    """What is wrong with this file, if anything. Raises StoreDown."""
    if size > max_bytes:
        return f"it has {size:,} bytes; legal: at most {max_bytes:,}. Deliver fewer rows, or raise max_bytes of the source"
    try:
        content = system.cat_file(path)
    except Exception as error:  # noqa: BLE001 - each store has errors of its own
        problem = f"it cannot be fetched: {_describe(error)}"
        if later := _why_later(error):
            raise StoreDown(f"{problem}. {later}") from None
        return f"{problem}. Correct its permissions, or wait for the next try"
    if len(content) != size:
        return f"{len(content):,} of {size:,} bytes were fetched; it is fetched again. Nothing was landed"
    to.parent.mkdir(parents=True, exist_ok=True)
    replace_file(to, content)
    return ""


def _read(state: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        return json.loads(state.read_bytes())
    return {}


def _describe(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reply'}".removesuffix("."))


class CannotFetch(OSError):
    """An address that cannot be read."""


@contextmanager
def local_copy(address: str) -> Generator[Path]:
    """The file of this path or address, on this machine. Raises CannotFetch, whose message has no password or signature."""
    if "://" not in address:
        yield Path(address)
        return
    parts = urlsplit(address)
    with TemporaryDirectory(prefix="mlops-land-") as folder:
        path = Path(folder) / (PurePosixPath(parts.path).name or "file")
        try:
            with fsspec.open(address, "rb") as remote, path.open("wb") as file:
                shutil.copyfileobj(cast(Any, remote), file, 1 << 20)
        except Exception as error:  # noqa: BLE001 - each store has errors of its own
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            problem = hide(_describe(error).replace(address, shown), filter(None, (parts.query, parts.password)))
            raise CannotFetch(f"{shown} · it cannot be fetched: {problem}. Correct the address, or its credentials.") from None
        yield path
