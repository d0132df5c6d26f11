"""A day that fails a check is refused as a whole, and keeps what was accepted before."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.foundation.names import BAD_SHARE, EXPECTATIONS
from mlops_assets.ingestion.audit import Audit, audit_partitions
from mlops_assets.spec.contract import Column, Contract, RowCountBand

pytestmark = pytest.mark.slow

FIRST = dt.date(2024, 3, 1)
CONTRACT = Contract(
    table="sales",
    description="Sales.",
    columns=(
        Column(name="number", dtype="int", description="Of the sale."),
        Column(name="euros", dtype="float", min=0, description="Price."),
    ),
    unique=("number",),
    max_bad_share=0.2,
    expectations=(RowCountBand(min_ratio=0.5, max_ratio=2.0),),
)
RAW = dict.fromkeys(("number", "euros", "source_file", "problem"), pl.String()) | {"day": pl.Date(), "source_line": pl.Int64()}
NOTHING = pl.DataFrame()


def day_of(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def landed(day: int, good: int, bad: int = 0, price: float = 1.0) -> pl.DataFrame:
    rows = [
        {
            "number": str(number), "euros": str(price if number < good else -1.0), "source_file": f"{day_of(day)}.csv",
            "problem": None, "day": day_of(day), "source_line": number + 2,
        }
        for number in range(good + bad)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=RAW).select("number", "euros", "day", "source_file", "source_line", "problem")


def audit(raw: pl.DataFrame, table: pl.DataFrame = NOTHING, *days: int, waived: tuple[int, ...] = ()) -> Audit:
    judged = [day_of(day) for day in days] or sorted({*raw["day"]})
    return audit_partitions(raw, table, CONTRACT, partitions=judged, waived={day_of(day) for day in waived})


def counts(rows: pl.DataFrame) -> dict[int, int]:
    by_day = rows.group_by("day").len().sort("day").iter_rows() if rows.height else []
    return {(day - FIRST).days: count for day, count in by_day}


def test_only_the_days_that_pass_are_accepted_and_the_others_are_quarantined_whole() -> None:
    result = audit(pl.concat([landed(0, 10), landed(1, 6, 4), landed(2, 10)]))
    assert counts(result.accepted) == {0: 10, 2: 10}
    assert counts(result.quarantined) == {1: 10}
    assert result.failed.keys() == {day_of(1)} and result.failed[day_of(1)].keys() == {BAD_SHARE}
    reasons = result.quarantined["reasons"].to_list()
    assert sum(reason.startswith("euros: ") for reason in reasons) == 4
    refused = [reason for reason in reasons if reason.startswith("the day is refused: sales · bad_share · 2024-03-02: 4 of 10")]
    assert len(refused) == 6


def test_a_good_day_that_is_delivered_badly_keeps_the_rows_of_the_delivery_before() -> None:
    accepted = audit(pl.concat([landed(day, 10) for day in range(5)])).accepted
    result = audit(landed(3, 1, price=7.0), accepted)
    assert result.failed[day_of(3)].keys() == {EXPECTATIONS}
    assert result.accepted.equals(accepted.filter(pl.col("day") == day_of(3)))
    assert audit(landed(3, 12, price=7.0), accepted).accepted["euros"].to_list() == [7.0] * 12


def test_a_refused_day_keeps_its_rows_when_columns_have_come_and_gone_meanwhile() -> None:
    accepted = audit(pl.concat([landed(day, 10) for day in range(5)])).accepted
    result = audit(landed(3, 1), accepted.drop("euros").with_columns(discount=0.5))
    assert result.accepted.columns == accepted.columns
    assert result.accepted["euros"].to_list() == [None] * 10


def test_a_waived_day_is_accepted_and_its_bad_rows_stay_in_quarantine() -> None:
    result = audit(landed(0, 6, 4), waived=(0,))
    assert (counts(result.accepted), counts(result.quarantined)) == ({0: 6}, {0: 4})
    assert result.failed.keys() == {day_of(0)}


def test_a_refused_day_is_no_measure_for_the_days_after_it() -> None:
    """Three tiny days in a row: each is compared with the accepted ones and not with one another."""
    days = pl.concat([landed(0, 100), landed(1, 100), landed(2, 100), landed(3, 2), landed(4, 2), landed(5, 2), landed(6, 100)])
    assert counts(audit(days).accepted) == {0: 100, 1: 100, 2: 100, 6: 100}
    assert [*audit(days).failed] == [day_of(3), day_of(4), day_of(5)]


COUNTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), min_size=1, max_size=7)


@given(earlier=COUNTS, later=COUNTS, waived=st.sets(st.integers(0, 6)))
@settings(deadline=None, max_examples=40)
def test_one_run_over_many_days_equals_one_run_a_day(
    earlier: list[tuple[int, int]], later: list[tuple[int, int]], waived: set[int]
) -> None:
    table = pl.concat([audit(landed(day, good)).accepted for day, (good, _) in enumerate(earlier)])
    raw = pl.concat([landed(day, good, bad, price=2.0) for day, (good, bad) in enumerate(later)])
    days = range(len(later))
    whole = audit(raw, table, *days, waived=(*waived,))
    for day in days:
        single = audit(
            raw.filter(pl.col("day") == day_of(day)), table.filter(pl.col("day") <= day_of(day)), day, waived=(*waived,)
        )
        table = pl.concat([table.filter(pl.col("day") != day_of(day)), single.accepted]).sort("day", maintain_order=True)
        assert whole.failed.get(day_of(day)) == single.failed.get(day_of(day))
        assert whole.quarantined.filter(pl.col("day") == day_of(day)).equals(single.quarantined)
    assert whole.accepted.equals(table.filter(pl.col("day") <= day_of(len(later) - 1)))
    assert whole.quarantined.height + whole.accepted.filter(pl.col("euros") == 2.0).height == raw.height


@pytest.mark.parametrize(("low", "accepted"), [(0.5, 10), (0.0, 0)])
def test_a_day_without_rows_passes_where_the_band_begins_at_zero_and_replaces_what_was_there(low: float, accepted: int) -> None:
    contract = CONTRACT.but(expectations=(RowCountBand(min_ratio=low, max_ratio=2.0),))
    table = pl.concat([audit(landed(day, 10)).accepted for day in range(5)])
    result = audit_partitions(landed(2, 0), table, contract, partitions=[day_of(2)], waived=())
    assert len(result.accepted) == accepted
    assert bool(result.failed) is bool(accepted)
