"""The packed mirror against Feast's own online reads and writes, in one run: latencies, and rows written a second.

100,000 entities, ten float features, one view, SQLite and a Redis on loopback. Bounds as printed; it ends with code 1 when
one is broken. Latencies are of the call in process; the open-loop part gives the service time under Poisson arrivals.
"""

import gc
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import numpy as np
import polars as pl
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

from mlops_assets.features.feast.feature_registry import feast_config, service_view
from mlops_assets.features.online.key_value_stores import KeyValueStore, RedisStore, SqliteStore
from mlops_assets.features.online.online_mirror import OnlineMirror
from mlops_assets.foundation.home import Home
from tests.servers.redis_server import RedisServer

ENTITIES, FEATURES, SEED = 100_000, [f"f{number}" for number in range(10)], 0
FEAST_ENTITIES = 5_000  # Feast writes some 10,000 a second; its reads do not depend on how many there are
NOW = datetime(2013, 3, 1, tzinfo=UTC)
MOMENT = int(NOW.timestamp() * 1e6)
MAX_ONE_P99_MS, MIN_HUNDRED_RATIO, MIN_ROWS_S, MAX_LOADED_P99_MS = 0.3, 20.0, 100_000, 1.0
TURNS = 5  # one after the other, and the middle one of their ratios: the machine's speed wanders
THREADS, RATE, LOAD_SECONDS = 4, 300, 10


def percentiles(call: Callable[[int], object], times: int) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - began) * 1e3)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 99))


def under_load(call: Callable[[int], object]) -> tuple[float, float]:
    """p50 and p99 of the service time, THREADS threads with Poisson arrivals, RATE a second together."""
    taken: list[float] = []

    def work(seed: int) -> None:
        chance, due = random.Random(seed), time.perf_counter()
        end = due + LOAD_SECONDS
        while (due := due + chance.expovariate(RATE / THREADS)) < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            call(chance.randrange(ENTITIES))
            taken.append((time.perf_counter() - began) * 1e3)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 99))


def declared() -> tuple[Entity, FeatureView, FeatureService]:
    entity = Entity(name="tail", join_keys=["tail"], value_type=ValueType.STRING)
    fields = [Field(name="tail", dtype=String), *(Field(name=name, dtype=Float64) for name in FEATURES)]
    source = FileSource(name="bench_table", path="bench.parquet", timestamp_field="timestamp")
    view = FeatureView(name="bench", entities=[entity], ttl=timedelta(days=7), schema=fields, source=source)
    return entity, view, FeatureService(name="bench_v1", features=[view])


def rows() -> pl.DataFrame:
    values = np.random.default_rng(SEED).normal(size=(ENTITIES, len(FEATURES)))
    keys = pl.DataFrame({"tail": [f"N{number}" for number in range(ENTITIES)]})
    return keys.hstack(pl.DataFrame(values, schema=FEATURES)).with_columns(
        timestamp=pl.lit(NOW - timedelta(hours=1)).dt.cast_time_unit("us")
    )


def measure(name: str, blobs: KeyValueStore, home: Home, redis_url: str | None) -> bool:
    """Prints the figures of one store; whether every bound held."""
    entity, view, service = declared()
    store = feast.FeatureStore(config=feast_config(home, redis_url))
    store.apply([entity, view, service])
    held = rows()
    theirs = held.head(FEAST_ENTITIES).rename({"timestamp": "timestamp"}).to_pandas()
    began = time.perf_counter()
    store.write_to_online_store("bench", theirs)
    feast_rows_s = FEAST_ENTITIES / (time.perf_counter() - began)
    mirror = OnlineMirror("bench_v1", (service_view(store.get_feature_view("bench")),), blobs)
    mirror.mark_ready()
    speeds = []
    for _ in range(3):
        began = time.perf_counter()
        mirror.write("bench", held)
        speeds.append(ENTITIES / (time.perf_counter() - began))
    chosen = store.get_feature_service("bench_v1")
    pick = random.Random(SEED)
    tails = [[f"N{pick.randrange(FEAST_ENTITIES)}" for _ in range(100)] for _ in range(200)]
    one, hundred = np.array([MOMENT]), np.repeat(MOMENT, 100)
    gc.collect()
    gc.freeze()
    feast_one = percentiles(lambda n: store.get_online_features(chosen, [{"tail": tails[n % 200][0]}]).to_dict(), 500)
    ours_one = percentiles(lambda n: mirror.read({"tail": [tails[n % 200][n % 100]]}, one), 3000)
    turns = [
        (
            percentiles(lambda n: store.get_online_features(chosen, [{"tail": tail} for tail in tails[n]]).to_dict(), 40),
            percentiles(lambda n: mirror.read({"tail": tails[n % 200]}, hundred), 400),
        )
        for _ in range(TURNS)
    ]
    feast_100, ours_100 = sorted(turns, key=lambda turn: turn[0][0] / turn[1][0])[TURNS // 2]
    loaded = under_load(lambda n: mirror.read({"tail": [f"N{n}"]}, one))
    ratio, written = feast_100[0] / ours_100[0], sorted(speeds)[1]
    print(
        f"{name:<7} 1 entity      mirror {ours_one[0]:.3f} / {ours_one[1]:.3f} ms, Feast {feast_one[0]:.3f} / {feast_one[1]:.3f} ms (p50 / p99; mirror's p99 at most {MAX_ONE_P99_MS})"
    )
    print(
        f"{name:<7} 100 entities  mirror {ours_100[0]:.3f} / {ours_100[1]:.3f} ms, Feast {feast_100[0]:.3f} / {feast_100[1]:.3f} ms, ratio of the medians, middle of {TURNS} turns, {ratio:.1f} (at least {MIN_HUNDRED_RATIO:.0f})"
    )
    print(
        f"{name:<7} {THREADS} threads at {RATE}/s  mirror {loaded[0]:.3f} / {loaded[1]:.3f} ms (p99 at most {MAX_LOADED_P99_MS})"
    )
    print(f"{name:<7} written       mirror {written:,.0f} rows/s (at least {MIN_ROWS_S:,}), Feast {feast_rows_s:,.0f} rows/s")
    return (
        ours_one[1] <= MAX_ONE_P99_MS and ratio >= MIN_HUNDRED_RATIO and loaded[1] <= MAX_LOADED_P99_MS and written >= MIN_ROWS_S
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        held = measure("sqlite", SqliteStore(root / "mirror.db"), _home(root / "a"), None)
        server = RedisServer(root / "redis", durable=False)
        server.start()
        try:
            held &= measure("redis", RedisStore(server.url, name="bench"), _home(root / "b"), server.url)
        finally:
            server.kill()
    print("every bound held" if held else "a bound is broken")
    return 0 if held else 1


def _home(root: Path) -> Home:
    (root / "feast").mkdir(parents=True)
    return Home(root)


if __name__ == "__main__":
    sys.exit(main())
