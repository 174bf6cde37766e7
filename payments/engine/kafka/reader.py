"""The reader: an aiokafka consumer without a group, in the engine's own event loop."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, errors
from aiokafka import TopicPartition as KafkaTopicPartition

from payments.engine.errors import FailStop, PositionLost
from payments.engine.limits import Limits
from payments.engine.log import TopicPartition

from .connection import RETRIABLE, Patience

_PARTITION_FETCH_BYTES = 1024 * 1024
_FETCH_WAIT_MS = 500


class KafkaReader:
    """Reads partitions from given offsets on; see ``payments.engine.log.Reader``."""

    def __init__(self, consumer: AIOKafkaConsumer, limits: Limits, patience_seconds: float) -> None:
        self._consumer = consumer
        self._limits = limits
        self._patience_seconds = patience_seconds

    @classmethod
    async def open(
        cls,
        arguments: Mapping[str, Any],
        *,
        committed_only: bool,
        limits: Limits,
        patience_seconds: float,
    ) -> "KafkaReader":
        """Connect a consumer. A position that is gone is an error, never a silent reset."""
        consumer = AIOKafkaConsumer(
            **arguments,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed" if committed_only else "read_uncommitted",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            metadata_max_age_ms=60_000,
        )
        patience = Patience("connecting to Kafka", patience_seconds)
        while True:
            try:
                await consumer.start()
            except RETRIABLE as error:
                await patience.after(error)
            else:
                return cls(consumer, limits, patience_seconds)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, each from its offset."""
        self._consumer.assign([KafkaTopicPartition(*at) for at in positions])
        for at, offset in positions.items():
            self._consumer.seek(KafkaTopicPartition(*at), offset)

    async def fetch(
        self, *, timeout_seconds: float
    ) -> Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]:
        """Return what is there. Retriable errors are retried up to the time limit."""
        patience: Patience | None = None
        while True:
            try:
                fetched: Mapping[Any, Any] = await self._consumer.getmany(
                    timeout_ms=int(timeout_seconds * 1000), max_records=self._limits.fetch_records
                )
            except errors.OffsetOutOfRangeError as error:
                message = f"a position is not in the log any more (retention?): {error}"
                raise PositionLost(message) from error
            except RETRIABLE as error:
                patience = patience or Patience("reading", self._patience_seconds)
                await patience.after(error)
            except errors.KafkaError as error:
                message = f"reading was refused: {error!r}"
                raise FailStop(message) from error
            else:
                return {
                    TopicPartition(at.topic, at.partition): records
                    for at, records in fetched.items()
                }

    async def positions(self, at: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return {tp: await self._consumer.position(KafkaTopicPartition(*tp)) for tp in at}

    async def close(self) -> None:
        """Give the connections back."""
        await self._consumer.stop()
