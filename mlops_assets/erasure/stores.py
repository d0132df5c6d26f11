"""One subject's rows in every store of a home: each function counts them and, unless `dry_run`, erases them.

Repeating it is safe, and completes an erasure that was killed. All other rows and bytes stay.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import fcntl
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
import polars as pl
import redis
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from mlops_assets.erasure.landed_files import erase_from_file
from mlops_assets.erasure.subject import PLACE, Subject
from mlops_assets.erasure.texts import mask_texts
from mlops_assets.features.online.key_value_stores import glob_literal, leave_no_trace, unavailable_when_down
from mlops_assets.features.online.online_mirror import entity_parts
from mlops_assets.foundation import names
from mlops_assets.foundation.atomic_file import replace_file, sync_folder, write_aside
from mlops_assets.foundation.calendars import UTC_DAYS, Calendar
from mlops_assets.foundation.delta_tables import DeltaTables, alone
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.serving.http.repeats import delete_answers
from mlops_assets.serving.log.prediction_log import BLANK
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.promotion.ledger import Ledger
    from mlops_assets.training.model_registry import ModelRegistry

SUFFIX = names.FEAST_PROJECT.encode()  # of Feast's keys in Redis
GZIP, SNIFFED_BYTES = b"\x1f\x8b", 8192
# An example in foundation/templates/side_by_side.html.jinja, and the request columns in it.
EXAMPLE = r"<tr><td data-label=.*?</tr>\n?"
FACT = re.compile(r'<td data-label="([^"]*)">(.*?)</td>', re.DOTALL)


class Stores(NamedTuple):
    """What one home stores in its folders, its online store, MLflow and the ledger."""

    home: Home
    features: "FeatureStore"
    registry: "ModelRegistry"
    ledger: "Ledger"


def erase_everywhere(use_case: UseCase, subject: Subject, stores: Stores, *, dry_run: bool) -> dict[str, int]:
    """The rows above 0 by store, in the order of erasure. Raises OnlineStoreDown, UnknownFeatures."""
    home, counts, views = stores.home, dict[str, int](), [view.name for view in use_case.features.views]
    for asset in DeltaTables(home.tables).assets(use_case.name):
        name, path = "/".join(asset[1:]), DeltaTables(home.tables).path(asset)
        counts[name] = erase_rows(path, subject, dry_run=dry_run)
        counts[f"{name} (older versions)"] = erase_older_files(path, subject, dry_run=dry_run)
    for log in (home.prediction_log, home.shadow_log):
        counts[log.name] = erase_from_log(log / use_case.name, subject, dry_run=dry_run)
    # After the tables, from which they are filled.
    counts["online store"] = erase_online(stores.features, views, subject, dry_run=dry_run)
    counts["online mirrors"] = erase_from_mirrors(stores.features, views, subject, dry_run=dry_run)
    samples = stores.registry.artifacts(names.experiment(use_case.name))
    counts["training samples"] = erase_from_parquet(samples, subject, dry_run=dry_run)
    counts["side-by-side pages"] = erase_from_pages(samples, subject, dry_run=dry_run)
    counts["other pages and logs"] = mask_texts(home, subject, dry_run=dry_run)
    for source in use_case.sources:  # last, as a changed file starts runs
        landing, contract = Landing(home.landing, form=source.form), use_case.contract(source.table)
        own = calendar_of(source.grain)
        erased = erase_from_landing(landing, use_case.name, contract, subject, dry_run=dry_run, calendar=own)
        counts[f"landing/{contract.table}"] = erased
    return {name: count for name, count in counts.items() if count}


def erase_rows(table: Path, subject: Subject, *, dry_run: bool) -> int:
    """Rows in the current version. Erasing is one commit; on a conflict with a concurrent commit it changes nothing."""
    scanned = pl.scan_delta(str(table))
    schema = scanned.collect_schema()
    keys = [name for name in schema if name in subject.columns or name in PLACE]
    rows = scanned.filter(subject.is_in_rows(schema)).select(keys).collect()
    if len(rows) and not dry_run:
        same = " AND ".join(f'(old."{name}" IS NOT DISTINCT FROM erased."{name}")' for name in keys)
        # A merge and not DeltaTable.delete (1.6): the log stores the predicate of a delete, and with it the value, and
        # cleanup_metadata leaves that commit for 30 days.
        merge = DeltaTable(str(table)).merge(rows.unique(), same, source_alias="erased", target_alias="old", streamed_exec=True)
        with alone(table), suppress(CommitFailedError):
            merge.when_matched_delete().execute()
    return len(rows)


def erase_older_files(table: Path, subject: Subject, *, dry_run: bool) -> int:
    """Rows in files of older versions, or of a killed run. Erasing makes their versions unreadable, and no others."""
    files = [file for file in table.rglob("*.parquet") if "_delta_log" not in file.parts]
    delta = DeltaTable(str(table))  # after the listing: a commit may come between
    current = {Path(uri).name for uri in delta.file_uris()}
    counts = {file: _count(file, subject) for file in files if file.name not in current}
    if any(counts.values()) and not dry_run:
        # Dry runs, which list files: a real vacuum would remove every old version.
        unused = delta.vacuum(0, enforce_retention_duration=False)
        # A file without a commit stays for an hour: its commit may follow.
        unused += delta.vacuum(1, enforce_retention_duration=False, full=True)
        for file in (file for file in files if counts.get(file) and file.name in {Path(name).name for name in unused}):
            file.unlink()
            sync_folder(file.parent)
    return sum(counts.values())


def erase_from_parquet(folder: Path, subject: Subject, *, dry_run: bool) -> int:
    """Rows in every Parquet file under `folder`; a reader gets the old file or the new one."""
    counts = {file: _count(file, subject) for file in folder.rglob("*.parquet")}
    for file in (file for file, count in counts.items() if count and not dry_run):
        rows, buffer = pl.read_parquet(file, glob=False, hive_partitioning=False), BytesIO()
        rows.filter(~subject.is_in_rows(rows.schema)).write_parquet(buffer)
        replace_file(file, buffer.getvalue())
    return sum(counts.values())


def erase_from_pages(folder: Path, subject: Subject, *, dry_run: bool) -> int:
    """Examples in every side-by-side page under `folder`."""
    count = 0
    for page in folder.rglob("side_by_side.html"):
        parts = re.split(f"({EXAMPLE})", page.read_text(), flags=re.DOTALL)
        kept = [part for part in parts if not subject.is_in({name: unescape(fact) for name, fact in FACT.findall(part)})]
        count += len(parts) - len(kept)
        if len(kept) < len(parts) and not dry_run:
            replace_file(page, "".join(kept).encode())
    return count


def _count(file: Path, subject: Subject) -> int:
    rows = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    return rows.filter(subject.is_in_rows(rows.collect_schema())).select(pl.len()).collect().item()


def erase_from_log(folder: Path, subject: Subject, *, dry_run: bool) -> int:
    """Lines of the segments `folder`/<number>.jsonl, blanked in place: readers' positions and writers' open files stay valid."""
    count = 0
    for segment in sorted(folder.glob("*.jsonl")):
        lines = list(_find_lines(segment, subject))
        count += len(lines)
        if lines and not dry_run:
            with segment.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # readers hold a shared lock: none reads half of a row
                # Every line is marked, durably, before its content is blanked: a reader skips marked lines after a kill.
                for blanks in ([1] * len(lines), [length for _, length in lines]):
                    for (start, _), blank in zip(lines, blanks, strict=True):
                        os.pwrite(file.fileno(), BLANK * blank, start)
                    os.fsync(file.fileno())
    return count


def _find_lines(segment: Path, subject: Subject) -> Iterator[tuple[int, int]]:
    """Start and length, without the line feed, of each line to blank; an unfinished last line is not in the log yet."""
    start, decode = 0, msgspec.json.Decoder(dict[str, object]).decode
    spellings = (msgspec.json.encode(subject.text)[1:-1], subject.hashed.encode())
    with segment.open("rb") as file:
        for line in file:
            is_blank = line.startswith(BLANK)  # at least half: the erasure may have been killed
            # Only lines that contain the text are decoded: a segment of 256 MB has 200,000 lines.
            is_likely = line.endswith(b"\n") and any(text in line for text in spellings)
            if not line.isspace() if is_blank else is_likely and _is_in_json(subject, line, decode):
                yield start, len(line) - 1
            start += len(line)


def _is_in_json(subject: Subject, line: bytes, decode: Callable[[bytes], dict[str, object]]) -> bool:
    try:
        return subject.is_in(decode(line))
    except ValueError:  # altered by hand or a disk; nothing reads it as a row, and its text stays
        return subject.is_in_text(line.decode(errors="replace"))


def erase_online(store: "FeatureStore", views: Sequence[str], subject: Subject, *, dry_run: bool) -> int:
    """Entities of `views` in Feast's online store: SQLite or Redis."""
    from mlops_assets.features.feast.feast_internals import entity_key_prefix, entity_values

    join_keys = {view.name: view.join_keys for view in map(store.view, views) if subject.columns & {*view.join_keys}}
    if url := store.redis_url:
        prefixes = {entity_key_prefix(keys) for keys in join_keys.values()}
        patterns = [glob_literal(prefix) + b"*" + glob_literal(SUFFIX) for prefix in prefixes]
        with unavailable_when_down(url), redis.Redis.from_url(url) as client:
            scans = [cast(Iterator[bytes], client.scan_iter(pattern, count=10_000)) for pattern in patterns]
            keys = {key for scan in scans for key in scan if subject.is_in(entity_values(key.removesuffix(SUFFIX)))}
            if keys and not dry_run:  # with the views of other use cases, which come back when they are materialized
                client.delete(*keys)
            return len(keys)
    path, count = cast(Any, store.registry.open().config.online_store).path, 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        for table in (f"{names.FEAST_PROJECT}_{view}" for view in join_keys):
            entities = connection.execute(f'SELECT DISTINCT entity_key FROM "{table}"').fetchall()
            keys = [row for row in entities if subject.is_in(entity_values(row[0]))]
            count += len(keys)
            if not dry_run:
                connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', keys)
        if not dry_run:
            leave_no_trace(connection)
    return count


