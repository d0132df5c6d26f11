"""A topic with duplicates, reordering, unreadable messages, kills and a broker that restarts: nothing is lost, nothing is doubled."""

import datetime as dt
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from mlops_assets.ingestion.pulling.rows import CannotPull
from mlops_assets.ingestion.pulling.stream import StreamReader
from mlops_assets.spec.pulled_source import Stream
from tests.ingestion.pulling.shop import ORDERS, Shop, day
from tests.servers.kafka_cluster import KafkaCluster, running_kafka

pytestmark = pytest.mark.slow

SOURCE = Stream(table="orders", brokers_variable="KAFKA", topic="orders", group="shop", time="ordered_at")
FETCH, METADATA, OFFSET_COMMIT = 1, 3, 8  # kinds of requests
GROUP_NOT_ALLOWED = 30
NOT_LEADER, LEADER_NOT_AVAILABLE, TIMED_OUT = 6, 5, 7  # errors that pass


@pytest.fixture
def kafka() -> Iterator[KafkaCluster]:
    with running_kafka() as cluster:
        cluster.create_topic("orders", 3)
        yield cluster


@pytest.fixture
def shop(kafka: KafkaCluster, tmp_path: Path) -> Shop:
    return Shop(tmp_path, SOURCE, {"KAFKA": kafka.brokers})


def order(number: int, amount: Any = 1.5, at: dt.datetime | None = None) -> bytes:
    moment = (at or day(number % 5)).isoformat()
    return json.dumps({"number": number, "amount": amount, "note": "x", "paid": True, "ordered_at": moment}).encode()


def stamp(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)


def failure(shop: Shop) -> str:
    before = shop.files(), shop.position.exists() and shop.position.read_bytes()
    with pytest.raises(CannotPull) as caught:
        shop.pull()
    assert (shop.files(), shop.position.exists() and shop.position.read_bytes()) == before
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_every_message_lands_once_and_the_next_run_reads_on(shop: Shop, kafka: KafkaCluster) -> None:
    assert shop.pull() == (0, 0, [])
    kafka.send("orders", *[order(number) for number in range(50)])
    assert shop.pull().read == 50
    assert shop.accepted() == dict.fromkeys(range(50), 1.5)
    assert shop.pull() == (0, 0, [])
    kafka.send("orders", order(50), order(7, 70))
    assert shop.pull().read == 2
    assert shop.accepted() == {**dict.fromkeys(range(51), 1.5), 7: 70}


def test_duplicates_and_reordered_messages_land_once(shop: Shop, kafka: KafkaCluster) -> None:
    messages = [order(number) for number in range(40)] * 3
    random.Random(1).shuffle(messages)
    kafka.send("orders", *messages[:60])
    shop.pull()
    kafka.send("orders", *messages[60:])
    assert shop.pull().read == 60
    assert shop.accepted() == dict.fromkeys(range(40), 1.5)


def test_the_highest_of_reordered_versions_is_kept(shop: Shop, kafka: KafkaCluster) -> None:
    shop.source = SOURCE.but(version="amount")
    for amounts in ([5, 9, 2], [7, 1]):
        kafka.send("orders", *[order(1, amount, day(1)) for amount in amounts])
        shop.pull()
    assert shop.accepted() == {1: 9}
    shop.source = SOURCE
    kafka.send("orders", order(1, 3, day(1)))
    shop.pull()
    assert shop.accepted() == {1: 3}


