"""Clients of a system that runs on topics: a writer of commands, readers of its results."""

import json
import time
import uuid
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tools.dev.errors import ToolError

READ_LIMIT_SECONDS = 120.0
READ_WAIT_SECONDS = 0.1
QUIET = {"log_level": 2}
"""Only what is critical: that the broker is gone at the end of a run is no news."""


def make_command(payment: str, account: str) -> str:
    """Return the command that pays 0.01 EUR; its id is that of the payment."""
    make = {"type": "make", "id": payment, "account": account, "amount": 1, "currency": "EUR"}
    return json.dumps(make)


def writer(brokers: str) -> Producer:
    """Return a producer that sends at once and places keys as Java's does."""
    return Producer(
        {
            "bootstrap.servers": brokers,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "socket.nagle.disable": True,
            **QUIET,
        }
    )


def at_end(brokers: str, topic: str) -> Consumer:
    """Return a consumer of what is written to a topic from now on."""
    consumer = _consumer(brokers, {"fetch.wait.max.ms": 100, "fetch.error.backoff.ms": 0})
    places = _partitions(consumer, topic)
    for at in places:
        at.offset = consumer.get_watermark_offsets(at, timeout=10)[1]
    consumer.assign(places)
    consumer.poll(0.5)
    return consumer


def from_start(brokers: str, topic: str) -> Consumer:
    """Return a consumer of committed records of a whole topic, from its start."""
    consumer = _consumer(brokers, {"enable.partition.eof": True, "fetch.wait.max.ms": 50})
    consumer.assign(_partitions(consumer, topic))
    return consumer


def _consumer(brokers: str, options: dict[str, object]) -> Consumer:
    # Only what is committed, which is librdkafka's default.
    group = f"bench-{uuid.uuid4().hex}"
    given = {"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False}
    return Consumer({**given, **options, **QUIET})


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return [TopicPartition(topic, number, 0) for number in numbers]


def read_whole(brokers: str, topic: str) -> Iterator[Message]:
    """Return all committed records of a topic, to the end that it has now.

    A partition is done at its last record, or at its end where that is a transaction's marker; an
    end alone would not do, since a partition that grows may have none for long.
    """
    consumer = from_start(brokers, topic)
    ends = {at.partition: consumer.get_watermark_offsets(at)[1] for at in consumer.assignment()}
    left = {partition for partition, end in ends.items() if end > 0}
    until = time.monotonic() + READ_LIMIT_SECONDS
    while left:
        if time.monotonic() > until:
            raise ToolError(f"{topic} can't be read to its end")
        for message in consumer.consume(1000, READ_WAIT_SECONDS):
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is None:
                yield message
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name begins so
                raise ToolError(f"reading {topic}: {error}")
            if partition is not None and offset is not None and offset >= ends[partition] - 1:
                left.discard(partition)
    consumer.close()
