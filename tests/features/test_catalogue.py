"""The feature catalogue: statistics against the standard library, readers by name, and an escaped page."""

import math
import re
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.catalogue import RECENT, Catalog, Feature, View, as_html, measure, reader
from mlops_assets.use_cases.flight_delay import USE_CASE

START, DAY = datetime(2013, 6, 1, tzinfo=UTC), timedelta(days=1)
NUMBER = st.one_of(st.none(), st.just(math.nan), st.floats(-100, 100))
HOSTILE = '<script>alert("x")</script>'


def table(values: list[Any], *, every: timedelta = timedelta(hours=1)) -> pl.LazyFrame:
    moments = pl.Series([START + number * every for number in range(len(values))], dtype=pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"event_timestamp": moments, "temp": pl.Series(values, dtype=pl.Float64)})
    return frame.with_columns(day=pl.col("event_timestamp").dt.date()).lazy()


@settings(deadline=None)
@given(st.lists(NUMBER, min_size=1, max_size=20))
def test_statistics_are_those_of_the_known_values(values: list[Any]) -> None:
    result = measure(table(values), ["temp"])[1]["temp"]
    known = [value for value in values if value is not None and not math.isnan(value)]
    assert (result["rows"], result["distinct"]) == (len(values), len(set(known)))
    assert result["missing"] == pytest.approx(1 - len(known) / len(values))
    expected = (min(known), statistics.median(known), statistics.fmean(known), max(known)) if known else (None,) * 4
    assert tuple(result[name] for name in ("min", "median", "mean", "max")) == pytest.approx(expected, abs=1e-9)


def test_only_the_days_before_the_newest_row_count() -> None:
    newest, result = measure(table([99.0] * 5 + [1.0] * RECENT.days, every=DAY), ["temp"])
    assert newest == START + (4 + RECENT.days) * DAY
    assert (result["temp"]["rows"], result["temp"]["max"]) == (RECENT.days, 1.0)


def test_text_has_no_numbers_and_an_unknown_column_no_statistics() -> None:
    rows = table([1.0, 2.0, 3.0]).with_columns(gate=pl.Series(["a", None, "a"]))
    assert measure(rows, ["gate", "gust"])[1] == {"gate": {"rows": 3, "missing": pytest.approx(1 / 3), "distinct": 1}}


@pytest.mark.parametrize("rows", [pl.LazyFrame(), table([])], ids=["no table", "no rows"])
def test_an_empty_view_has_no_statistics(rows: pl.LazyFrame) -> None:
    assert measure(rows, ["temp"]) == (None, {})


@pytest.mark.parametrize(
    ("feature", "served", "expected"),
    [
        ("temp", ("temp",), "flight_delay version 3"),
        ("temp", ("seats",), "flight_delay, from its next version"),
        ("gust", ("gust",), "flight_delay version 3, no longer declared"),
        ("gust", ("temp",), ""),
    ],
)
def test_the_reader_of_a_feature(feature: str, served: tuple[str, ...], expected: str) -> None:
    assert reader(USE_CASE, feature, champion=3, served=served) == expected


def page(word: str) -> str:
    figures = {"rows": 504, "missing": 0.25, "distinct": 1274, "min": -6.8, "median": 5.302, "mean": 1975.2, "max": 12345.6}
    features = (Feature(word, word, word, word, word, **figures), Feature("gust", "Float64", "Gusts.", "", ""))
    return as_html(Catalog(word, word, 3, (View(word, word, word, (word,), timedelta(hours=3), START, features),)))


def test_the_page_shows_every_fact_rounded_and_fetches_nothing() -> None:
    html = page("temp")
    for fact in ("25.0%", "-6.8", "5.302", "1975", "12,346", "1,274", "no model", "newest row 2013-06-01 00:00 UTC"):
        assert fact in html
    assert "2 features in 1 view, 1 read by no model. Version 3 serves." in html
    assert not re.search(r"https?://|src=|@import|url\(", html)


def test_declared_text_never_becomes_markup() -> None:
    assert "<script" not in page(HOSTILE) and "&lt;script&gt;" in page(HOSTILE)
