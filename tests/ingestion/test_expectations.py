"""Statistical expectations: a day is compared with the days before it."""

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.ingestion.expectations import Finding, check_expectations
from mlops_assets.spec.contract import Column, Contract, Expectation, MaxNovelShare, MaxNullShare, RowCountBand

FIRST = date(2013, 1, 1)
NOTHING = pl.DataFrame()
BAND = RowCountBand(min_ratio=0.5, max_ratio=2.0, partitions=28)


def days_of(*counts: int, start: date = FIRST, carrier: str | None = "UA") -> pl.DataFrame:
    days = [start + timedelta(days=at) for at, count in enumerate(counts) for _ in range(count)]
    schema = {"day": pl.Date(), "carrier": pl.String()}
    return pl.DataFrame({"day": days, "carrier": [carrier] * len(days)}, schema=schema)


def check(expectation: Expectation, today: pl.DataFrame, history: pl.DataFrame = NOTHING, *days: date) -> Finding:
    column = Column(name="carrier", dtype="string", nullable=True, description="Airline.")
    contract = Contract(table="t", description="x", columns=(column,), unique=("carrier",), expectations=(expectation,))
    last = today["day"].max() or FIRST
    judged = days or pl.date_range(today["day"].min() or FIRST, last, eager=True).to_list()  # type: ignore[arg-type]
    (finding,) = check_expectations(today, history, contract, partitions=judged)
    return finding


def test_a_day_like_those_before_is_within_the_band() -> None:
    finding = check(BAND, days_of(11, start=FIRST + timedelta(3)), days_of(10, 12, 10))
    assert (finding.passed, finding.measured) == (True, 1.1)


@pytest.mark.parametrize(("rows", "measured"), [(4, 0.4), (21, 2.1)])
def test_a_day_out_of_the_band_fails_with_its_ratio(rows: int, measured: float) -> None:
    finding = check(BAND, days_of(rows, start=FIRST + timedelta(3)), days_of(10, 12, 10))
    assert not finding.passed
    assert finding.measured == pytest.approx(measured)
    assert (
        f"2013-01-04: {rows} rows are {measured:.2f} times the median 10 of the 3 days before; bound: 0.5 to 2 times"
        in finding.message
    )


@pytest.mark.parametrize(("rows", "passed"), [(5, True), (20, True)])
def test_the_bounds_of_the_band_are_inside_it(rows: int, passed: bool) -> None:
    assert check(BAND, days_of(rows, start=FIRST + timedelta(3)), days_of(10, 10, 10)).passed is passed


def test_the_band_passes_while_fewer_than_three_days_are_known() -> None:
    finding = check(BAND, days_of(1, start=FIRST + timedelta(2)), days_of(1000, 1000))
    assert finding.passed and "fewer than 3 earlier days are known" in finding.message


def test_a_file_with_a_header_alone_is_out_of_the_band_even_on_the_first_day() -> None:
    assert not check(BAND, days_of()).passed
    finding = check(BAND, days_of(), days_of(10, 10, 10), FIRST + timedelta(3))
    assert not finding.passed and "2013-01-04: there are no rows" in finding.message


def test_a_day_without_rows_inside_a_backfill_fails() -> None:
    finding = check(BAND, days_of(10, 10, 0, 10, 10))
    assert not finding.passed and "2013-01-03: there are no rows" in finding.message


def test_a_backfill_compares_every_day_with_those_before_it_and_reports_the_worst() -> None:
    finding = check(BAND, days_of(10, 10, 10, 3, 10, 1, 10))
    assert not finding.passed
    assert "2013-01-06: 1 rows" in finding.message and "the worst of 2 such days" in finding.message


def test_only_the_last_days_of_the_band_count() -> None:
    band = RowCountBand(min_ratio=0.5, max_ratio=2.0, partitions=3)
    assert check(band, days_of(100, start=FIRST + timedelta(13)), days_of(*[10] * 10, *[100] * 3)).passed


def test_the_null_share_of_the_worst_day_is_compared_with_its_bound() -> None:
    today = pl.concat([days_of(8, 4), days_of(2, 1, carrier=None)])
    assert check(MaxNullShare(column="carrier", share=0.2), today).passed
    finding = check(MaxNullShare(column="carrier", share=0.19), today)
    assert (finding.passed, finding.measured) == (False, 0.2)
    assert "t · null_share(carrier) · 2013-01-01: 2 of 10 (20.0%) of the rows miss carrier" in finding.message


def test_a_null_share_of_zero_allows_no_null() -> None:
    nothing_missing = MaxNullShare(column="carrier", share=0)
    assert check(nothing_missing, days_of(8)).passed
    assert not check(nothing_missing, pl.concat([days_of(8), days_of(1, carrier=None)])).passed


def test_a_value_absent_from_earlier_days_is_novel() -> None:
    today = pl.concat([days_of(8, start=FIRST + timedelta(1)), days_of(2, start=FIRST + timedelta(1), carrier="XX")])
    finding = check(MaxNovelShare(column="carrier", share=0.1), today, days_of(5))
    assert (finding.passed, finding.measured) == (False, 0.2)
    assert check(MaxNovelShare(column="carrier", share=0.2), today, days_of(5)).passed


def test_a_value_is_novel_again_after_the_days_that_the_rule_looks_back() -> None:
    rule = MaxNovelShare(column="carrier", share=0.0, partitions=2)
    history = pl.concat([days_of(1, carrier="XX"), days_of(1, 1, 1)])
    assert check(rule, days_of(1, start=FIRST + timedelta(2), carrier="XX"), history).passed
    assert not check(rule, days_of(1, start=FIRST + timedelta(3), carrier="XX"), history).passed


def test_novelty_ignores_the_first_day_and_missing_values() -> None:
    rule = MaxNovelShare(column="carrier", share=0.0)
    assert check(rule, days_of(5)).passed
    assert check(rule, days_of(5, start=FIRST + timedelta(1), carrier=None), days_of(5)).passed


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ABC")), min_size=1, max_size=40), st.integers(1, 5))
def test_novelty_agrees_with_counting_by_hand(observed: list[tuple[int, str]], days: int) -> None:
    rows = pl.DataFrame({"day": [FIRST + timedelta(at) for at, _ in observed], "carrier": [value for _, value in observed]})
    shares = [0.0]
    for at in sorted({at for at, _ in observed}):
        before = {value for day, value in observed if at - days <= day < at}
        here = [value for day, value in observed if day == at]
        if before:
            shares.append(sum(value not in before for value in here) / len(here))
    assert check(MaxNovelShare(column="carrier", share=1, partitions=days), rows).measured == pytest.approx(max(shares))
