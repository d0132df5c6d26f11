"""Stories of deliveries: late, corrected, retracted, empty, refused. After each, every table equals a brute-force computation
from what was accepted, and online equals offline.
"""

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.spec.contract import RowCountBand
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS, VIEW
from tests.features.feast.lookups import lookup
from tests.graph.loan_line import LoanLine, applications, day_of, moment, payments, running_loans

pytestmark = pytest.mark.integration

DAYS, LOOKBACK = 7, dt.timedelta(days=2)
CUSTOMERS = ("c0", "c1", "c2")


def paid_lately(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    total = pl.col("paid").rolling_sum_by("paid_at", window_size=LOOKBACK).over("customer")
    rows = tables["payments"].sort("paid_at").select("customer", event_timestamp="paid_at", last_paid=total)
    return rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))


# A loan may be corrected on a later day; a day without loans or payments is legal, one with far too many loans is not.
LINE = LOANS.but(
    contracts=(
        APPLICATIONS.but(day=None, expectations=(RowCountBand(min_ratio=0, max_ratio=3.0),)),
        PAYMENTS.but(expectations=(RowCountBand(min_ratio=0, max_ratio=1000.0),)),
    ),
    features=LOANS.features.but(views=(VIEW.but(transform=paid_lately, lookback=LOOKBACK),)),
)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LoanLine]:
    with running_loans(tmp_path, LINE) as line:
        line.land_sound(*range(DAYS))
        features = (stage(LINE.name, VIEW.name) for stage in (names.feature, names.online))
        assert line.run(*line.stages("applications", "payments"), *features, first=0, last=DAYS - 1).success
        yield line


def deliver(line: LoanLine, table: str, day: int, rows: pl.DataFrame) -> None:
    """What the automation runs for one changed file: its day, and the features of the days that look back on it."""
    line.land(table, day, rows)
    assert line.ingest(table, day).success
    if table == "payments":
        line.fill(day, min(day + LOOKBACK.days, DAYS - 1))


def assert_payments_used(line: LoanLine, accepted: dict[int, pl.DataFrame]) -> None:
    paid = [row for rows in accepted.values() for row in rows.rows()]
    expected = sorted(
        (customer, at, sum(euros for other, then, euros in paid if other == customer and at - LOOKBACK < then <= at))
        for customer, at, _ in paid
    )
    features = line.tables.scan(names.feature("loans", "last_payment")).collect()
    assert sorted(features.select("customer", "event_timestamp", "last_paid").rows()) == expected
    store = line.store()
    requests = pl.DataFrame({"customer": CUSTOMERS}).with_columns(event_timestamp=moment(DAYS))
    newest = {customer: value for customer, _, value in expected}
    online = lookup(store, requests)
    assert online["last_paid"].to_list() == [newest.get(customer) for customer in CUSTOMERS]
    assert online["last_paid"].to_list() == store.historical(requests)["last_paid"].to_list()


def check_loans(line: LoanLine, accepted: dict[int, pl.DataFrame]) -> None:
    """One row per loan: the request as it was first known, the newest label that was known before the next part began."""
    versions = {(row["number"], day): row for day, rows in accepted.items() for row in rows.to_dicts()}
    first = {number: versions[number, day] for number, day in sorted(versions, reverse=True)}
    expected = list[tuple[int, float, int]]()
    for number, row in first.items():
        applied = (row["applied_at"].date() - day_of(0)).days
        until = DAYS if applied == DAYS - 1 else DAYS - 2 if applied == DAYS - 2 else DAYS - 3
        label = [one["defaulted"] for (other, day), one in sorted(versions.items()) if other == number and day <= until]
        expected.append((number, row["amount"], label[-1]))
    trained = line.training_set()
    assert trained.select("number", "amount", "defaulted").sort("number").rows() == sorted(expected)


def sound_payments(day: int) -> pl.DataFrame:
    return payments(day, *((customer, 10.0 * day + number) for number, customer in enumerate(CUSTOMERS)))


def sound_loans(day: int) -> pl.DataFrame:
    return applications(*((100 * (day + 1) + number, 10.0 + number, int(number < 3)) for number in range(10)), day=day)


@pytest.mark.parametrize("seed", range(2))
def test_features_and_online_values_follow_every_delivery_of_payments(line: LoanLine, seed: int) -> None:
    chance, accepted = random.Random(seed), {day: sound_payments(day) for day in range(DAYS)}
    for euros in (500.0, 600.0, 700.0):
        day = chance.randrange(DAYS)
        paid = [(customer, euros + number) for number, customer in enumerate(CUSTOMERS) if chance.random() < 0.5]
        accepted[day] = payments(day, *paid)
        deliver(line, "payments", day, accepted[day])
        assert_payments_used(line, accepted)


def test_a_customer_whose_payments_are_all_retracted_is_unknown_again(line: LoanLine) -> None:
    accepted = {day: sound_payments(day).filter(pl.col("customer") != "c1") for day in range(DAYS)}
    for day, rows in accepted.items():
        line.land("payments", day, rows)
    assert line.ingest("payments", 0, DAYS - 1).success
    line.fill(0, DAYS - 1)
    assert_payments_used(line, accepted)
    assert (
        lookup(line.store(), pl.DataFrame({"customer": ["c1"]}).with_columns(event_timestamp=moment(DAYS)))["last_paid"].item()
        is None
    )


def test_a_header_alone_says_that_a_day_had_nothing(line: LoanLine) -> None:
    accepted = {day: sound_payments(day) for day in range(DAYS)} | {DAYS - 1: payments(DAYS - 1)}
    deliver(line, "payments", DAYS - 1, accepted[DAYS - 1])
    assert line.validated("payments").filter(day=day_of(DAYS - 1)).is_empty()
    assert_payments_used(line, accepted)


def test_the_training_set_follows_corrected_retracted_and_refused_loans(line: LoanLine) -> None:
    accepted = {day: sound_loans(day) for day in range(DAYS)}
    check_loans(line, accepted)
    late = accepted[1].head(2).with_columns(amount=99.0, defaulted=pl.Series([0, 0], dtype=pl.Int64))
    in_time, too_late = late.head(1), late.tail(1)
    accepted[3] = pl.concat([sound_loans(3), in_time])
    accepted[5] = pl.concat([sound_loans(5), too_late])
    accepted[2] = sound_loans(2).head(8)
    for day in (2, 3, 5):
        deliver(line, "applications", day, accepted[day])
    check_loans(line, accepted)
    line.land("applications", 4, applications(*((9000 + number, 1.0, 1) for number in range(100)), day=4))
    line.ingest("applications", 4)
    check_loans(line, accepted)
    assert len(line.quarantined("applications")) == 100
    deliver(line, "applications", 4, sound_loans(4))
    check_loans(line, accepted)
    assert line.quarantined("applications").is_empty()


def test_a_line_may_begin_with_days_without_rows(tmp_path: Path) -> None:
    with running_loans(tmp_path, LINE) as line:
        for day in range(2):
            line.land("payments", day, payments(day))
        assert line.ingest("payments", 0, 1).success
        line.fill(0, 1)
        assert_payments_used(line, {})
        deliver(line, "payments", 2, sound_payments(2))
        assert_payments_used(line, {2: sound_payments(2)})
