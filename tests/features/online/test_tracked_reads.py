"""Values that an event loop keeps: exactly those that Redis still has, without another request to it."""

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from mlops_assets.features.online.key_value_stores import READ_TIMEOUT_S, LastKnown, OnlineStoreDown, RedisStore
from mlops_assets.features.online.tracked_reads import CONFIRMED_S
from tests.servers.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def commands(server: RedisServer) -> int:
    """How often values were read since the server started."""
    with redis.Redis.from_url(server.url) as client:
        statistics: Any = client.info("commandstats")
    return statistics.get("cmdstat_hmget", {"calls": 0})["calls"]


def write(server: RedisServer, value: bytes, *keys: str) -> None:
    """As another process does."""
    with redis.Redis.from_url(server.url) as client:
        client.hset("t", mapping=dict.fromkeys(keys, value))


def in_loop(test: Coroutine[Any, Any, None]) -> None:
    """Ends with every task of the loop."""
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_value_is_read_once_until_it_changes(server: RedisServer) -> None:
    async def test() -> None:
        store = RedisStore(server.url, name="t")
        write(server, b"0", "a", "b")
        assert (await store.read_async(["a", "b", "c"])).values == [b"0", b"0", None]
        before = commands(server)
        for _ in range(20):
            assert (await store.read_async(["b", "c"])).values == [b"0", None]
        assert commands(server) <= before + 1, "one more if the machine halts for longer than CONFIRMED_S"
        for number in range(1, 200):
            await asyncio.to_thread(write, server, b"%d" % number, "a", "c")
            values = (await store.read_async(["a", "b", "c"])).values
            assert values == [b"%d" % number, b"0", b"%d" % number]

    in_loop(test())


def test_no_read_mixes_two_states_of_the_store(server: RedisServer) -> None:
    """Every write gives all keys one value; reads of some keys, which fill what is kept in parts, go on meanwhile."""
    keys, states = [f"k{number}" for number in range(30)], list[set[bytes | None]]()
    write(server, b"first", *keys)

    async def read(store: RedisStore, writing: asyncio.Task[None]) -> None:
        number = 0
        while not writing.done():
            number += 1
            states.append({*(await store.read_async(keys[number % 7 :: 1 + number % 3])).values})
            await asyncio.sleep(0)

    async def test() -> None:
        def write_all() -> None:
            for number in range(200):
                write(server, b"%d" % number, *keys)

        store, writing = RedisStore(server.url, name="t"), asyncio.create_task(asyncio.to_thread(write_all))
        await asyncio.gather(*(read(store, writing) for _ in range(3)))

    in_loop(test())
    assert {len(state) for state in states} == {1} and len({min(map(str, state)) for state in states}) > 10


def test_tracked_values_are_dropped_when_the_connection_ends(server: RedisServer) -> None:
    async def test() -> None:
        plain = RedisStore(server.url, name="t")
        known = LastKnown(RedisStore(server.url, name="t"), clock=lambda: 7.0, mark=lambda: 0)
        write(server, b"old", "a")
        for store in (plain, known):
            assert (await store.read_async(["a"])).values == [b"old"]
        server.kill()
        await asyncio.sleep(CONFIRMED_S)
        with pytest.raises(OnlineStoreDown, match=r"Redis at 127.0.0.1:\d+/0 does not answer: .*Start it"):
            await plain.read_async(["a"])
        assert (await known.read_async(["a"])).values == [b"old"]
        with pytest.raises(OnlineStoreDown):
            await known.read_async(["never read"])
        server.start()
        write(server, b"new", "a")
        for store in (plain, known):
            assert (await store.read_async(["a"])).values == [b"new"]

    in_loop(test())


def test_a_redis_that_hangs_is_noticed_and_its_late_reply_is_dropped(server: RedisServer) -> None:
    (hanging,) = (child for child in psutil.Process().children() if "redis-server" in child.name())

    async def test() -> None:
        store, loop = RedisStore(server.url, name="t"), asyncio.get_running_loop()
        write(server, b"1", "a")
        write(server, b"2", "b")
        assert (await store.read_async(["a"])).values == [b"1"]
        os.kill(hanging.pid, signal.SIGSTOP)
        try:
            began = loop.time()
            with pytest.raises(OnlineStoreDown):
                while loop.time() < began + 30:
                    assert (await store.read_async(["a"])).values == [b"1"]
                    await asyncio.sleep(0.01)
            assert CONFIRMED_S / 2 < loop.time() - began < CONFIRMED_S + READ_TIMEOUT_S + 5
        finally:
            os.kill(hanging.pid, signal.SIGCONT)
        assert (await store.read_async(["b"])).values == [b"2"]

    in_loop(test())


def test_where_redis_may_not_report_changes_every_read_asks_it(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-client")  # pyright: ignore[reportUnknownMemberType]

    async def test() -> None:
        store = RedisStore(server.url.replace("redis://", "redis://reader:secret@"), name="t")
        for number in range(3):
            write(server, b"%d" % number, "a")
            assert (await store.read_async(["a"])).values == [b"%d" % number]

    in_loop(test())


def test_each_event_loop_has_a_connection_of_its_own(server: RedisServer) -> None:
    store = RedisStore(server.url, name="t")
    write(server, b"1", "a")

    async def test() -> None:
        assert (await store.read_async(["a"])).values == [b"1"]

    for _ in range(2):
        in_loop(test())
