"""Brokers of librdkafka's own mock cluster: real sockets and the real protocol, in this process. Tests stop and start them."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

BROKER = 1


def _library() -> Any:
    package = find_spec("confluent_kafka")
    assert package is not None and package.origin is not None
    (path,) = (Path(package.origin).parents[1] / "confluent_kafka.libs").glob("librdkafka-*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class KafkaCluster:
    """One broker; a topic is created by its first message, with four partitions."""

    def __init__(self) -> None:
        self._library = _library()
        error = ctypes.create_string_buffer(500)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        self._handle = ctypes.c_void_p(self._library.rd_kafka_new(0, conf, error, ctypes.c_size_t(500)))
        assert self._handle.value, error.value
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._handle, 1))
        self.brokers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.producer = Producer({"bootstrap.servers": self.brokers, "linger.ms": 0, "log_level": 0})

    def send(self, topic: str, *values: bytes | None, **options: Any) -> None:
        for value in values:
            self.producer.produce(topic, value, **options)
        assert self.producer.flush(20) == 0

    def stop(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._cluster, BROKER)

    def start(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._cluster, BROKER)

    def create_topic(self, topic: str, partitions: int) -> None:
        self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """As retention does."""
        delete = self._library.rd_kafka_mock_partition_delete_records
        delete(self._cluster, topic.encode(), ctypes.c_int32(partition), ctypes.c_int64(offset))

    def fail(self, request: int, *errors: int) -> None:
        """The coming requests of this kind are answered by these errors (the numbers of Kafka's protocol)."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(errors)), array
        )

    def remove(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


@contextmanager
def running_kafka() -> Iterator[KafkaCluster]:
    cluster = KafkaCluster()
    try:
        yield cluster
    finally:
        cluster.remove()