def erase_kept_answers(use_case: str, stores: Stores) -> None:
    """All that replicas share for repeated requests, as no answer names its subject; in memory they end with the erasure mark."""
    if url := stores.features.redis_url:
        with unavailable_when_down(url), redis.Redis.from_url(url) as client:
            delete_answers(client, use_case)


def erase_from_mirrors(store: "FeatureStore", views: Sequence[str], subject: Subject, *, dry_run: bool) -> int:
    """Entities in the mirror of every service that reads one of `views`, and in layouts that no service reads any more."""
    registry, mirrors = store.registry, [store.mirror(service) for service in store.registry.services()]
    # By prefix, the parts of a key that identify the subject; none in the mirrors of other use cases.
    positions: dict[str, list[int]] = {prefix: [] for mirror in mirrors for prefix in mirror.layouts}
    for service, taken in (taker for view in views for taker in registry.takers(store.view(view))):
        prefix, layout = store.mirror(service).home_of(taken.name)
        keys = {name for declared, (name, _) in taken.keys.items() if declared in subject.columns}
        positions[prefix] = [position for position, name in enumerate(layout.keys) if name in keys]

    def is_subject(key: str) -> bool:
        prefix, parts = entity_parts(key) or ("", [])
        return any(subject.is_value(parts[position]) for position in positions.get(prefix, range(len(parts))))

    entities = [key for key in store.online_values.keys(f"{len(subject.text)}:{subject.text}") if is_subject(key)]
    if not dry_run:
        store.online_values.erase(entities)
    return len(entities)


