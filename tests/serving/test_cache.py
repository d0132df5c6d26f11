import math
import socket
import struct
import threading
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlops_assets.serving.cache import MemoryScores, RedisScores, ScoreCache, score_keys
from mlops_assets.spec.serving import Cache
from tests.ports.redis_server import RedisServer

MINUTE = Cache(ttl=timedelta(minutes=1))
FLOATS = st.floats(width=32, allow_nan=True)


class Clock:
    """Seconds that the test moves on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"), durable=False)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def emptied(server: RedisServer) -> RedisServer:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server


@pytest.fixture(params=["memory", "redis"])
def scores(request: pytest.FixtureRequest) -> ScoreCache:
    if request.param == "memory":
        return MemoryScores(MINUTE, Clock())
    return RedisScores(MINUTE, request.getfixturevalue("emptied").url, Clock())


def keys(*numbers: float) -> list[bytes]:
    return score_keys(np.array([[number, 0] for number in numbers], np.float32), "digest")


def test_what_was_written_is_read_key_by_key_and_nothing_else(scores: ScoreCache):
    scores.write(keys(1, 2), [0.25, 1 / 3])
    assert scores.read(keys(2, 3, 1, 2)) == [1 / 3, None, 0.25, 1 / 3]
    scores.write(keys(1), [0.5])
    assert scores.read(keys(1)) == [0.5]


def test_of_no_keys_nothing_is_asked(scores: ScoreCache):
    scores.write([], [])
    assert scores.read([]) == []


@given(score=st.floats(allow_nan=False))
def test_a_score_comes_back_to_the_last_bit(server: RedisServer, score: float):
    for scores in (MemoryScores(MINUTE, Clock()), RedisScores(MINUTE, server.url, Clock())):
        scores.write(keys(1), [score])
        (found,) = scores.read(keys(1))
        assert found is not None
        assert struct.pack("<d", found) == struct.pack("<d", score)


def test_ten_thousand_rows_are_one_request(scores: ScoreCache):
    many = keys(*range(10_000))
    scores.write(many, [number / 10_000 for number in range(10_000)])
    found = scores.read(many)
    known = [(number, score) for number, score in enumerate(found) if score is not None]
    assert all(score == number / 10_000 for number, score in known)
    assert len(known) > 6000, "in Redis some share a place"


def test_in_memory_a_score_is_known_for_its_time_and_no_longer():
    clock = Clock()
    scores = MemoryScores(MINUTE, clock)
    scores.write(keys(1), [0.25])
    clock.now += 59.9
    assert scores.read(keys(1)) == [0.25], "and reading it does not make it younger"
    scores.write(keys(2), [0.5])
    clock.now += 0.1
    assert scores.read(keys(1, 2)) == [None, 0.5]


def test_in_memory_those_used_least_recently_go_first():
    scores = MemoryScores(Cache(max_entries=3), Clock())
    scores.write(keys(1, 2, 3), [0.1, 0.2, 0.3])
    scores.read(keys(1))
    scores.write(keys(4), [0.4])
    assert scores.read(keys(1, 2, 3, 4)) == [0.1, None, 0.3, 0.4]


def test_in_memory_any_number_of_threads_may_write():
    scores, wrong = MemoryScores(Cache(max_entries=50), Clock()), []

    def work(seed: int) -> None:
        try:
            for number in np.random.default_rng(seed).integers(0, 100, 3000):
                scores.write(keys(number), [float(number)])
                wrong.extend(found for found in scores.read(keys(number)) if found not in (None, float(number)))
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_in_redis_a_score_is_known_for_its_time_to_all_servers(emptied: RedisServer):
    short = Cache(ttl=timedelta(milliseconds=300))
    RedisScores(short, emptied.url, Clock()).write(keys(1), [0.25])
    other = RedisScores(short, emptied.url, Clock())
    assert other.read(keys(1)) == [0.25]
    time.sleep(0.35)
    assert other.read(keys(1)) == [None]


def test_in_redis_there_are_never_more_entries_than_declared_and_none_without_an_end(emptied: RedisServer):
    scores = RedisScores(Cache(max_entries=100), emptied.url, Clock())
    scores.write(keys(*range(1000)), [number / 1000 for number in range(1000)])
    found = scores.read(keys(*range(1000)))
    assert {index for index, score in enumerate(found) if score is not None and score != index / 1000} == set()
    with redis.Redis.from_url(emptied.url) as client:
        names = client.keys("*")
        assert 50 < len(names) <= 100
        assert all(name.startswith(b"mlops/score/") for name in names)
        assert all(0 < client.pttl(name) <= 60_000 for name in names)


def test_in_redis_two_inputs_in_one_place_are_never_mistaken(emptied: RedisServer):
    scores = RedisScores(Cache(max_entries=1), emptied.url, Clock())
    scores.write(keys(1), [0.1])
    scores.write(keys(2), [0.2])
    assert scores.read(keys(1, 2)) == [None, 0.2]


def test_what_others_have_left_in_redis_is_not_a_score(emptied: RedisServer):
    clock = Clock()
    scores = RedisScores(Cache(max_entries=1), emptied.url, clock)
    with redis.Redis.from_url(emptied.url) as client:
        for value in (b"", b"x" * 24, keys(1)[0], keys(1)[0] + b"123"):
            client.set("mlops/score/0", value)
            assert scores.read(keys(1)) == [None]
        client.delete("mlops/score/0")
        client.rpush("mlops/score/0", "of another kind")
    assert scores.read(keys(1)) == [None]
    scores.write(keys(1), [0.5])
    assert scores.read(keys(1)) == [0.5]


def test_a_redis_that_is_down_is_a_miss_and_is_asked_again_after_a_second(tmp_path: Path):
    server, clock = RedisServer(tmp_path, durable=False), Clock()
    server.start()
    try:
        scores = RedisScores(MINUTE, server.url, clock)
        scores.write(keys(1), [0.25])
        server.kill()
        assert scores.read(keys(1, 2)) == [None, None]
        scores.write(keys(1), [0.25])
        server.start()
        scores.write(keys(1), [0.25])
        clock.now += 0.9
        assert scores.read(keys(1)) == [None], "it is left alone for a second"
        clock.now += 0.1
        assert scores.read(keys(1)) == [None], "it was not written to either"
        scores.write(keys(1), [0.25])
        assert scores.read(keys(1)) == [0.25]
    finally:
        server.kill()


def test_a_failed_write_leaves_it_alone_for_a_second_too(tmp_path: Path):
    clock, server = Clock(), RedisServer(tmp_path, durable=False)
    scores = RedisScores(MINUTE, server.url, clock)
    scores.write(keys(1), [0.25])
    server.start()
    try:
        assert scores.read(keys(1)) == [None]
        scores.write(keys(1), [0.25])
        clock.now += 1
        assert scores.read(keys(1)) == [None]
        scores.write(keys(1), [0.25])
        assert scores.read(keys(1)) == [0.25]
    finally:
        server.kill()


def test_connections_of_before_a_restart_do_no_harm(tmp_path: Path):
    server, clock = RedisServer(tmp_path, durable=False), Clock()
    server.start()
    try:
        scores = RedisScores(MINUTE, server.url, clock)
        scores.write(keys(1), [0.25])
        server.kill()
        server.start()
        scores.write(keys(1), [0.25])
        clock.now += 1
        scores.write(keys(1), [0.25])
        assert scores.read(keys(1)) == [0.25]
    finally:
        server.kill()


def test_a_redis_that_never_answers_costs_little_and_only_once_a_second():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        scores = RedisScores(MINUTE, f"redis://127.0.0.1:{silent.getsockname()[1]}/0", Clock())
        began = time.monotonic()
        for _ in range(100):
            assert scores.read(keys(1)) == [None]
            scores.write(keys(1), [0.25])
        assert time.monotonic() - began < 0.5


ROWS = hnp.arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 8)), elements=FLOATS)


@given(matrix=ROWS)
def test_keys_are_equal_where_rows_are_and_only_there(matrix: np.ndarray):
    found = score_keys(matrix, "digest")
    assert [len(key) for key in found] == [16] * len(matrix)
    rows = [row.tobytes() for row in matrix]
    assert all((found[a] == found[b]) == (rows[a] == rows[b]) for a in range(len(rows)) for b in range(len(rows)))


@given(matrix=ROWS)
def test_a_key_is_the_same_whatever_stands_around_its_row(matrix: np.ndarray):
    found = score_keys(matrix, "digest")
    assert found == [key for row in matrix for key in score_keys(row[None, :], "digest")]
    assert found == score_keys(np.asfortranarray(matrix), "digest")
    assert found[::-1] == score_keys(matrix[::-1], "digest")


@given(matrix=ROWS, digests=st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_another_model_never_has_the_same_key(matrix: np.ndarray, digests: list[str]):
    first, second = (set(score_keys(matrix, digest)) for digest in digests)
    assert not first & second


def test_absent_values_make_keys_like_any_other():
    nothing = np.array([[math.nan, 1], [1, math.nan]], np.float32)
    assert len(set(score_keys(nothing, "digest"))) == 2
    assert score_keys(nothing, "digest") == score_keys(nothing.copy(), "digest")
