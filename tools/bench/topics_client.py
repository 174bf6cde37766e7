"""Clients of a system that runs on topics: a writer of commands, a reader of committed records."""

import time
import uuid
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tools.bench.failures import BenchError

READ_LIMIT_SECONDS = 120.0
READ_WAIT_SECONDS = 0.1
QUIET = {"log_level": 2}
"""Only what is critical: that the broker is gone at the end of a run is no news."""


def writer(brokers: str) -> Producer:
    """Return a producer that sends at once and places keys as Java's does."""
    return Producer(
        {"bootstrap.servers": brokers, "partitioner": "murmur2_random", "linger.ms": 0, **QUIET}
    )


def read_whole(brokers: str, topic: str) -> Iterator[Message]:
    """Return all committed records of a topic, to the end that it has now.

    A partition is done at its last record, or at its end where that is a transaction's marker; an
    end alone would not do, since a partition that grows may have none for long.
    """
    consumer = reader(brokers, topic)
    ends = {at.partition: consumer.get_watermark_offsets(at)[1] for at in consumer.assignment()}
    left = {partition for partition, end in ends.items() if end > 0}
    until = time.monotonic() + READ_LIMIT_SECONDS
    while left:
        if time.monotonic() > until:
            raise BenchError(f"{topic} can't be read to its end")
        for message in consumer.consume(1000, READ_WAIT_SECONDS):
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is None:
                yield message
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name begins so
                raise BenchError(f"reading {topic}: {error}")
            if partition is not None and offset is not None and offset >= ends[partition] - 1:
                left.discard(partition)
    consumer.close()


def reader(brokers: str, topic: str) -> Consumer:
    """Return a consumer of committed records of a whole topic, from its start."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": f"audit-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            **QUIET,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    return consumer
