"""Audits landed partitions before they are written: one that fails a check is refused as a whole, unless that is waived."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from mlops_assets.foundation.calendars import UTC_DAYS, Calendar, Partition
from mlops_assets.foundation.names import BAD_SHARE, EXPECTATIONS
from mlops_assets.ingestion.expectations import Finding, check_bad_share, check_expectations
from mlops_assets.ingestion.validate import CSV, PLACE, Split, split_rows
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Form

Findings = dict[str, list[Finding]]  # by check


class Audit(NamedTuple):
    """`accepted`: the rows of these partitions that the validated table holds from now on. `quarantined`: every other landed row,
    with its reasons. `failed`: partition -> check -> message, also of waived ones.
    """

    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    findings: Findings
    failed: dict[Partition, dict[str, str]]


def audit_partitions(
    raw: pl.DataFrame,
    table: pl.DataFrame,
    contract: Contract,
    *,
    partitions: Sequence[Partition],
    waived: Collection[Partition],
    form: Form = CSV,
    calendar: Calendar = UTC_DAYS,
) -> Audit:
    """`table`: what is accepted of these and of earlier partitions; without columns if nothing is.

    A refused partition keeps the rows that were accepted before. Each is compared with accepted ones alone, so that one run over
    many partitions gives the same as one run for each.
    """
    by, place = calendar.column, pl.col(calendar.column)
    split, pending, refused = split_rows(raw, contract, form, calendar), sorted(partitions), list[Partition]()
    kept = table.clear() if table.is_empty() else table.filter(place.is_between(pending[0], pending[-1]))
    history = table.clear() if table.is_empty() else table.filter(place < pending[0])
    findings, failed = Findings({BAD_SHARE: [], EXPECTATIONS: []}), dict[Partition, dict[str, str]]()
    while pending:
        judged = _check(split, history, contract, pending, calendar)
        first = min((one for findings in judged.values() for finding in findings for one in finding.failed), default=None)
        passed = [one for one in pending if first is None or one < first]
        history = _join(history, _of(split.accepted, by, passed))
        if first is not None:  # judged alone, for the messages of this partition
            judged = _check(split, history, contract, [first], calendar)
            failed[first] = {check: text for check, one in judged.items() if (text := _failures(one))}
            refused += [] if first in waived else [first]
            history = _join(history, _of(kept if first in refused else split.accepted, by, [first]))
        findings = {check: findings[check] + one for check, one in judged.items()}
        pending = [one for one in pending if first is not None and one > first]
    kept = _of(kept, by, refused).select(name for name in split.accepted.columns if name in kept.columns)  # a column may be gone
    accepted = _join(split.accepted.filter(~place.is_in(refused)), kept).sort(by, maintain_order=True)
    reasons = {one: f"the {calendar.noun} is refused: {' '.join(failed[one].values())}" for one in refused}
    return Audit(accepted, _quarantine(raw, split, by, reasons), findings, failed)


def _check(
    split: Split, history: pl.DataFrame, contract: Contract, partitions: Sequence[Partition], calendar: Calendar
) -> Findings:
    part = Split(*(_of(rows, calendar.column, partitions) for rows in split))
    expectations = check_expectations(part.accepted, history, contract, partitions=partitions, calendar=calendar)
    return {BAD_SHARE: [check_bad_share(part, contract, calendar)], EXPECTATIONS: expectations}


def _of(rows: pl.DataFrame, by: str, partitions: Sequence[Partition]) -> pl.DataFrame:
    return rows.filter(pl.col(by).is_in(partitions)) if rows.height else rows


def _join(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, others], how="diagonal_relaxed") if others.height else rows


def _failures(findings: Sequence[Finding]) -> str:
    return " ".join(finding.message for finding in findings if not finding.passed)


def _quarantine(raw: pl.DataFrame, split: Split, by: str, reasons: Mapping[Partition, str]) -> pl.DataFrame:
    """The rows that break the contract, and the others of the refused partitions."""
    sound = _of(raw, by, [*reasons]).join(split.quarantined, on=PLACE, how="anti")
    reason = pl.col(by).replace_strict(dict(reasons), default=None, return_dtype=pl.String())
    others = sound.with_columns(reasons=reason).select(split.quarantined.columns)
    return pl.concat([split.quarantined, others]).sort(*PLACE, maintain_order=True)
