"""The appender: one produce request per broker carries the batches of many producers.

A batch is built once, with its sequence number, and sent until the broker acknowledges or refuses
it: a retry can't write it twice (KIP-98), and a writer has one batch in flight per partition.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from aiokafka import errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from exactstage.clock import BrokerClock
from exactstage.errors import FailStop
from exactstage.log import Batch, Channel, TopicPartition
from exactstage.troubles import Trouble

from .connection import FENCED, RETRIABLE, Connection, RetryPolicy, error_for, fenced
from .hints import refusal
from .rights import Right, denied
from .wire import NO_IDS, Produce, Produced, TopicIds

_MAGIC = 2
_REQUEST_BYTES = 32 * 1024 * 1024
"""Batches of one request; Kafka's ``socket.request.max.bytes`` is 100 MiB."""

_MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Larger than any batch that the engine's limits allow."""

NO_TIME = -1
"""Append time in a broker's answer for a topic with CreateTime."""

Encoded = dict[TopicPartition, bytes]


class Sent(NamedTuple):
    """Answers to the batches of one request."""

    offsets: dict[TopicPartition, int]
    errors: dict[TopicPartition, Exception]
    time_ms: int = NO_TIME
    """The latest append time in the brokers' answers; ``NO_TIME`` without one."""


def encode_batch(batch: Batch, time_ms: int | None = None) -> bytes:
    """Return the batch in Kafka's record format, version 2, with the writer's next sequence.

    ``time_ms`` is the records' timestamp in a topic with CreateTime; by default this machine's
    time. A topic with LogAppendTime ignores it.
    """
    builder = DefaultRecordBatchBuilder(
        magic=_MAGIC,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=_MAX_BATCH_BYTES,
    )
    for index, (key, value, headers) in enumerate(batch.records):
        if builder.append(index, time_ms, key, value, headers) is None:
            message = f"a batch for {batch.at} would be over {_MAX_BATCH_BYTES} bytes"
            raise FailStop(message)
    writer = batch.writer
    sequence = writer.take_sequence(batch.at, len(batch.records))
    builder.set_producer_state(writer.producer_id, writer.epoch, sequence)
    return bytes(builder.build())


async def _no_check() -> None:
    """Check nothing."""