def erase_from_landing(
    landing: Landing, use_case: str, contract: Contract, subject: Subject, *, dry_run: bool, calendar: Calendar = UTC_DAYS
) -> int:
    """Rows in landed files, and in partial files that a killed process left next to them."""
    count = 0
    for file in landing.files(use_case, contract.table, calendar=calendar, leftovers=True):
        content = file.read_bytes()
        kept = erase_from_file(content, file.name, landing.form, contract, subject)
        if kept is None:  # find_strays lists it
            continue
        count += kept.erased
        if kept.erased and not dry_run:
            aside = write_aside(file, kept.content)
            shutil.copymode(file, aside)
            # A file that was delivered again meanwhile stays as it is, for the next call.
            aside.rename(file) if file.read_bytes() == content else aside.unlink()
            sync_folder(file.parent)
    return count


def find_strays(landing: Landing, use_case: UseCase, subject: Subject) -> list[Path]:
    """Files that contain the subject or are no text, and are no delivery, because of their name or folder, or one that cannot be
    edited.
    """
    searched: set[Path] = set()
    for source in use_case.sources:
        contract, calendar = use_case.contract(source.table), calendar_of(source.grain)
        files = landing.of(source.form).files(use_case.name, source.table, calendar=calendar, leftovers=True)
        for file in files:
            if erase_from_file(file.read_bytes(), file.name, source.form, contract, subject) is not None:
                searched.add(file)
    files = (file for file in (landing.root / use_case.name).rglob("*") if file.is_file() and file not in searched)
    return sorted(file for file in files if _may_contain(subject, file.read_bytes()))


def _may_contain(subject: Subject, content: bytes) -> bool:
    # A compressed file begins with two bytes that are no text; most other formats have a zero early.
    is_text = not content.startswith(GZIP) and b"\0" not in content[:SNIFFED_BYTES]
    return not is_text or subject.is_in_text(content.decode("utf-8", "replace"))
