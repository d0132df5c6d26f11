"""Entities are erased from Feast's SQLite and Redis and from the mirrors next to them, with the real feature_repo."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import redis

from mlops_assets.erasure.stores import erase_from_mirrors, erase_online
from mlops_assets.erasure.subject import Subject
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.online.key_value_stores import glob_literal
from mlops_assets.features.online.online_mirror import entity_parts
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT
from tests.erasure.subjects import build_subject
from tests.features.feast.lookups import lookup
from tests.features.feast.test_feature_store import FEATURES, HOUR, KEYS, LEGAL, REPO, START, features_of, fill, flights_at
from tests.servers.redis_server import RedisServer

VIEWS = list(KEYS)
GONE = "tail*[q]7\\é"  # with what has a meaning in the patterns of Redis
LIKE_IT = "tailZ[q]7\\é"
TAILS = [GONE, LIKE_IT, "N1"]


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer | None]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), durable=False) if request.param == "redis" else None
    if server:
        server.start()
    yield server
    if server:
        server.kill()


@pytest.fixture(scope="module")
def root(server: RedisServer | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every view knows one fact of every entity, and it is online; two aircraft have confusing names."""
    root = tmp_path_factory.mktemp("home")
    store = opened(root, server)
    store.apply(REPO)
    known, legal = features_of(store), {**LEGAL, "tailnum": TAILS}
    for view, keys in KEYS.items():
        entities = [{keys[0]: first} for first in legal[keys[0]]]
        entities = [{**entity, keys[1]: second} for entity in entities for second in legal[keys[1]]] if keys[1:] else entities
        rows = [{**entity, "at": START + HOUR, "value": 1.0 + place} for place, entity in enumerate(entities)]
        fill(root, view, rows, known[view])
        store.materialize(view, START)
    return root


@pytest.fixture
def store(root: Path, server: RedisServer | None) -> FeatureStore:
    return opened(root, server)


def opened(root: Path, server: RedisServer | None) -> FeatureStore:
    return FeatureStore(Home(root), service="flight_delay_v1", redis_url=server.url if server else None)


def erase(store: FeatureStore, subject: Subject, views: list[str] = VIEWS, *, dry_run: bool = False) -> tuple[int, int]:
    return erase_online(store, views, subject, dry_run=dry_run), erase_from_mirrors(store, views, subject, dry_run=dry_run)


def held(root: Path, server: RedisServer | None) -> str:
    """The content of the online stores."""
    if server is None:
        return "".join(path.read_bytes().decode("utf-8", "replace") for path in (root / "feast").iterdir())
    with redis.Redis.from_url(server.url) as client:
        return "".join(f"{key!r}{client.hgetall(key)!r}" for key in client.keys("*") if client.type(key) == b"hash")


def looked_up(store: FeatureStore) -> pl.DataFrame:
    return pl.concat([lookup(store, flights_at([START + 2 * HOUR], tailnum=tail)) for tail in TAILS])


def spelled(server: RedisServer | None) -> str:
    """As the bytes of a store are shown by `held`."""
    return GONE if server is None else repr(GONE.encode())[2:-1]


def test_an_aircraft_is_erased_with_its_values_and_the_others_stay(
    store: FeatureStore, root: Path, server: RedisServer | None
) -> None:
    before = looked_up(store)
    assert spelled(server) in held(root, server)
    subject, count = build_subject(GONE, "tailnum"), (1 if server else 2, 1)  # Redis holds both views of an aircraft together
    assert erase(store, subject, dry_run=True) == erase(store, subject) == count
    assert erase(store, subject) == (0, 0)
    assert spelled(server) not in held(root, server)
    after = looked_up(store)
    assert after[1:].equals(before[1:])
    of_the_tail = ["tail_last_arr_delay", "seats", "built"]
    assert after[:1].select(of_the_tail).row(0) == (None, None, None)
    assert before[:1].select(of_the_tail).null_count().row(0) == (0, 0, 0)
    assert after.select(FEATURES).drop(of_the_tail).equals(before.select(FEATURES).drop(of_the_tail))


def test_an_entity_that_is_half_of_a_key_is_erased_in_every_pair(
    store: FeatureStore, root: Path, server: RedisServer | None
) -> None:
    assert erase(store, build_subject("ATL", "dest")) == (2 if server else 4, 2)
    assert "ATL" not in held(root, server)
    answers = [
        lookup(store, flights_at([START + 2 * HOUR], origin=origin, dest=dest))
        for origin in ("EWR", "JFK")
        for dest in ("ATL", "SEA")
    ]
    assert [answer["distance"].is_null().item() for answer in answers] == [True, False, True, False]


def test_the_same_text_in_another_key_is_another_entity(store: FeatureStore) -> None:
    assert erase(store, build_subject("EWR", "dest")) == (0, 0)
    others = erase(store, build_subject("EWR", "origin"), ["plane", "tail_delays"], dry_run=True)
    assert others == (0, 0), "views of another use case are not searched"


def test_keys_of_an_unused_layout_are_erased_too(store: FeatureStore) -> None:
    old = ["0ldlay0t/3:EWR2:N1", "0ldlay0t/3:N1x", "ready/gone/0ldlay0t"]
    store.online_values.change(old, lambda values: [b"value"] * len(values))
    assert erase_from_mirrors(store, VIEWS, build_subject("N1", "tailnum"), dry_run=False) == 2
    assert [value is None for value in store.online_values.read(old).values] == [True, False, False]


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("abcdefgh/2:N1", ("abcdefgh", ["N1"])),
        ("abcdefgh/3:a/:0:2:é1", ("abcdefgh", ["a/:", "", "é1"])),
        ("ready/service/abcdefgh", None),
        ("abcdefgh", None),
    ],
)
def test_a_mirror_key_is_parsed_into_its_parts(key: str, parts: tuple[str, list[str]] | None) -> None:
    assert entity_parts(key) == parts


def test_a_literal_pattern_matches_itself_alone() -> None:
    assert glob_literal(b"a*b?[c]\\") == rb"a\*b\?\[c\]\\"
    assert FEAST_PROJECT.encode() == glob_literal(FEAST_PROJECT.encode())