def test_an_unreadable_message_goes_unchanged_to_quarantine_on_the_day_of_its_broker(shop: Shop, kafka: KafkaCluster) -> None:
    broken = [b"not, json\nat all", b"\xff\xfe", b"[1]", None, b'{"a":' * 5000, b"9" * 5000]
    for partition in (0, 1):
        kafka.send("orders", *broken, partition=partition, timestamp=stamp(day(2)))
    kafka.send("orders", order(1), b'{"number": 2}', b'{"number": null, "amount": "x"}', partition=2, timestamp=stamp(day(3)))
    assert shop.pull().read == 15
    assert shop.accepted() == {1: 1.5}
    quarantined = shop.rows().quarantined
    assert sorted(quarantined["day"].to_list()) == [dt.date(2024, 3, 3)] * 12 + [dt.date(2024, 3, 4)] * 2
    expected = ["not, json\\nat all", "\\xff\\xfe", "[1]", "", '{"a":' * 5000, "9" * 5000]
    assert sorted(quarantined.filter(quarantined["day"] == dt.date(2024, 3, 3))["number"]) == sorted(expected * 2)
    reasons = shop.reasons()
    for partition in (0, 1):
        for offset in range(6):
            assert f"line has 6 of 5 fields; beyond the last: 'orders[{partition}] {offset} is not a JSON object'" in reasons
    assert "ordered_at: missing" in reasons
    shop.position.unlink()
    assert shop.pull() == (15, 0, [])


def test_a_run_reads_at_most_so_many_messages_and_the_next_goes_on(shop: Shop, kafka: KafkaCluster) -> None:
    shop.source = SOURCE.but(max_messages=20)
    kafka.send("orders", *[order(number) for number in range(50)])
    assert [shop.pull().read for _ in range(4)] == [20, 20, 10, 0]
    assert len(shop.accepted()) == 50


def test_the_broker_restarts_and_fails_in_the_middle(shop: Shop, kafka: KafkaCluster) -> None:
    kafka.send("orders", *[order(number) for number in range(200)])
    kafka.fail(FETCH, NOT_LEADER, TIMED_OUT)
    kafka.fail(METADATA, LEADER_NOT_AVAILABLE)
    kafka.stop()
    restart = threading.Timer(1.5, kafka.start)
    restart.start()
    start = time.monotonic()
    assert shop.pull().read == 200
    assert time.monotonic() - start > 1
    restart.join()
    kafka.send("orders", *[order(number) for number in range(200, 300)])
    kafka.stop()
    kafka.start()
    assert shop.pull().read == 100
    assert len(shop.accepted()) == 300


def test_random_messages_and_kills_end_in_one_row_per_order(shop: Shop, kafka: KafkaCluster) -> None:
    draw, sent, broken = random.Random(11), dict[int, int](), 0
    shop.source = SOURCE.but(version="amount", max_messages=25)
    for _ in range(15):
        messages: list[bytes] = []
        for _ in range(draw.randrange(15)):
            number, amount = draw.randrange(60), draw.randrange(1000)
            sent[number] = max(amount, sent.get(number, 0))
            messages += [order(number, amount)] * draw.choice([1, 1, 2])
        poison = [b"poison"] * draw.randrange(3)
        broken += len(poison)
        messages += poison
        draw.shuffle(messages)
        kafka.send("orders", *messages, timestamp=stamp(day(2)))
        if draw.random() < 0.2:
            kafka.fail(FETCH, NOT_LEADER)
        stored, files = shop.position.read_bytes() if shop.position.exists() else None, shop.files()
        shop.pull()
        if draw.random() < 0.5:  # as after a kill: the files up to some day, and the old position
            shop.position.write_bytes(stored) if stored else shop.position.unlink(missing_ok=True)
            for name in [*files][draw.randrange(6) :]:
                (shop.root / "shop" / "orders" / name).write_bytes(files[name])
    while shop.pull().read:
        pass
    assert shop.accepted() == {number: float(amount) for number, amount in sorted(sent.items())}
    assert len(shop.reasons()) == broken


def test_messages_that_were_deleted_before_they_were_read_are_an_error(shop: Shop, kafka: KafkaCluster) -> None:
    kafka.send("orders", *[order(number) for number in range(5)], partition=1)
    shop.pull()
    kafka.send("orders", *[order(number) for number in range(5, 15)], partition=1)
    kafka.delete_before("orders", 1, 8)
    remedy = "Read the source anew to go on with what the topic has."
    assert failure(shop) == f"shop · orders · orders[1] · the messages 5 to 7 were deleted before they were read. {remedy}"
    assert shop.pull(anew=True).read == 7
    assert [*shop.accepted()] == [0, 1, 2, 3, 4, *range(8, 15)]


