"""The packed mirror on a real SQLite file and a real Redis: keys, versions, states, atomic reads, and a Redis that is killed."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.features.online.key_value_stores import KeyValueStore, LastKnown, OnlineStoreDown, RedisStore, SqliteStore
from mlops_assets.features.online.layout import NEVER, ServiceView
from mlops_assets.features.online.online_mirror import NotFilled, OnlineMirror, OnlineValues
from mlops_assets.foundation.home_lock import await_readers, erasure_mark
from tests.servers.redis_server import RedisServer

START = datetime(2013, 3, 1, tzinfo=UTC)
HOUR, NO_TTL = timedelta(hours=1), timedelta(0)
NOW = np.array([int((START + 10 * HOUR).timestamp() * 1e6)])
ORIGIN, DEST = {"origin": ("origin", pl.String())}, {"dest": ("dest", pl.String())}
WEATHER = ServiceView("weather", "weather", 3 * HOUR, {"temp": pl.Float64(), "gust": pl.Float64()}, ORIGIN)
DELAYS = ServiceView("delays", "delays", NO_TTL, {"late": pl.Float64(), "flights": pl.Int64(), "worst": pl.String()}, ORIGIN)
ROUTE = ServiceView("route", "route", NO_TTL, {"miles": pl.Float64()}, ORIGIN | DEST)
VIEWS = (WEATHER, ROUTE, DELAYS)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> KeyValueStore:
    if request.param == "sqlite":
        return SqliteStore(tmp_path / "mirror.db")
    return RedisStore(redis_server.url, name=str(tmp_path))


def mirror_on(blobs: KeyValueStore, service: str = "flights_v1", views: tuple[ServiceView, ...] = VIEWS) -> OnlineMirror:
    mirror = OnlineMirror(service, views, blobs)
    mirror.mark_ready()
    return mirror


def weather(origins: list[str], temp: float | None, at: datetime = START + 9 * HOUR) -> pl.DataFrame:
    schema = {"origin": pl.String, "temp": pl.Float64, "gust": pl.Float64, "timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame({"origin": origins, "temp": temp, "gust": temp, "timestamp": at}, schema=schema)


def ask(mirror: OnlineMirror, origin: str | None, dest: str | None = "ATL"):
    return mirror.read({"origin": [origin], "dest": [dest]}, NOW)


def weather_state(values: OnlineValues) -> str:
    place = values.views.index("weather")
    is_held = values.event_times[0, place] != NEVER
    return "fresh" if values.fresh[0, place] else "stale" if is_held else "missing"


def test_missing_stale_and_zero_differ(blobs: KeyValueStore) -> None:
    mirror = mirror_on(blobs)
    mirror.write("weather", weather(["JFK"], 0.0))
    mirror.write("weather", weather(["EWR"], 5.0, at=START + 6 * HOUR))
    fresh, stale, missing = (ask(mirror, origin) for origin in ("JFK", "EWR", "LGA"))
    assert [weather_state(values) for values in (fresh, stale, missing)] == ["fresh", "stale", "missing"]
    assert fresh.features["temp"] == [0.0]
    assert stale.features["temp"] == missing.features["temp"] == [None]
    named = [dict(values.missing()[0]).get("weather") for values in (fresh, stale, missing)]
    assert named == [None, "expired", "unknown"]
    assert weather_state(ask(mirror, None)) == "missing"


def test_rows_with_a_null_key_are_skipped_and_shift_no_other_row(blobs: KeyValueStore) -> None:
    mirror = mirror_on(blobs)
    rows = weather(["LGA", "JFK", "EWR"], 1.0).with_columns(
        origin=pl.Series([None, "JFK", "EWR"]), temp=pl.Series([1.0, 2.0, 3.0])
    )
    mirror.write("weather", rows)
    assert [ask(mirror, origin).features["temp"] for origin in ("JFK", "EWR")] == [[2.0], [3.0]]


def test_a_value_expires_a_microsecond_after_its_ttl(blobs: KeyValueStore) -> None:
    mirror = mirror_on(blobs)
    mirror.write("weather", weather(["JFK"], 1.0, at=START + 7 * HOUR))
    mirror.write("weather", weather(["EWR"], 1.0, at=START + 7 * HOUR - timedelta(microseconds=1)))
    assert [weather_state(ask(mirror, origin)) for origin in ("JFK", "EWR")] == ["fresh", "stale"]


def test_writing_one_view_keeps_the_other_views_of_the_same_value(blobs: KeyValueStore) -> None:
    mirror = mirror_on(blobs)
    at = pl.lit(START).dt.cast_time_unit("us")
    delays = pl.DataFrame({"origin": ["JFK"], "late": [0.25], "flights": [2**53 + 1], "worst": ["ü/|"]}).with_columns(
        timestamp=at
    )
    mirror.write("delays", delays)
    mirror.write("weather", weather(["JFK"], 7.0))
    mirror.write("weather", weather(["JFK"], None))
    result = ask(mirror, "JFK")
    assert [result.features[name] for name in ("late", "flights", "worst")] == [[0.25], [2**53 + 1], ["ü/|"]]
    assert weather_state(result) == "fresh" and result.features["temp"] == [None]


parts = st.text(st.sampled_from("a1:/|+\x1f"), max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(parts, parts), min_size=1, max_size=8, unique=True))
def test_no_two_entities_share_a_key(blobs: KeyValueStore, routes: list[tuple[str, str]]) -> None:
    mirror = mirror_on(blobs)
    rows = pl.DataFrame(routes, schema=["origin", "dest"], orient="row")
    mirror.write(
        "route", rows.with_columns(miles=pl.int_range(pl.len()).cast(pl.Float64), timestamp=pl.lit(START).dt.cast_time_unit("us"))
    )
    result = mirror.read({"origin": rows["origin"].to_list(), "dest": rows["dest"].to_list()}, np.repeat(NOW, len(rows)))
    assert result.features["miles"] == list(range(len(rows)))


def test_two_versions_of_a_service_do_not_overwrite_each_other(blobs: KeyValueStore) -> None:
    """Versions differ by name or, under the same name, by layout."""
    turned = (replace(WEATHER, features={"gust": pl.Float64(), "temp": pl.Float64()}),)
    first, second = mirror_on(blobs), mirror_on(blobs, "flights_v2")
    rows = weather(["JFK"], 1.0).with_columns(gust=pl.lit(9.0))
    first.write("weather", rows)
    second.write("weather", rows.with_columns(temp=pl.lit(2.0)))
    anew = OnlineMirror("flights_v1", turned, blobs)
    anew.write("weather", rows.with_columns(temp=pl.lit(3.0)))
    assert [ask(values, "JFK").features["temp"] for values in (first, second)] == [[1.0], [2.0]]
    anew.mark_ready()
    assert [ask(values, "JFK").features["temp"] for values in (second, anew)] == [[2.0], [3.0]]
    assert ask(anew, "JFK").features["gust"] == [9.0]


@pytest.mark.parametrize(
    "changed",
    [
        {"temp": pl.Int64(), "gust": pl.Float64()},
        {"temp": pl.String(), "gust": pl.Float64()},
        {"temp": pl.Float64(), "gust": pl.Float64(), "rain": pl.Float64()},
        {"temp": pl.Float64()},
        {"heat": pl.Float64(), "gust": pl.Float64()},
    ],
    ids=["another type", "text", "added", "dropped", "renamed"],
)
def test_values_of_other_columns_or_types_are_never_read(blobs: KeyValueStore, changed: dict[str, pl.DataType]) -> None:
    before = mirror_on(blobs)
    before.write("weather", weather(["JFK"], 1.5))
    after = OnlineMirror("flights_v1", (replace(WEATHER, features=changed), ROUTE, DELAYS), blobs)
    with pytest.raises(NotFilled):
        ask(after, "JFK")
    after.mark_ready()
    assert ask(after, "JFK").features[next(iter(changed))] == [None]


def test_a_declaration_that_returns_to_an_earlier_one_reads_nothing_that_is_old(blobs: KeyValueStore) -> None:
    """While another layout was in use, nothing kept the values of the first one up to date."""
    before = mirror_on(blobs)
    before.write("weather", weather(["JFK"], 1.5))
    other = OnlineMirror("other_v1", (WEATHER,), blobs)
    other.write("weather", weather(["JFK"], 2.5))
    other.mark_ready()
    after = OnlineMirror("flights_v1", (replace(WEATHER, features={"temp": pl.Float64()}), ROUTE, DELAYS), blobs)
    after.mark_ready()
    with pytest.raises(NotFilled):
        ask(before, "JFK")
    before.mark_ready()
    assert ask(before, "JFK").features["temp"] == [None] and not after.is_ready()
    assert other.read({"origin": ["JFK"]}, NOW).features["temp"] == [2.5], "that of another service stays"


def test_values_under_keys_of_another_type_are_never_read(blobs: KeyValueStore) -> None:
    """After the number 7 has become the text "007", the old value of 7 is not that of "7"."""
    by_number = ServiceView("sales", "sales", NO_TTL, {"sold": pl.Int64()}, {"shop": ("shop", pl.Int64())})
    before = mirror_on(blobs, views=(by_number,))
    before.write("sales", pl.DataFrame({"shop": [7], "sold": [3], "timestamp": [START]}))
    assert before.read({"shop": [7]}, NOW).features == {"sold": [3]}
    after = OnlineMirror("flights_v1", (replace(by_number, keys={"shop": ("shop", pl.String())}),), blobs)
    with pytest.raises(NotFilled):
        after.read({"shop": ["7"]}, NOW)
    after.mark_ready()
    assert after.read({"shop": ["7"]}, NOW).features == {"sold": [None]}


def test_an_empty_store_is_not_a_store_without_the_entity(blobs: KeyValueStore) -> None:
    mirror = OnlineMirror("flights_v1", VIEWS, blobs)
    with pytest.raises(NotFilled, match="flights_v1.*nothing of it is online yet. Materialize"):
        ask(mirror, "JFK")
    mirror.mark_ready()
    assert mirror.is_ready() and weather_state(ask(mirror, "JFK")) == "missing"


def test_a_reader_never_sees_a_partial_write(blobs: KeyValueStore) -> None:
    """Every write gives all entities one new value for both features; two different values are a partial write."""
    mirror, origins = mirror_on(blobs), [f"O{number}" for number in range(300)]
    mirror.write("weather", weather(origins, 0.0))
    wrong: list[object] = []
    stop, has_read = threading.Event(), threading.Event()

    def read() -> None:
        keys = {"origin": origins, "dest": ["ATL"] * len(origins)}
        while not stop.is_set():
            try:
                result = mirror.read(keys, np.repeat(NOW, len(origins)))
                has_read.set()
                if result.features["temp"] != result.features["gust"] or len(set(result.features["temp"])) > 1:
                    wrong.append(set(result.features["temp"]))
            except OnlineStoreDown:
                pass  # on a busy machine Redis may answer too late
            except Exception as error:  # noqa: BLE001 - a thread's error must fail the test
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(1, 40):
        mirror.write("weather", weather(origins, float(value)))
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == [] and has_read.is_set()


# --- a Redis that is killed ---------------------------------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "mortal")
    server.start()
    yield server
    server.kill()


def test_while_the_store_is_down_a_reader_fails_or_returns_what_it_read_last_and_recovers_afterwards(mortal: RedisServer) -> None:
    clock = iter(range(1000)).__next__
    straight = mirror_on(RedisStore(mortal.url, name="t"))
    remembering = mirror_on(LastKnown(RedisStore(mortal.url, name="t"), clock=clock, mark=lambda: 0))
    straight.write("weather", weather(["JFK", "EWR"], 4.0))
    assert ask(remembering, "JFK").age_s == 0
    mortal.kill()
    with pytest.raises(OnlineStoreDown, match=r"Redis at 127.0.0.1:\d+/0 does not answer: .*Start it"):
        ask(straight, "JFK")
    known = ask(remembering, "JFK")
    assert known.features["temp"] == [4.0] and known.age_s > 0
    with pytest.raises(OnlineStoreDown):
        ask(remembering, "EWR")  # never read by this process
    mortal.start()
    assert eventually(lambda: ask(straight, "JFK")).features["temp"] == [4.0]
    assert eventually(lambda: ask(remembering, "EWR")).age_s == 0


def test_what_was_read_before_an_erasure_is_not_remembered_after_it(mortal: RedisServer, tmp_path: Path) -> None:
    store, mark = RedisStore(mortal.url, name="t"), partial(erasure_mark, tmp_path)
    server = mirror_on(LastKnown(store, clock=time.monotonic, mark=mark))
    mirror_on(store).write("weather", weather(["JFK", "EWR"], 4.0))
    assert ask(server, "JFK").features["temp"] == ask(server, "EWR").features["temp"] == [4.0]
    store.erase([key for key in store.keys("JFK")])
    await_readers(tmp_path, seconds=0, on_wait=lambda: None)  # as an erasure does, in another process
    assert ask(server, "EWR").features["temp"] == [4.0]
    mortal.kill()
    assert ask(server, "EWR").age_s > 0
    with pytest.raises(OnlineStoreDown):
        ask(server, "JFK")


def test_a_store_that_restarts_empty_is_not_filled(tmp_path: Path) -> None:
    forgetful = RedisServer(tmp_path, durable=False)
    forgetful.start()
    mirror = mirror_on(RedisStore(forgetful.url, name="t"))
    forgetful.kill()
    forgetful.start()
    try:
        with pytest.raises(NotFilled):
            ask(mirror, "JFK")
    finally:
        forgetful.kill()


def eventually(act: Callable[[], Any], within_s: float = 60) -> Any:
    deadline = time.monotonic() + within_s
    while True:
        try:
            return act()
        except OnlineStoreDown:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def values_of(mirror: OnlineMirror, origins: list[str]) -> list[tuple[float, float]]:
    """Read in parts: a read of all takes longer on a busy machine than the time-out of a lookup."""
    values: list[tuple[float, float]] = []
    for start in range(0, len(origins), 1000):
        part = origins[start : start + 1000]
        keys, moments = {"origin": part, "dest": ["ATL"] * len(part)}, np.repeat(NOW, len(part))
        features = eventually(partial(mirror.read, keys, moments)).features
        values += zip(features["temp"], features["gust"], strict=True)
    return values


@pytest.mark.slow
def test_a_write_that_is_killed_loses_nothing_and_is_completed_by_repeating_it(mortal: RedisServer) -> None:
    mirror = mirror_on(RedisStore(mortal.url, name="t"))
    origins = [f"O{number}" for number in range(60_000)]
    mirror.write("weather", weather(origins, 1.0))
    killer = threading.Timer(0.15, mortal.kill)
    killer.start()
    with pytest.raises(OnlineStoreDown):
        for _ in range(100):
            mirror.write("weather", weather(origins, 2.0))
    killer.join()
    mortal.start()
    torn = values_of(mirror, origins)
    assert {temp for temp, _ in torn} <= {1.0, 2.0} and all(temp == gust for temp, gust in torn)
    eventually(lambda: mirror.write("weather", weather(origins, 2.0)))
    assert {temp for temp, _ in values_of(mirror, origins)} == {2.0}


def test_a_password_never_reaches_a_message() -> None:
    with pytest.raises(OnlineStoreDown) as error:
        RedisStore("redis://someone:secret@127.0.0.1:9/0", name="t").read(["a"])
    assert "secret" not in str(error.value) and "127.0.0.1:9" in str(error.value)
