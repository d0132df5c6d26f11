"""What is expected of a partition of a table: few bad rows, and statistics like those of the partitions before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import polars as pl

from mlops_assets.foundation.calendars import UTC_DAYS, Calendar, Partition
from mlops_assets.ingestion.csv_lines import WHOLE_FILE
from mlops_assets.ingestion.validate import Split
from mlops_assets.spec.contract import Contract, Expectation, MaxNovelShare, MaxNullShare, RowCountBand

MIN_KNOWN = 3  # earlier partitions
REMEDY = "Look at the landed file: land it again if it is wrong, or change the contract if the business has changed"


@dataclass(frozen=True)
class Finding:
    """What one rule measured on its worst partition; the bound as text; the partitions on which it failed."""

    name: str
    passed: bool
    measured: float
    bound: str
    message: str
    failed: tuple[Partition, ...] = ()


class _Measured(NamedTuple):
    partition: Partition
    value: float
    badness: float  # above 1: out of bounds
    detail: str


def check_bad_share(split: Split, contract: Contract, calendar: Calendar = UTC_DAYS) -> Finding:
    """The quarantined share of the worst partition against `contract.max_bad_share`."""
    name, bound, by = "bad_share", f"at most {contract.max_bad_share:.1%}", calendar.column
    parts = [split.accepted.select(by, bad=pl.lit(0)), split.quarantined.select(by, bad=pl.lit(1))]
    shares = pl.concat(parts).group_by(by).agg(rows=pl.len(), bad=pl.col("bad").sum(), share=pl.col("bad").mean())
    if shares.is_empty():
        return Finding(name, True, 0.0, bound, f"{contract.table} · {name} · there are no rows.")
    worst, rows, bad, share = shares.sort("share", by, descending=[True, False]).row(0)
    where = f"{contract.table} · {name} · {calendar.key(worst)}"
    message = f"{where}: {bad} of {rows} rows ({share:.1%}) break the contract; bound: {bound}."
    passed, quarantined = share <= contract.max_bad_share, split.quarantined.filter(pl.col(by) == worst)
    broken = quarantined.filter(pl.col("source_line") == WHOLE_FILE)["reasons"]
    if len(broken):
        message = f"{where}: {broken[0]}"
    elif not passed:
        # The commonest reasons, without the values.
        reason = pl.col("reasons").str.split("; ").explode().str.replace(r": '.*' ", " ")
        counts = quarantined.select(reason).to_series().value_counts(sort=True)
        commonest = ", ".join(f"{reason} ({count})" for reason, count in counts.head(3).iter_rows())
        message = f"{message} Commonest: {commonest}. {REMEDY}."
    failed = shares.filter(pl.col("share") > contract.max_bad_share)[by].sort()
    return Finding(name, passed, share, bound, message, tuple(failed))


def check_expectations(
    today: pl.DataFrame,
    history: pl.DataFrame,
    contract: Contract,
    *,
    partitions: Sequence[Partition],
    calendar: Calendar = UTC_DAYS,
) -> list[Finding]:
    """One finding per expectation of the contract, over all `partitions` in `today` against those before each.

    `today` and `history` are accepted rows with the column of the calendar; an empty `history` may lack columns.
    """
    known = pl.concat([rows for rows in (history, today) if rows.height] or [today], how="diagonal_relaxed")
    findings: list[Finding] = []
    for expectation in contract.expectations:
        name, bound, unknown, measured = _measure(expectation, known, sorted(partitions), calendar)
        where = f"{contract.table} · {name}"
        if not measured:
            message = f"{where} · nothing to compare: {unknown}. It passes for now."
            findings.append(Finding(name, True, 0.0, bound, message))
            continue
        worst = max(measured, key=lambda one: one.badness)
        failed = tuple(one.partition for one in measured if one.badness > 1)
        more = f" (the worst of {len(failed)} such {calendar.noun}s)" if len(failed) > 1 else ""
        remedy = f" {REMEDY}." if failed else ""
        message = f"{where} · {calendar.key(worst.partition)}: {worst.detail}; bound: {bound}{more}.{remedy}"
        findings.append(Finding(name, not failed, worst.value, bound, message, failed))
    return findings


def _measure(
    expectation: Expectation, known: pl.DataFrame, partitions: list[Partition], calendar: Calendar
) -> tuple[str, str, str, list[_Measured]]:
    """Name and bound of the rule, why nothing may have been measured, and what was measured."""
    match expectation:
        case RowCountBand(min_ratio=low, max_ratio=high):
            bound = f"{low:g} to {high:g} times the median of up to {expectation.partitions} {calendar.noun}s before"
            reason = f"fewer than {MIN_KNOWN} earlier {calendar.noun}s are known"
            return "row_count_band", bound, reason, _measure_counts(expectation, known, partitions, calendar)
        case MaxNullShare(column=column, share=share):
            detail = f"of the rows miss {column}"
            measured = _measure_shares(known, calendar.column, partitions, pl.col(column).is_null(), share, detail)
            return f"null_share({column})", f"at most {share:.1%}", "there are no rows", measured
        case MaxNovelShare(column=column, share=share):
            measured = _measure_novelty(expectation, known, partitions, calendar)
            return f"novel_share({column})", f"at most {share:.1%}", f"no earlier {calendar.noun} is known", measured


def _measure_counts(band: RowCountBand, known: pl.DataFrame, partitions: list[Partition], calendar: Calendar) -> list[_Measured]:
    """Rows of each partition by the median of those before it; one with too few before it is left out. One without rows
    passes where the band begins at zero and fails everywhere else.
    """
    counts = dict(known.group_by(calendar.column).len().sort(calendar.column).iter_rows())
    measured: list[_Measured] = []
    for partition in partitions:
        rows = counts.get(partition, 0)
        before = [count for earlier, count in counts.items() if earlier < partition][-band.partitions :]
        if not rows:
            measured.append(_Measured(partition, 0.0, float("inf") if band.min_ratio else 0.0, "there are no rows"))
        elif len(before) >= MIN_KNOWN:
            usual = median(before)
            ratio = rows / usual
            detail = f"{rows} rows are {ratio:.2f} times the median {usual:g} of the {len(before)} {calendar.noun}s before"
            measured.append(_Measured(partition, ratio, max(ratio / band.max_ratio, band.min_ratio / ratio), detail))
    return measured


def _measure_novelty(
    rule: MaxNovelShare, known: pl.DataFrame, partitions: list[Partition], calendar: Calendar
) -> list[_Measured]:
    """Shares of rows whose value is absent from the partitions before; those without any before are left out."""
    by, names = calendar.column, [calendar.column, rule.column]
    values, all_known = known.select(names).unique().sort(by), known[by].unique().sort()
    window = pl.DataFrame({by: all_known, "first": [calendar.before(one, rule.partitions) for one in all_known]})
    values = values.join(window.cast({"first": all_known.dtype}), on=by)
    novel = (pl.col(by).shift(1).over(rule.column) >= pl.col("first")).not_().fill_null(True)
    values = values.select(*names, novel=novel & pl.col(rule.column).is_not_null())
    marked = known.join(values, on=names, nulls_equal=True)
    earliest = {one: calendar.before(one, rule.partitions) for one in partitions}
    with_past = [one for one in partitions if any(earliest[one] <= before < one for before in all_known)]
    detail = f"of the rows have a {rule.column} unseen in {rule.partitions} {calendar.noun}s"
    return _measure_shares(marked, by, with_past, pl.col("novel"), rule.share, detail)


def _measure_shares(  # noqa: PLR0917
    rows: pl.DataFrame, by: str, partitions: list[Partition], hit: pl.Expr, bound: float, detail: str
) -> list[_Measured]:
    shares = rows.filter(pl.col(by).is_in(partitions)).group_by(by).agg(hits=hit.sum(), share=hit.mean(), rows=pl.len())
    # Relative to the bound; any hit breaks a bound of zero.
    badness = pl.col("share") / bound if bound else pl.when(pl.col("hits") > 0).then(float("inf")).otherwise(0.0)
    return [
        _Measured(partition, share, badness, f"{hits} of {count} ({share:.1%}) {detail}")
        for partition, hits, share, count, badness in shares.sort(by).with_columns(badness=badness).iter_rows()
    ]