def test_another_topic_of_the_same_name_is_an_error(shop: Shop, kafka: KafkaCluster) -> None:
    kafka.send("orders", *[order(number) for number in range(5)], partition=1)
    shop.pull()
    with running_kafka() as other:
        other.create_topic("orders", 3)
        shop.secrets = {"KAFKA": other.brokers}
        assert failure(shop) == (
            "shop · orders · orders[1] · it ends at message 0, and has been read up to 5: it is another topic of that name. "
            "Read the source anew to go on with what the topic has."
        )


def test_brokers_that_stay_away_are_one_error_without_the_password(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    def read(**fields: Any) -> str:
        source = SOURCE.but(**fields)
        secrets = {"KAFKA": "127.0.0.1:1", "LOGIN": "me:se,cr:et"}
        reader = StreamReader(source, ORDERS, secrets["KAFKA"], secrets["LOGIN"] if source.login_variable else None, timeout_s=2)
        with pytest.raises(CannotPull) as caught:
            [*reader.read(None, shop.now)]
        return str(caught.value)

    message = read()
    assert message.startswith("orders · the brokers do not answer: ")
    assert message.endswith(". Correct KAFKA or the declaration, or ask the owner of the brokers.")
    message = read(login_variable="LOGIN", protocol="sasl_plaintext")
    assert message.endswith(". Correct KAFKA or LOGIN or the declaration, or ask the owner of the brokers.")
    assert "se,cr:et" not in message + "".join(capfd.readouterr())


def committed(kafka: KafkaCluster, group: str) -> list[int]:
    settings = {"bootstrap.servers": kafka.brokers, "group.id": group}
    with closing(Consumer(settings)) as consumer:
        return [one.offset for one in consumer.committed([TopicPartition("orders", number) for number in range(3)], 10)]


def test_kafka_knows_how_far_the_files_have_come_and_the_next_run_starts_there_by_itself(
    shop: Shop, kafka: KafkaCluster, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.send("orders", *[order(number) for number in range(6)], partition=1)
    shop.pull()
    assert committed(kafka, "shop") == [0, 6, 0]
    (shop.root / "shop" / "orders").rename(shop.root / "moved")
    (shop.root / "shop" / "orders").write_text("no folder")  # so that the next files cannot be written
    kafka.send("orders", order(6), partition=1)
    with pytest.raises(OSError):
        shop.pull()
    assert committed(kafka, "shop") == [0, 6, 0], "not before the files are written"
    (shop.root / "shop" / "orders").unlink()
    (shop.root / "moved").rename(shop.root / "shop" / "orders")
    kafka.fail(OFFSET_COMMIT, *[GROUP_NOT_ALLOWED] * 10)
    assert shop.pull().read == 1
    assert committed(kafka, "shop") == [0, 6, 0]
    assert "the group shop has read up to here, which Kafka does not record: Broker: Group authorization failed" in caplog.text
    kafka.send("orders", order(7), partition=1)
    kafka.fail(OFFSET_COMMIT)
    assert shop.pull().read == 1, "from the stored position, not from that of Kafka"
    assert [*shop.accepted()] == [*range(8)]


def test_a_missing_topic_is_named(shop: Shop) -> None:
    shop.source = SOURCE.but(topic="nothing")
    assert failure(shop) == (
        "shop · orders · nothing · the brokers refuse: Broker: Unknown topic or partition. "
        "Correct KAFKA or the declaration, or ask the owner of the brokers."
    )


def test_messages_from_before_a_key_was_renamed_keep_their_values(shop: Shop, kafka: KafkaCluster) -> None:
    later = json.loads(order(2, 7))
    later["total"] = later.pop("amount")
    kafka.send("orders", order(1, 5), json.dumps(later).encode())
    columns = tuple(one.but(name="total", renamed_from="amount") if one.name == "amount" else one for one in ORDERS.columns)
    shop.contract = ORDERS.but(columns=columns)
    shop.pull()
    assert sorted(shop.rows().accepted.select("number", "total").rows()) == [(1, 5.0), (2, 7.0)]
