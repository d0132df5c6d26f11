"""The transforms against brute force: nothing of the future leaks in, the counts are right, days and ranges agree."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlops_assets.features.featurize import fill_view
from mlops_assets.features.offline.point_in_time import Facts, join_facts
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.use_cases.flight_delay import USE_CASE, VIEWS
from mlops_assets.use_cases.flight_delay.transforms import PRIOR_FLIGHTS, PRIOR_RATE, late_label
from tests.foundation.days import midnight

FIRST, DAYS = dt.date(2013, 3, 8), 4  # the night of 10 March has no 02:00 in New York
LAST = FIRST + dt.timedelta(days=DAYS - 1)
MINUTES = DAYS * 24 * 60
TTL_HOURS = {
    "origin_weather": 3, "origin_delays": 24, "carrier_delays": 24, "route_delays": 48,
    "route_schedule": 720, "tail_delays": 24, "plane": 0,
}  # fmt: skip
KNOWN = {"outcomes": "arr_time", "weather": "observed_at", "schedule": "known", "planes": "known"}
UTC = pl.Datetime("us", "UTC")
CARRIERS, ORIGINS, DESTS, TAILS = ("AA", "UA"), ("EWR", "JFK"), ("IAH", "LAX"), ("N1", "N2")
Tables = dict[str, pl.DataFrame]

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def at(minute: int) -> dt.datetime:
    return midnight(FIRST) + dt.timedelta(minutes=minute)


# Whole hours are drawn often: they are the edges of the grid and of the windows.
minutes = st.one_of(st.integers(0, MINUTES - 1), st.integers(0, DAYS * 24 - 1).map(lambda hour: hour * 60))
quarters = st.integers(-8, 8).map(lambda number: number / 4)
outcome = st.tuples(
    st.sampled_from(CARRIERS), st.sampled_from((*TAILS, None)), st.sampled_from(ORIGINS), st.sampled_from(DESTS),
    minutes, st.integers(-60, 300), st.sampled_from([-40, 0, 15, 16, 90]),
)  # fmt: skip
weather = st.tuples(st.sampled_from(ORIGINS), st.integers(0, DAYS * 24 - 1), st.one_of(st.none(), quarters), quarters)
scheduled = st.tuples(st.sampled_from(ORIGINS), st.sampled_from(DESTS), minutes, st.integers(100, 3000))
aircraft = st.tuples(st.sampled_from(TAILS), st.integers(0, DAYS - 1), st.integers(1, 400))


@st.composite
def worlds(draw: st.DrawFn, most: int = 12) -> Tables:
    def rows(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(strategy, max_size=most))

    return {
        "outcomes": _outcomes(rows(outcome)),
        "weather": _weather(rows(weather)),
        "schedule": _schedule(rows(scheduled)),
        "planes": _planes(rows(aircraft)),
    }


def _outcomes(rows: list[Any]) -> pl.DataFrame:
    names = ["carrier", "tailnum", "origin", "dest", "minute", "dep_delay", "arr_delay"]
    text = dict.fromkeys(names[:4], pl.String)
    frame = pl.DataFrame(rows, schema={**text, **dict.fromkeys(names[4:], pl.Int64)}, orient="row")
    frame = frame.with_columns(arr_time=_moment("minute")).unique(["tailnum", "arr_time"], keep="first", maintain_order=True)
    return frame.drop("minute").with_columns(day=pl.col("arr_time").dt.date())


def _weather(rows: list[Any]) -> pl.DataFrame:
    schema = {"origin": pl.String, "hour": pl.Int64, "pressure": pl.Float64, "precip": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(observed_at=_moment(pl.col("hour") * 60))
    others = {name: pl.col("precip") for name in ("temp", "dewp", "humid", "wind_speed", "wind_gust", "visib")}
    frame = frame.unique(["origin", "observed_at"], keep="first", maintain_order=True)
    return frame.with_columns(**others, day=pl.col("observed_at").dt.date())


def _schedule(rows: list[Any]) -> pl.DataFrame:
    schema = {"origin": pl.String, "dest": pl.String, "minute": pl.Int64, "distance": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(sched_dep=_moment("minute"))
    return frame.with_columns(day=pl.col("sched_dep").dt.date(), known=pl.col("sched_dep").dt.truncate("1d"))


def _planes(rows: list[Any]) -> pl.DataFrame:
    schema = {"tailnum": pl.String, "at": pl.Int64, "seats": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        known=_moment(pl.col("at") * 24 * 60), built=2000 + pl.col("seats")
    )
    return frame.unique(["tailnum", "known"], keep="first", maintain_order=True).with_columns(day=pl.col("known").dt.date())


def _moment(minute: str | pl.Expr) -> pl.Expr:
    after = pl.col(minute) if isinstance(minute, str) else minute
    return (pl.lit(midnight(FIRST)).cast(UTC) + pl.duration(minutes=after)).cast(UTC)


def filled(view: Any, tables: Tables, first: dt.date = FIRST, last: dt.date = LAST) -> pl.DataFrame:
    return fill_view(
        view, {name: rows.lazy() for name, rows in tables.items()}, UTC_DAYS.start(first), UTC_DAYS.end(last)
    ).collect()


def seen_at(tables: Tables, moment: dt.datetime) -> pl.DataFrame:
    """Every feature of every possible request at `moment`."""
    entities = pl.DataFrame({"carrier": CARRIERS}).join(pl.DataFrame({"origin": ORIGINS}), how="cross")
    entities = entities.join(pl.DataFrame({"dest": DESTS}), how="cross").join(pl.DataFrame({"tailnum": TAILS}), how="cross")
    entities = entities.with_columns(event_timestamp=pl.lit(moment).cast(UTC))
    return join_facts(entities, [_facts(view, filled(view, tables)) for view in VIEWS], event_timestamp="event_timestamp")


def _facts(view: Any, rows: pl.DataFrame) -> Facts:
    features = {name: name for name in rows.columns if name not in (*view.entity, "event_timestamp", "day")}
    keys = {name: name for name in view.entity}
    ttl = dt.timedelta(hours=TTL_HOURS[view.name])
    return Facts(view=view.name, rows=rows.lazy(), keys=keys, features=features, timestamp="event_timestamp", ttl=ttl)


@given(world=worlds(), otherwise=worlds(), minute=minutes)
@PROPERTY
def test_facts_that_become_known_later_change_no_feature(world: Tables, otherwise: Tables, minute: int) -> None:
    """Facts after the moment are changed, added and removed all at once: the future comes from another world."""
    moment = at(minute)
    mixed = {
        name: pl.concat([world[name].filter(pl.col(known) <= moment), otherwise[name].filter(pl.col(known) > moment)])
        for name, known in KNOWN.items()
    }
    assert_frame_equal(seen_at(world, moment), seen_at(mixed, moment))


def test_a_fact_counts_from_the_moment_when_it_is_known() -> None:
    """The counterpart of the test above: what is known at the moment does change the features."""
    rows = [("UA", "N1", "EWR", "IAH", 600, 50, 90)]
    empty: Tables = {"outcomes": _outcomes([]), "weather": _weather([]), "schedule": _schedule([]), "planes": _planes([])}
    landed = {**empty, "outcomes": _outcomes(rows)}
    assert seen_at(landed, at(600))["origin_late_rate_2h"].is_not_null().any()
    assert_frame_equal(seen_at(landed, at(599)), seen_at(empty, at(599)))


ROLLED = [
    ("origin_delays", "origin", "1h", {"2h": 2, "4h": 4, "24h": 24}, ("2h", "24h")),
    ("carrier_delays", "carrier", "1h", {"6h": 6, "24h": 24, "7d": 168}, ("24h",)),
    ("route_delays", "route", "6h", {"7d": 168, "30d": 720}, ()),
]


@pytest.mark.parametrize(("name", "prefix", "every", "windows", "delays"), ROLLED, ids=[case[0] for case in ROLLED])
@given(world=worlds(most=25))
@settings(PROPERTY, max_examples=15)
def test_rates_equal_a_count_by_hand(
    name: str, prefix: str, every: str, windows: dict[str, int], delays: tuple[str, ...], world: Tables
) -> None:
    view = next(view for view in VIEWS if view.name == name)
    rows = filled(view, world).to_dicts()
    grid = {at(hour * 60) for hour in range(0, DAYS * 24, int(every[:-1]))}
    expected = {
        (*key, moment)
        for moment in grid
        for key in _keys(view, world)
        if _landed(view, world, key, moment, max(windows.values()))
    }
    assert {(*(row[key] for key in view.entity), row["event_timestamp"]) for row in rows} == expected
    for row in rows:
        key = tuple(row[name] for name in view.entity)
        for window, hours in windows.items():
            landed = _landed(view, world, key, row["event_timestamp"], hours)
            late = sum(flight["arr_delay"] > 15 for flight in landed)
            rate = (late + PRIOR_RATE * PRIOR_FLIGHTS) / (len(landed) + PRIOR_FLIGHTS)
            assert row[f"{prefix}_late_rate_{window}"] == pytest.approx(rate, abs=1e-12)
            if window in delays:
                total = sum(min(max(flight["dep_delay"], -30), 180) for flight in landed)
                assert row[f"{prefix}_dep_delay_{window}"] == pytest.approx(total / (len(landed) + PRIOR_FLIGHTS), abs=1e-9)


def _keys(view: Any, world: Tables) -> set[tuple[str, ...]]:
    return set(world["outcomes"].select(view.entity).iter_rows())


def _landed(view: Any, world: Tables, key: tuple[str, ...], moment: dt.datetime, hours: int) -> list[dict[str, Any]]:
    since = moment - dt.timedelta(hours=hours)
    flights = world["outcomes"].iter_rows(named=True)
    return [
        flight
        for flight in flights
        if since < flight["arr_time"] <= moment and tuple(flight[name] for name in view.entity) == key
    ]


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
@given(world=worlds(most=25))
@settings(PROPERTY, max_examples=15)
def test_day_by_day_equals_a_range_at_once(view: Any, world: Tables) -> None:
    """Each run reads what the graph gives it: its own days and those of the look-back, nothing more."""
    days = [FIRST + dt.timedelta(days=offset) for offset in range(DAYS)]
    at_once = filled(view, _readable(world, view, FIRST, LAST))
    daily = pl.concat([filled(view, _readable(world, view, day, day), day, day) for day in days])
    assert_frame_equal(daily.sort(pl.all()), at_once.sort(pl.all()))


def _readable(world: Tables, view: Any, first: dt.date, last: dt.date) -> Tables:
    return {
        name: rows.filter(pl.col("day").is_between(first - dt.timedelta(UTC_DAYS.count_back(view.lookback)), last))
        for name, rows in world.items()
    }


def test_the_change_of_pressure_spans_three_hours_with_any_hours_missing() -> None:
    world = {"weather": _weather([("EWR", hour, float(hour * hour), 0.0) for hour in (0, 1, 3, 4, 9)])}
    change = dict(filled(VIEWS[0], world).select("event_timestamp", "pressure_change_3h").iter_rows())
    assert [change[at(hour * 60)] for hour in (0, 1, 3, 4, 9)] == [None, None, 9.0, 15.0, None]


@pytest.mark.parametrize(
    ("sched_dep", "minute", "weekday"),
    [
        ("2013-03-10T06:30", 90, "Sun"),  # 01:30 EST, the hour before the clock jumps
        ("2013-03-10T07:30", 210, "Sun"),  # 03:30 EDT, an hour later
        ("2013-11-03T05:30", 90, "Sun"),  # 01:30 EDT
        ("2013-11-03T06:30", 90, "Sun"),  # 01:30 EST, the second time
        ("2013-07-02T03:59", 1439, "Mon"),  # Tuesday in UTC, still Monday in New York
        ("2013-07-02T04:00", 0, "Tue"),
        ("2013-01-01T10:15", 315, "Tue"),
    ],
)
def test_a_request_is_predicted_two_hours_ahead_with_inputs_in_the_time_of_new_york(
    sched_dep: str, minute: int, weekday: str
) -> None:
    departure = dt.datetime.fromisoformat(sched_dep).replace(tzinfo=dt.UTC)
    row = (
        entity_rows(USE_CASE.features, pl.LazyFrame({"sched_dep": [departure]}, schema={"sched_dep": UTC}))
        .collect()
        .row(0, named=True)
    )
    assert row["event_timestamp"] == departure - dt.timedelta(hours=2)
    assert (row["minute_of_day"], row["weekday"]) == (float(minute), weekday)


def test_late_is_more_than_fifteen_minutes_and_known_on_arrival() -> None:
    flights = pl.DataFrame(
        {"carrier": "UA", "flight": 1, "origin": "EWR", "sched_dep": at(0), "arr_time": at(60), "arr_delay": [14, 15, 16]}
    )
    labels = late_label(flights.lazy()).collect()
    assert labels["late"].to_list() == [0, 0, 1]
    assert labels["known_at"].unique().to_list() == [at(60)]


def test_every_input_of_the_model_comes_from_a_view_or_from_the_request() -> None:
    world = {"outcomes": _outcomes([]), "weather": _weather([]), "schedule": _schedule([]), "planes": _planes([])}
    features = {name for view in VIEWS for name in filled(view, world).columns}
    request = (
        entity_rows(USE_CASE.features, pl.LazyFrame(schema={"carrier": pl.String, "sched_dep": UTC})).collect_schema().names()
    )
    assert set(USE_CASE.features.inputs) <= features | set(request)
