"""Audits landed days before they are written: a day that fails a check is refused as a whole, unless that is waived."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import NamedTuple

import polars as pl

from mlops_assets.foundation.names import BAD_SHARE, EXPECTATIONS
from mlops_assets.ingestion.expectations import Finding, check_bad_share, check_expectations
from mlops_assets.ingestion.validate import CSV, PLACE, Split, split_rows
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Form

Findings = dict[str, list[Finding]]  # by check


class Audit(NamedTuple):
    """`accepted`: the rows of these days that the validated table holds from now on. `quarantined`: every other landed row,
    with its reasons. `failed`: day -> check -> message, also of waived days.
    """

    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    findings: Findings
    failed: dict[date, dict[str, str]]


def audit_days(
    raw: pl.DataFrame,
    table: pl.DataFrame,
    contract: Contract,
    *,
    days: Sequence[date],
    waived: Collection[date],
    form: Form = CSV,
) -> Audit:
    """`table`: what is accepted of these and of earlier days; without columns if nothing is.

    A refused day keeps the rows that were accepted before. Each day is compared with accepted days alone, so that one run over
    many days gives the same as one run a day.
    """
    split, pending, refused = split_rows(raw, contract, form), sorted(days), list[date]()
    kept = table.clear() if table.is_empty() else table.filter(pl.col("day").is_between(pending[0], pending[-1]))
    history = table.clear() if table.is_empty() else table.filter(pl.col("day") < pending[0])
    findings, failed = Findings({BAD_SHARE: [], EXPECTATIONS: []}), dict[date, dict[str, str]]()
    while pending:
        judged = _check(split, history, contract, pending)
        first = min((day for one in judged.values() for finding in one for day in finding.failed_days), default=None)
        passed = [day for day in pending if first is None or day < first]
        history = _join(history, _of(split.accepted, passed))
        if first is not None:  # judged alone, for the messages of this day
            judged = _check(split, history, contract, [first])
            failed[first] = {check: text for check, one in judged.items() if (text := _failures(one))}
            refused += [] if first in waived else [first]
            history = _join(history, _of(kept if first in refused else split.accepted, [first]))
        findings = {check: findings[check] + one for check, one in judged.items()}
        pending = [day for day in pending if first is not None and day > first]
    kept = _of(kept, refused).select(name for name in split.accepted.columns if name in kept.columns)  # a column may be gone
    accepted = _join(split.accepted.filter(~pl.col("day").is_in(refused)), kept).sort("day", maintain_order=True)
    reasons = {day: f"the day is refused: {' '.join(failed[day].values())}" for day in refused}
    return Audit(accepted, _quarantine(raw, split, contract, reasons), findings, failed)


def _check(split: Split, history: pl.DataFrame, contract: Contract, days: Sequence[date]) -> Findings:
    part = Split(_of(split.accepted, days), _of(split.quarantined, days))
    expectations = check_expectations(part.accepted, history, contract, days=days)
    return {BAD_SHARE: [check_bad_share(part, contract)], EXPECTATIONS: expectations}


def _of(rows: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
    return rows.filter(pl.col("day").is_in(days)) if rows.height else rows


def _join(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, others], how="diagonal_relaxed") if others.height else rows


def _failures(findings: Sequence[Finding]) -> str:
    return " ".join(finding.message for finding in findings if not finding.passed)


def _quarantine(raw: pl.DataFrame, split: Split, contract: Contract, reasons: Mapping[date, str]) -> pl.DataFrame:
    """The rows that break the contract, and the others of the refused days."""
    sound = _of(raw, [*reasons]).join(split.quarantined, on=PLACE, how="anti")
    reason = pl.col("day").replace_strict(dict(reasons), default=None, return_dtype=pl.String())
    return pl.concat([split.quarantined, sound.select(*contract.names, *PLACE, reasons=reason)]).sort(*PLACE, maintain_order=True)