class Appender:
    """Appends batches, with idempotent retries; ``clock`` learns the brokers' append times.

    ``require_same_topics`` raises when a topic was recreated. It runs before a batch is sent again,
    since the recreated topic would accept it, unless its id is among ``topic_ids`` and the broker
    knows requests that have it.
    """

    def __init__(
        self,
        connection: Connection,
        clock: BrokerClock,
        require_same_topics: Callable[[], Awaitable[None]] = _no_check,
        topic_ids: TopicIds = NO_IDS,
    ) -> None:
        self._connection = connection
        self._topic_ids = topic_ids
        self._clock = clock
        self._require_same_topics = require_same_topics
        self.appended_bytes = dict.fromkeys(Channel, 0)
        self._retried: dict[int, RetryPolicy] = {}
        """Appends that are being retried, by the ``id`` of their retry policy."""

    def troubles(self) -> list[Trouble]:
        """Return what prevents appends now, even if only for a moment."""
        return [retry.trouble for retry in self._retried.values()]

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append ``batches``, at most one for each partition; return their first offsets.

        1. Build each batch once.
        2. Send them, one request per broker (more when one would be too large).
        3. Retry batches with retriable errors, at their current leader, up to the time limit.

        Raises ``Fenced`` when a writer's epoch is out of date, ``FailStop`` for all other refusals.
        """
        # This machine's clock may be days off, and brokers refuse records with such timestamps.
        time_ms = self._clock.stamp_ms()
        left: Encoded = {batch.at: encode_batch(batch, time_ms) for batch in batches}
        assert len(left) == len(batches), "one batch for each partition"
        self.appended_bytes[channel] += sum(map(len, left.values()))
        asked_ms = self._clock.wall_ms()
        sent = await self._send(left, channel)
        if sent.time_ms != NO_TIME:
            self._clock.heard(sent.time_ms, asked_ms)
        if not sent.errors:
            return sent.offsets
        retry = RetryPolicy(
            f"appending to {', '.join(map(str, sent.errors))}",
            self._connection.delivery_timeout_seconds,
        )
        self._retried[id(retry)] = retry
        try:
            return await self._send_again(sent, left, channel, retry)
        finally:
            del self._retried[id(retry)]

    async def _send_again(
        self, sent: Sent, left: Encoded, channel: Channel, retry: RetryPolicy
    ) -> Mapping[TopicPartition, int]:
        """Send the failed batches until all are acknowledged; return all first offsets."""
        offsets = dict(sent.offsets)
        while sent.errors:
            for at, error in sent.errors.items():
                if isinstance(error, FENCED):
                    raise fenced(f"an append to {at} was refused", error)
                if not isinstance(error, RETRIABLE):
                    message = f"an append to {at} was refused: {refusal(error)}"
                    arguments = self._connection.arguments
                    refused = denied(error, arguments, at.topic, Right.WRITE)
                    raise (refused or FailStop(message)) from error
            await retry.after(next(iter(sent.errors.values())))
            await self._connection.refresh()
            await self._require_same_topics()
            sent = await self._send({at: left[at] for at in sent.errors}, channel)
            offsets |= sent.offsets
            if sent.time_ms != NO_TIME:
                # The time may be that of the first try, whose acknowledgement was lost.
                self._clock.heard(sent.time_ms)
        return offsets

    async def _send(self, encoded: Encoded, channel: Channel) -> Sent:
        requests, leaderless = self._by_leader(encoded)
        if len(requests) == 1 and not leaderless:
            node, part = requests[0]
            return await self._send_one(node, part, channel)
        total, time_ms = Sent({}, leaderless), NO_TIME
        for sent in await asyncio.gather(
            *[self._send_one(node, part, channel) for node, part in requests]
        ):
            total.offsets.update(sent.offsets)
            total.errors.update(sent.errors)
            time_ms = max(time_ms, sent.time_ms)
        return total._replace(time_ms=time_ms)

    def _by_leader(
        self, encoded: Encoded
    ) -> tuple[list[tuple[int, Encoded]], dict[TopicPartition, Exception]]:
        """Split batches into requests; batches without a leader get a retriable error."""
        requests: list[tuple[int, Encoded]] = []
        current: dict[int, tuple[Encoded, int]] = {}
        leaderless: dict[TopicPartition, Exception] = {}
        for at, batch in encoded.items():
            node = self._connection.leader(at)
            if node is None:
                leaderless[at] = errors.LeaderNotAvailableError(str(at))
                continue
            part, size = current.get(node, ({}, _REQUEST_BYTES))
            if size + len(batch) > _REQUEST_BYTES:
                part, size = {}, 0
                requests.append((node, part))
            part[at] = batch
            current[node] = (part, size + len(batch))
        return requests, leaderless

    async def _send_one(self, node: int, encoded: Encoded, channel: Channel) -> Sent:
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for at, batch in encoded.items():
            topics.setdefault(at.topic, []).append((at.partition, batch))
        timeout_ms = self._connection.request_timeout_ms
        request = Produce(topics, timeout_ms, ids=self._topic_ids)
        try:
            response: list[Produced] = await self._connection.send(node, request, channel)
        except RETRIABLE as lost:
            return Sent({}, dict.fromkeys(encoded, lost))
        sent, latest_ms = Sent({}, {}), NO_TIME
        for topic, partition, code, offset, time_ms in response:
            at = TopicPartition(topic, partition)
            error = error_for(code)
            # A duplicate is an earlier append of this batch whose acknowledgement was lost.
            if error is None or error is errors.DuplicateSequenceNumber:
                sent.offsets[at] = offset
                latest_ms = max(latest_ms, time_ms)
            else:
                refusal = error(str(at))
                sent.errors[at] = refusal
        return sent._replace(time_ms=latest_ms)
