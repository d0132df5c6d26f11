"""When the files of a history come, and which requests were made."""

import datetime as dt
from pathlib import Path

import polars as pl

from mlops_assets.backtest.history import History
from mlops_assets.ingestion.landing import Landing
from tests.backtest.past_loans import DAY, PAST_LOANS, day_of, land, rows_of


def midnight(number: int) -> dt.datetime:
    return dt.datetime.combine(day_of(number), dt.time(), dt.UTC)


def history(folder: Path, days: range = range(4)) -> History:
    land(Landing(folder), days)
    return History(PAST_LOANS, Landing(folder))


def test_a_file_is_delivered_once_its_day_is_over(tmp_path: Path) -> None:
    past, home = history(tmp_path / "past"), Landing(tmp_path / "home")
    assert past.days == (midnight(0), midnight(4))
    assert past.deliver(home, after=None, until=midnight(2)) == {
        "applications": [day_of(0), day_of(1)],
        "payments": [day_of(0), day_of(1)],
    }
    assert past.deliver(home, after=midnight(2), until=midnight(3) - dt.timedelta(microseconds=1)) == {}
    assert past.deliver(home, after=midnight(2), until=midnight(3)) == {"applications": [day_of(2)], "payments": [day_of(2)]}
    name = f"{day_of(2)}.csv"
    assert (home.root / "loans/payments" / name).read_bytes() == (past.landing.root / "loans/payments" / name).read_bytes()


def test_requests_come_when_they_are_made_whenever_their_file_lands(tmp_path: Path) -> None:
    applications, payments = rows_of(3)
    early = applications.with_columns(pl.col("applied_at") - 2 * DAY)
    past = history(tmp_path, range(3))
    past.landing.put("loans", "applications", day=day_of(3), rows=early)
    past.landing.put("loans", "payments", day=day_of(3), rows=payments)
    requests = past.requests(midnight(1), midnight(2))
    made_then = [*rows_of(1)[0]["number"], *early["number"]]
    assert sorted(requests["number"]) == sorted(made_then)
    assert requests.columns == [*PAST_LOANS.features.request, "event_timestamp"]
    assert requests["event_timestamp"].is_sorted()


def test_an_illegal_outcome_does_not_decide_which_requests_were_made(tmp_path: Path) -> None:
    past = history(tmp_path)
    before = past.requests(midnight(0), midnight(4))
    file = past.landing.root / "loans/applications" / f"{day_of(3)}.csv"
    header, *lines = file.read_text().splitlines()
    poisoned = [",".join([*line.split(",")[:-1], "poison"]) for line in lines]
    file.write_text("\n".join([header, *poisoned, ""]))
    assert header.endswith("defaulted")
    assert past.requests(midnight(0), midnight(4)).equals(before)
