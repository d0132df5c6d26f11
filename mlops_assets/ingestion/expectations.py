"""What is expected of a day of a table: few bad rows, and statistics like those of the days before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import NamedTuple

import polars as pl

from mlops_assets.ingestion.csv_lines import WHOLE_FILE
from mlops_assets.ingestion.validate import Split
from mlops_assets.spec.contract import Contract, Expectation, MaxNovelShare, MaxNullShare, RowCountBand

MIN_KNOWN_DAYS = 3
REMEDY = "Look at the landed file: land it again if it is wrong, or change the contract if the business has changed"


@dataclass(frozen=True)
class Finding:
    """What one rule measured on its worst day; the bound as text; the days on which it failed."""

    name: str
    passed: bool
    measured: float
    bound: str
    message: str
    failed_days: tuple[date, ...] = ()


class _Measured(NamedTuple):
    day: date
    value: float
    badness: float  # above 1: out of bounds
    detail: str


def check_bad_share(split: Split, contract: Contract) -> Finding:
    """The quarantined share of the worst day against `contract.max_bad_share`."""
    name, bound = "bad_share", f"at most {contract.max_bad_share:.1%}"
    parts = [split.accepted.select("day", bad=pl.lit(0)), split.quarantined.select("day", bad=pl.lit(1))]
    days = pl.concat(parts).group_by("day").agg(rows=pl.len(), bad=pl.col("bad").sum(), share=pl.col("bad").mean())
    if days.is_empty():
        return Finding(name, True, 0.0, bound, f"{contract.table} · {name} · there are no rows.")
    day, rows, bad, share = days.sort("share", "day", descending=[True, False]).row(0)
    message = f"{contract.table} · {name} · {day}: {bad} of {rows} rows ({share:.1%}) break the contract; bound: {bound}."
    passed = share <= contract.max_bad_share
    broken = split.quarantined.filter(pl.col("day") == day, pl.col("source_line") == WHOLE_FILE)["reasons"]
    if len(broken):
        message = f"{contract.table} · {name} · {day}: {broken[0]}"
    elif not passed:
        # The commonest reasons of the day, without the values.
        reason = pl.col("reasons").str.split("; ").explode().str.replace(r": '.*' ", " ")
        counts = split.quarantined.filter(pl.col("day") == day).select(reason).to_series().value_counts(sort=True)
        commonest = ", ".join(f"{reason} ({count})" for reason, count in counts.head(3).iter_rows())
        message = f"{message} Commonest: {commonest}. {REMEDY}."
    failed = days.filter(pl.col("share") > contract.max_bad_share)["day"].sort()
    return Finding(name, passed, share, bound, message, tuple(failed))


def check_expectations(today: pl.DataFrame, history: pl.DataFrame, contract: Contract, *, days: Sequence[date]) -> list[Finding]:
    """One finding per expectation of the contract, over all `days` in `today` against the days before each.

    `today` and `history` are accepted rows with `day`; an empty `history` may lack columns.
    """
    known = pl.concat([rows for rows in (history, today) if rows.height] or [today], how="diagonal_relaxed")
    findings: list[Finding] = []
    for expectation in contract.expectations:
        name, bound, unknown, measured = _measure(expectation, known, sorted(days))
        where = f"{contract.table} · {name}"
        if not measured:
            message = f"{where} · nothing to compare: {unknown}. It passes for now."
            findings.append(Finding(name, True, 0.0, bound, message))
            continue
        worst = max(measured, key=lambda day: day.badness)
        failed = tuple(day.day for day in measured if day.badness > 1)
        more = f" (the worst of {len(failed)} such days)" if len(failed) > 1 else ""
        message = f"{where} · {worst.day}: {worst.detail}; bound: {bound}{more}.{f' {REMEDY}.' if failed else ''}"
        findings.append(Finding(name, not failed, worst.value, bound, message, failed))
    return findings


def _measure(expectation: Expectation, known: pl.DataFrame, days: list[date]) -> tuple[str, str, str, list[_Measured]]:
    """Name and bound of the rule, why nothing may have been measured, and what was measured."""
    match expectation:
        case RowCountBand(min_ratio=low, max_ratio=high):
            bound = f"{low:g} to {high:g} times the median of up to {expectation.days} days before"
            reason = f"fewer than {MIN_KNOWN_DAYS} earlier days are known"
            return "row_count_band", bound, reason, _measure_counts(expectation, known, days)
        case MaxNullShare(column=column, share=share):
            measured = _measure_shares(known, days, pl.col(column).is_null(), share, f"of the rows miss {column}")
            return f"null_share({column})", f"at most {share:.1%}", "there are no rows", measured
        case MaxNovelShare(column=column, share=share):
            measured = _measure_novelty(expectation, known, days)
            return f"novel_share({column})", f"at most {share:.1%}", "no earlier day is known", measured


def _measure_counts(band: RowCountBand, known: pl.DataFrame, days: list[date]) -> list[_Measured]:
    """Rows of each day by the median of the days before it; a day with too few days before it is left out. A day without rows
    passes where the band begins at zero and fails everywhere else.
    """
    counts = dict(known.group_by("day").len().sort("day").iter_rows())
    measured: list[_Measured] = []
    for day in days:
        rows = counts.get(day, 0)
        before = [count for known_day, count in counts.items() if known_day < day][-band.days :]
        if not rows:
            measured.append(_Measured(day, 0.0, float("inf") if band.min_ratio else 0.0, "there are no rows"))
        elif len(before) >= MIN_KNOWN_DAYS:
            usual = median(before)
            ratio = rows / usual
            detail = f"{rows} rows are {ratio:.2f} times the median {usual:g} of the {len(before)} days before"
            measured.append(_Measured(day, ratio, max(ratio / band.max_ratio, band.min_ratio / ratio), detail))
    return measured


def _measure_novelty(rule: MaxNovelShare, known: pl.DataFrame, days: list[date]) -> list[_Measured]:
    """Shares of rows whose value is absent from the `rule.days` days before; days without any such day are left out."""
    window = timedelta(days=rule.days)
    values = known.select("day", rule.column).unique().sort("day")
    novel = (pl.col("day") - pl.col("day").shift(1).over(rule.column) <= window).not_().fill_null(True)
    values = values.with_columns(novel=novel & pl.col(rule.column).is_not_null())
    marked = known.join(values, on=["day", rule.column], nulls_equal=True)
    all_days = set(known["day"].unique())
    with_past = [day for day in days if any(day - timedelta(days=back) in all_days for back in range(1, rule.days + 1))]
    detail = f"of the rows have a {rule.column} unseen in {rule.days} days"
    return _measure_shares(marked, with_past, pl.col("novel"), rule.share, detail)


def _measure_shares(rows: pl.DataFrame, days: list[date], hit: pl.Expr, bound: float, detail: str) -> list[_Measured]:
    shares = rows.filter(pl.col("day").is_in(days)).group_by("day").agg(hits=hit.sum(), share=hit.mean(), rows=pl.len())
    # Relative to the bound; any hit breaks a bound of zero.
    badness = pl.col("share") / bound if bound else pl.when(pl.col("hits") > 0).then(float("inf")).otherwise(0.0)
    return [
        _Measured(day, share, badness, f"{hits} of {count} ({share:.1%}) {detail}")
        for day, hits, share, count, badness in shares.sort("day").with_columns(badness=badness).iter_rows()
    ]
