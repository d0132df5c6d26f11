"""Reads the messages of a Kafka topic up to its present end. The offsets are stored with the landed rows; Kafka gets a copy."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from mlops_assets.ingestion.pulling.pull import Part
from mlops_assets.ingestion.pulling.rows import CannotPull, Row, fields_of, row_builder, unreadable
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.pulled_source import Stream

LOG = logging.getLogger(__name__)
AT_ONCE = 10_000  # messages
COMMIT_S = 10.0
TIMEOUT_S = 30.0  # without a message, an end or an answer: the brokers are down, or restart for longer
# Everything else passes: the client connects again by itself.
FINAL = {
    KafkaError._AUTHENTICATION,  # pyright: ignore[reportPrivateUsage] - the documented name
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
END = KafkaError._PARTITION_EOF  # pyright: ignore[reportPrivateUsage]
TIMED_OUT = KafkaError._TIMED_OUT  # pyright: ignore[reportPrivateUsage]
UNREACHABLE = {TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}  # pyright: ignore[reportPrivateUsage]
Ends = Mapping[int, tuple[int, int]]  # of each partition the first offset, and the one after the last


@dataclass(frozen=True)
class StreamReader:
    source: Stream
    contract: Contract
    brokers: str
    login: str | None
    timeout_s: float = TIMEOUT_S

    replaces = False

    @property
    def reads(self) -> str:
        return f"offsets of {self.source.topic}"

    def read(self, position: Mapping[str, int] | None, now: datetime) -> Iterator[Part]:
        """A position has the next offset of each partition."""
        faults: list[str] = []

        def record(error: KafkaError) -> None:
            faults.append(error.str())

        try:
            with closing(Consumer({**self._settings(), "error_cb": record}, logger=LOG)) as consumer:
                yield from self._read(consumer, {int(partition): offset for partition, offset in (position or {}).items()})
        except KafkaException as error:
            problem = cast(KafkaError, error.args[0])
            problems = dict.fromkeys([problem.str(), *faults[-1:]])
            what = "do not answer" if problem.code() in UNREACHABLE else "refuse"
            remedy = f"Correct {' or '.join(self.source.variables)} or the declaration, or ask the owner of the brokers"
            raise CannotPull(f"{self.source.topic} · the brokers {what}: {'; '.join(problems)}. {remedy}.") from None

    def acknowledge(self, position: Mapping[str, int]) -> None:
        """Shows the group's lag in Kafka's own tools. The next run starts at the stored position, whatever becomes of this."""
        problems: list[str] = []

        def record(error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
            errors = filter(None, [error, *(one.error for one in partitions)])
            problems.append(next((one.str() for one in errors), ""))

        try:
            with closing(Consumer({**self._settings(), "on_commit": record}, logger=LOG)) as consumer:
                offsets = [TopicPartition(self.source.topic, int(number), offset) for number, offset in position.items()]
                consumer.commit(offsets=offsets, asynchronous=True)
                start = time.monotonic()
                while not problems and time.monotonic() - start < COMMIT_S:
                    consumer.poll(0.1)
        except KafkaException as error:
            problems = [str(error)]
        if problem := problems[0] if problems else "no answer":
            found = f"the group {self.source.group} has read up to here, which Kafka does not record: {problem}"
            LOG.warning("%s · %s. Nothing is lost; only its lag is shown too high.", self.source.topic, found)

    def _settings(self) -> dict[str, Any]:
        user, _, password = (self.login or "").partition(":")
        login = {"sasl.mechanism": self.source.mechanism, "sasl.username": user, "sasl.password": password}
        return {
            "bootstrap.servers": self.brokers,
            "security.protocol": self.source.protocol,
            "group.id": self.source.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",  # nothing is skipped in silence
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "log_level": 2,  # otherwise ten lines a second while a broker is away; the error has the last
            **(login if self.login else {}),
        }

    def _read(self, consumer: Consumer, offsets: dict[int, int]) -> Iterator[Part]:
        ends = self._ends(consumer)
        offsets = {partition: offsets.get(partition, first) for partition, (first, _) in ends.items()}
        if problems := [*self._gaps(offsets, ends)]:
            raise CannotPull(" ".join([*problems, "Read the source anew to go on with what the topic has."]))
        consumer.assign([TopicPartition(self.source.topic, partition, offset) for partition, offset in offsets.items()])
        build = row_builder(self.contract, self.source.time)
        unread, left = {one for one in ends if offsets[one] < ends[one][1]}, self.source.max_messages
        while unread and left > 0:
            messages = self._consume(consumer, min(AT_ONCE, left))
            rows = [self._row(message, build) for message in messages if not message.error()]
            for message in messages:
                partition, offset = cast(int, message.partition()), cast(int, message.offset())
                # An end is after the marks of transactions, which are no messages and have offsets, too.
                offsets[partition] = offset if message.error() else offset + 1
                if offsets[partition] >= ends[partition][1]:
                    unread.discard(partition)
            left -= len(rows)
            yield Part(rows, {str(partition): offset for partition, offset in offsets.items()})

    def _consume(self, consumer: Consumer, count: int) -> list[Message]:
        """Messages, and the ends of partitions. While brokers are away, the client connects again and again by itself."""
        start = time.monotonic()
        while time.monotonic() - start < self.timeout_s:
            messages = consumer.consume(count, 0.5)
            for error in (error for message in messages if (error := message.error())):
                if error.code() in FINAL or error.fatal():
                    raise KafkaException(error)
            if read := [message for message in messages if not (error := message.error()) or error.code() == END]:
                return read
        raise KafkaException(KafkaError(TIMED_OUT))

    def _ends(self, consumer: Consumer) -> Ends:
        topic = self.source.topic
        topic_metadata = consumer.list_topics(topic, self.timeout_s).topics[topic]
        if topic_metadata.error is not None:
            raise KafkaException(topic_metadata.error)
        return {
            one: consumer.get_watermark_offsets(TopicPartition(topic, one), self.timeout_s) for one in topic_metadata.partitions
        }

    def _gaps(self, offsets: Mapping[int, int], ends: Ends) -> Iterator[str]:
        for partition, offset in offsets.items():
            (first, end), where = ends[partition], f"{self.source.topic}[{partition}]"
            if offset < first:
                yield f"{where} · the messages {offset} to {first - 1} were deleted before they were read."
            if offset > end:
                yield f"{where} · it ends at message {end}, and has been read up to {offset}: it is another topic of that name."

    def _row(self, message: Message, build: Callable[[Sequence[object]], Row]) -> Row:
        kind, milliseconds = message.timestamp()
        sent = datetime.fromtimestamp(milliseconds / 1000, UTC) if kind else None
        value = message.value() or b""
        try:
            fields = json.loads(value, parse_float=Decimal)  # a float would round a number
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            where = f"{self.source.topic}[{message.partition()}] {message.offset()}"
            return unreadable(
                (value or b"").decode(errors="backslashreplace"), self.contract, sent, f"{where} is not a JSON object"
            )
        return build(fields_of(cast(dict[str, Any], fields), self.contract))._replace(moment=sent)
