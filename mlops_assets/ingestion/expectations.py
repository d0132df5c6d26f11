"""Statistical expectations: does a day of a table look like the days before it?

Belongs here: row-count bands, null shares, category novelty, and the Finding that each rule of a table ends in.
Not here: rules on single rows (validate.py) and drift of model inputs (drift.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import NamedTuple

import polars as pl

from mlops_assets.spec.contract import Contract, Expectation, MaxNovelShare, MaxNullShare, RowCountBand

MIN_KNOWN_DAYS = 3
REMEDY = "Look at the landed file: land it again if it is wrong, or change the contract if the world has changed"


@dataclass(frozen=True)
class Finding:
    """What one rule measured on its worst day; the bound is written as people read it."""

    name: str
    passed: bool
    measured: float
    bound: str
    message: str


class _Measured(NamedTuple):
    day: date
    value: float
    badness: float  # above 1: out of bounds
    told: str


def check_expectations(
    today: pl.DataFrame, history: pl.DataFrame, contract: Contract, *, days: Sequence[date] = ()
) -> list[Finding]:
    """One finding per expectation of the contract, over each of `days` in `today` against the days before it.

    `today` and `history` are accepted rows with `day`; `history` may lack columns when it is empty. Without `days`
    they are all days from the first to the last in `today`, so that a day without rows between them is seen.
    """
    known = pl.concat([rows for rows in (history, today) if rows.height] or [today], how="diagonal")
    judged = sorted(days) or _every_day(today)
    return [_check(expectation, known, judged, contract) for expectation in contract.expectations]


def _every_day(rows: pl.DataFrame) -> list[date]:
    if rows.is_empty():
        return []
    first, last = rows.select(first=pl.col("day").min(), last=pl.col("day").max()).row(0)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _check(expectation: Expectation, known: pl.DataFrame, days: list[date], contract: Contract) -> Finding:
    match expectation:
        case RowCountBand():
            return _check_band(expectation, known, days, contract)
        case MaxNullShare(column=column, share=share):
            nulls = _null_shares(column, share, known, days)
            return _finding(f"null_share({column})", f"at most {share:.1%}", nulls, contract, unknown="there are no rows")
        case MaxNovelShare(column=column, share=share):
            novel = _novel_shares(expectation, known, days)
            return _finding(f"novel_share({column})", f"at most {share:.1%}", novel, contract, unknown="no earlier day is known")


def _finding(name: str, bound: str, measured: list[_Measured], contract: Contract, *, unknown: str) -> Finding:
    where = f"{contract.table} · {name}"
    if not measured:
        return Finding(name, True, 0.0, bound, f"{where} · nothing to compare: {unknown}. It passes for now.")
    worst = max(measured, key=lambda each: each.badness)
    out = sum(each.badness > 1 for each in measured)
    told = f"{where} · {worst.day}: {worst.told}; bound: {bound}"
    if not out:
        return Finding(name, True, worst.value, bound, f"{told}.")
    more = f" (the worst of {out} such days)" if out > 1 else ""
    return Finding(name, False, worst.value, bound, f"{told}{more}. {REMEDY}.")


def _check_band(band: RowCountBand, known: pl.DataFrame, days: list[date], contract: Contract) -> Finding:
    name, bound = "row_count_band", f"{band.min_ratio:g} to {band.max_ratio:g} times the median of up to {band.days} days before"
    if not days:
        told = f"{contract.table} · {name} · there are no rows at all; bound: {bound}. {REMEDY}."
        return Finding(name, False, 0.0, bound, told)
    counts = {day: rows for day, rows in known.group_by("day").len().sort("day").iter_rows()} if known.height else {}
    measured = [found for day in days if (found := _ratio(band, counts, day)) is not None]
    return _finding(name, bound, measured, contract, unknown=f"fewer than {MIN_KNOWN_DAYS} earlier days are known")


def _ratio(band: RowCountBand, counts: dict[date, int], day: date) -> _Measured | None:
    """Rows of a day by the median of the days before it; None while too few are known. A day without rows always fails."""
    rows = counts.get(day, 0)
    before = [count for known, count in counts.items() if known < day][-band.days :]
    if not rows:
        return _Measured(day, 0.0, float("inf"), "there are no rows")
    if len(before) < MIN_KNOWN_DAYS:
        return None
    usual = median(before)
    ratio = rows / usual
    told = f"{rows} rows are {ratio:.2f} times the median {usual:g} of the {len(before)} days before"
    return _Measured(day, ratio, max(ratio / band.max_ratio, band.min_ratio / ratio), told)


def _null_shares(column: str, bound: float, known: pl.DataFrame, days: list[date]) -> list[_Measured]:
    return _shares(known, days, pl.col(column).is_null(), bound, f"of the rows miss {column}")


def _novel_shares(rule: MaxNovelShare, known: pl.DataFrame, days: list[date]) -> list[_Measured]:
    """Shares of rows whose value was not seen on the `rule.days` days before; days without any such day are left out."""
    if known.is_empty():
        return []
    window = timedelta(days=rule.days)
    seen = known.select("day", rule.column).unique().sort("day")
    novel = (pl.col("day") - pl.col("day").shift(1).over(rule.column) <= window).not_().fill_null(True)
    seen = seen.with_columns(novel=novel & pl.col(rule.column).is_not_null())
    marked = known.join(seen, on=["day", rule.column], nulls_equal=True)
    all_days = set(known["day"].unique())
    with_past = [day for day in days if any(day - timedelta(days=back) in all_days for back in range(1, rule.days + 1))]
    return _shares(marked, with_past, pl.col("novel"), rule.share, f"of the rows have a {rule.column} unseen in {rule.days} days")


def _shares(rows: pl.DataFrame, days: list[date], hit: pl.Expr, bound: float, told: str) -> list[_Measured]:
    """Badness relative to the bound; a bound of zero is broken by any hit."""
    if rows.is_empty():
        return []
    shares = rows.filter(pl.col("day").is_in(days)).group_by("day").agg(hits=hit.sum(), rows=pl.len()).sort("day")
    return [
        _Measured(day, hits / count, _badness(hits / count, bound), f"{hits} of {count} ({hits / count:.1%}) {told}")
        for day, hits, count in shares.iter_rows()
    ]


def _badness(share: float, bound: float) -> float:
    return share / bound if bound else share * float("inf") if share else 0.0
