"""Statistical expectations: a day of a table is compared with the days before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import NamedTuple

import polars as pl

from mlops_assets.spec.contract import Contract, Expectation, MaxNovelShare, MaxNullShare, RowCountBand

MIN_KNOWN_DAYS = 3
REMEDY = "Look at the landed file: land it again if it is wrong, or change the contract if the business has changed"


@dataclass(frozen=True)
class Finding:
    """What one rule measured on its worst day; the bound as text."""

    name: str
    passed: bool
    measured: float
    bound: str
    message: str


class _Measured(NamedTuple):
    day: date
    value: float
    badness: float  # above 1: out of bounds
    detail: str


def check_expectations(today: pl.DataFrame, history: pl.DataFrame, contract: Contract, *, days: Sequence[date]) -> list[Finding]:
    """One finding per expectation of the contract, over all `days` in `today` against the days before each.

    `today` and `history` are accepted rows with `day`; an empty `history` may lack columns.
    """
    known = pl.concat([rows for rows in (history, today) if rows.height] or [today], how="diagonal")
    return [_check(expectation, known, sorted(days), contract.table) for expectation in contract.expectations]


def _check(expectation: Expectation, known: pl.DataFrame, days: list[date], table: str) -> Finding:
    name, bound, unknown, measured = _measure(expectation, known, days)
    where = f"{table} · {name}"
    if not measured:
        return Finding(name, True, 0.0, bound, f"{where} · nothing to compare: {unknown}. It passes for now.")
    worst = max(measured, key=lambda day: day.badness)
    failed = sum(day.badness > 1 for day in measured)
    message = f"{where} · {worst.day}: {worst.detail}; bound: {bound}"
    if not failed:
        return Finding(name, True, worst.value, bound, f"{message}.")
    more = f" (the worst of {failed} such days)" if failed > 1 else ""
    return Finding(name, False, worst.value, bound, f"{message}{more}. {REMEDY}.")


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
    """Rows of each day by the median of the days before it. A day without rows always fails; one with too few days before
    it is left out.
    """
    counts = dict(known.group_by("day").len().sort("day").iter_rows()) if known.height else {}
    measured: list[_Measured] = []
    for day in days:
        rows = counts.get(day, 0)
        before = [count for known_day, count in counts.items() if known_day < day][-band.days :]
        if not rows:
            measured.append(_Measured(day, 0.0, float("inf"), "there are no rows"))
        elif len(before) >= MIN_KNOWN_DAYS:
            usual = median(before)
            ratio = rows / usual
            detail = f"{rows} rows are {ratio:.2f} times the median {usual:g} of the {len(before)} days before"
            measured.append(_Measured(day, ratio, max(ratio / band.max_ratio, band.min_ratio / ratio), detail))
    return measured


def _measure_novelty(rule: MaxNovelShare, known: pl.DataFrame, days: list[date]) -> list[_Measured]:
    """Shares of rows whose value is absent from the `rule.days` days before; days without any such day are left out."""
    if known.is_empty():
        return []
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
    if rows.is_empty():
        return []
    shares = rows.filter(pl.col("day").is_in(days)).group_by("day").agg(hits=hit.sum(), rows=pl.len()).sort("day")
    return [
        _Measured(day, hits / count, _badness(hits / count, bound), f"{hits} of {count} ({hits / count:.1%}) {detail}")
        for day, hits, count in shares.iter_rows()
    ]


def _badness(share: float, bound: float) -> float:
    """Relative to the bound; any hit breaks a bound of zero."""
    return share / bound if bound else share * float("inf") if share else 0.0
