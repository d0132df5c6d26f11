"""Lands a flat file: each part with other rows than the landed file of its table and partition replaces it."""

import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import polars as pl

from mlops_assets.foundation.atomic_file import replace_file, sync_folder
from mlops_assets.foundation.calendars import DAY, Partition
from mlops_assets.foundation.grains import declared_partitions
from mlops_assets.ingestion.csv_lines import find_header_problem
from mlops_assets.ingestion.delivery import complete
from mlops_assets.ingestion.flat_file import IllegalFlatFile, LandedTable, Split, choose_tables
from mlops_assets.ingestion.forms.decompressed import compressed
from mlops_assets.ingestion.forms.table import too_large
from mlops_assets.ingestion.forms.writers import WRITERS, Unwritable
from mlops_assets.ingestion.landing import BrokenDelivery, Landing
from mlops_assets.ingestion.spool import PARTITION, Spool
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.use_case import UseCase

VALUE = r"'.*' (is|does) "  # in a reason


def land_file(
    use_case: UseCase, path: Path, *, landing: Landing, tables: Sequence[str] = (), dry_run: bool = False
) -> list[LandedTable]:
    """Splits the file by table (`tables`, or those whose columns it has) and by partition. A part that has other rows than the
    landed file replaces it. Raises IllegalFlatFile.
    """
    splits = choose_tables(use_case, path, tables)
    with ExitStack() as stack:
        # All is read before anything is written.
        spools = [stack.enter_context(_spooled(split)) for split in splits]
        reports = [_land(split, spool, landing, dry_run) for split, spool in zip(splits, spools, strict=True)]
    if not dry_run:
        complete(landing.root, use_case.name)
    return reports


@contextmanager
def _spooled(split: Split) -> Generator[Spool]:
    report = split.report
    first, last = declared_partitions(split.use_case, report.calendar)
    with tempfile.TemporaryDirectory(prefix="mlops-land-") as folder:
        spool = Spool(Path(folder))
        for rows in split.rows():
            inside = rows.filter(_is_declared(first, last))
            report.outside += rows.height - inside.height
            spool.add(inside)
        spool.flush()
        if problem := spool.last and find_header_problem(split.header, split.contract, report.calendar.stored(spool.last)[DAY]):
            raise IllegalFlatFile(f"{split.path.name} · as {report.table}, {report.calendar.key(spool.last)}: {problem}.")
        yield spool


def _is_declared(first: Partition | None, last: Partition | None) -> pl.Expr:
    place = pl.col(PARTITION)
    return pl.lit(True) if first is None else (place >= first) & (True if last is None else place <= last)


def _land(split: Split, spool: Spool, landing: Landing, dry_run: bool) -> LandedTable:
    report, to = split.report, landing.of(split.source.form)
    for batch in spool.batches():
        kept = split.distinct(batch)
        report.rows += kept.height
        parts = kept.partition_by(PARTITION, as_dict=True)
        for (partition,), rows in sorted(parts.items(), key=lambda part: part[0]):
            report.keys.append(report.calendar.key(partition))
            target = to.path(split.use_case.name, report.table, partition, report.calendar)
            content = _content(split, rows, target, is_whole=spool.rows == rows.height and not report.outside)
            status = _compare(split, rows, content, target, to, partition)
            report.status[status] += 1
            if status != "same" and not dry_run:
                replace_file(target, content, syncs_folder=False)
        if dry_run:
            _judge(split, kept)
    if report.status["new"] + report.status["changed"] and not dry_run:
        sync_folder(to.root / split.use_case.name / report.table)
    return report


def _content(split: Split, rows: pl.DataFrame, target: Path, *, is_whole: bool) -> bytes:
    """Of the landed file: the file itself, where that has nothing else."""
    source, suffix = split.source, target.name.removeprefix(target.name.split(".", 1)[0])
    if (
        is_whole
        and split.form == source.form
        and split.path.name.lower().endswith(suffix)
        and {*split.names} <= {*split.own.names}
    ):
        if split.path.stat().st_size > source.max_bytes:
            raise _too_large(split, target)
        content = plain = split.path.read_bytes()
    else:
        headers = {column.name: column.header for column in split.columns}
        try:
            plain = WRITERS[type(source.form)](rows, headers, source.form)
        except Unwritable as error:
            raise IllegalFlatFile(f"{split.path.name} · as {source.table}: {error}.") from None
        content = compressed(plain, target.name)
    if max(len(plain), len(content)) > source.max_bytes:
        raise _too_large(split, target)
    return content


def _too_large(split: Split, target: Path) -> IllegalFlatFile:
    problem = f"the part {target.name} is too large: {too_large(split.source.max_bytes)}"
    return IllegalFlatFile(f"{split.path.name} · {problem}.")


def _compare(  # noqa: PLR0917
    split: Split, rows: pl.DataFrame, content: bytes, target: Path, landing: Landing, partition: Partition
) -> str:
    """What becomes of the landed file; counts its rows that the new one has not."""
    if not os.path.lexists(target):
        return "new"
    contract, size = split.own, split.source.max_bytes
    try:
        if target.read_bytes() == content:
            return "same"
        landed = landing.read_file(target, contract, partition, calendar=split.report.calendar, max_bytes=size)
    except (OSError, BrokenDelivery):
        return "changed"
    columns = [*contract.names, "problem"]
    before, after = (frame.select(columns).fill_null("") for frame in (landed, rows))
    split.report.retracted += before.join(after, on=columns, how="anti").height
    return "same" if before.equals(after) else "changed"


def _judge(split: Split, rows: pl.DataFrame) -> None:
    """Adds what the contract refuses of these partitions to the report."""
    report, contract, place = split.report, split.own, split.report.calendar.column
    refused = split_rows(raw := split.landed(rows), contract, split.form, report.calendar).quarantined
    if not refused.height:
        return
    report.refused += refused.height
    bad, all_rows = (frame.group_by(place).len() for frame in (refused, raw))
    shares = bad.join(all_rows, on=place, suffix="_of_all").sort(place)
    failed = shares.filter(pl.col("len") / pl.col("len_of_all") > contract.max_bad_share)
    report.refused_keys += map(report.calendar.key, failed[place])
    reasons = refused["reasons"].str.split("; ").explode().str.replace(VALUE, "… $1 ")
    report.reasons.update(dict(cast(Any, reasons.value_counts().iter_rows())))
    report.example = report.example or f"line {refused['source_line'][0]}: {refused['reasons'][0]}"
