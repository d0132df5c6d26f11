"""The feature catalogue: statistics against the standard library, readers by name, and tables that are not there yet."""

import math
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.stages.catalog import Catalog, Reader, Statistics, ViewEntry, describe_view, measure

START, DAY = datetime(2013, 6, 1, tzinfo=UTC), timedelta(days=1)
NUMBER = st.one_of(st.none(), st.just(math.nan), st.floats(-100, 100))


def table(values: list[Any], *, every: timedelta = timedelta(hours=1)) -> pl.LazyFrame:
    moments = pl.Series([START + number * every for number in range(len(values))], dtype=pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"event_timestamp": moments, "temp": pl.Series(values, dtype=pl.Float64)})
    return frame.with_columns(day=pl.col("event_timestamp").dt.date()).lazy()


@given(st.lists(NUMBER, min_size=1, max_size=20))
def test_statistics_are_those_of_the_known_values(values: list[Any]) -> None:
    _, found = measure(table(values), ["temp"], window=30 * DAY)
    known = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - only nan differs from itself
    one = found["temp"]
    assert (one.rows, one.distinct) == (len(values), len(set(known)))
    assert one.null_share == pytest.approx(1 - len(known) / len(values))
    if known:
        expected = (min(known), statistics.median(known), statistics.fmean(known), max(known))
        assert (one.min, one.p50, one.mean, one.max) == pytest.approx(expected, abs=1e-9)
    else:
        assert (one.min, one.p50, one.mean, one.max) == (None,) * 4


def test_only_the_days_before_the_newest_row_count() -> None:
    newest, found = measure(table([99.0] * 5 + [1.0] * 3, every=DAY), ["temp"], window=3 * DAY)
    assert newest == START + 7 * DAY
    assert (found["temp"].rows, found["temp"].max) == (3, 1.0)


def test_text_has_no_numbers() -> None:
    rows = table([1.0, 2.0, 3.0]).with_columns(gate=pl.Series(["a", None, "a"]))
    assert measure(rows, ["gate"], window=DAY)[1]["gate"] == Statistics(rows=3, null_share=pytest.approx(1 / 3), distinct=1)


@pytest.mark.parametrize("rows", [pl.LazyFrame(), table([])], ids=["no table", "no rows"])
def test_what_nothing_has_filled_yet_has_no_statistics(rows: pl.LazyFrame) -> None:
    assert measure(rows, ["temp"], window=DAY) == (None, {})


def test_a_feature_that_the_table_lacks_is_listed_without_statistics() -> None:
    view = describe_view(DESCRIBED, table([1.0]), [], window=DAY)
    assert [feature.name for feature in view.features] == ["temp", "gust"]
    assert (view.features[0].statistics.rows, view.features[1].statistics.rows) == (1, 0)


DESCRIBED: dict[str, object] = {
    "view": "origin_weather",
    "description": "Weather.",
    "owner": "team:weather",
    "tags": {},
    "entities": ["origin"],
    "ttl": timedelta(hours=3),
    "features": [
        {"name": "temp", "type": "Float64", "description": "Degrees."},
        {"name": "gust", "type": "Float64", "description": "Gusts."},
    ],
}


@pytest.mark.parametrize(
    ("declared", "served", "said"),
    [
        (("temp",), ("temp",), "flight_delay version 3"),
        (("temp",), ("seats",), "flight_delay, from its next model on"),
        ((), ("temp",), "flight_delay version 3, no longer declared"),
        (("seats",), ("seats",), None),
    ],
)
def test_who_reads_a_feature(declared: tuple[str, ...], served: tuple[str, ...], said: str | None) -> None:
    assert Reader("flight_delay", declared, 3, served).said_of("temp") == said


def test_rows_name_every_reader() -> None:
    readers = [Reader("flight_delay", ("temp",), 3, ("temp",)), Reader("crew", ("temp",))]
    catalog = Catalog("flight_delay", "Late?", 3, DAY, (describe_view(DESCRIBED, table([1.0, 2.0]), readers, window=DAY),))
    first, second = catalog.rows()
    assert first["used_by"] == "flight_delay version 3; crew, from its next model on"
    assert (first["view"], first["owner"], first["newest"], first["mean"]) == (
        "origin_weather",
        "team:weather",
        START + DAY / 24,
        1.5,
    )
    assert second["used_by"] == ""


def test_a_view_is_behind_the_newest_one() -> None:
    old, new = (ViewEntry(name, "", "", (), None, moment, ()) for name, moment in (("old", START), ("new", START + DAY)))
    empty = ViewEntry("empty", "", "", (), None, None, ())
    catalog = Catalog("flight_delay", "Late?", None, DAY, (old, new, empty))
    assert [catalog.behind(view) for view in catalog.views] == [DAY, timedelta(0), None]
