"""Single requests: one append or one fetch, without a retry, for who decides what follows.

A client library does: its caller may not wait for as long as a worker would. ``Appender`` and
``KafkaReader`` are the engine's own, with all that a worker has to survive.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiokafka import errors
from aiokafka.client import ConnectionGroup

from exactstage.limits import Limits
from exactstage.log import Channel, Record, TopicPartition

from .connection import RETRIABLE, Connection, error_for
from .fetched import Batches, Budget
from .wire import Fetch, FetchedBytes, Produce


class AppendFailure(NamedTuple):
    """Why a batch was not acknowledged."""

    error: Exception
    arrived: bool
    """Whether the broker may have it nevertheless."""

    retriable: bool


class Chunk(NamedTuple):
    """Records of one partition in order, and the offset at which the next chunk begins."""

    records: Sequence[Record]
    position: int
    stable: int = 0
    """The partition's last stable offset: records after it wait for an open transaction."""

    end: int = 0
    """The partition's end."""


async def append_once(
    connection: Connection, node: int, batches: Mapping[TopicPartition, bytes]
) -> Mapping[TopicPartition, AppendFailure]:
    """Send one produce request to a node; return the batches that were not acknowledged."""
    topics: dict[str, list[tuple[int, bytes]]] = {}
    for at, batch in batches.items():
        topics.setdefault(at.topic, []).append((at.partition, batch))
    try:
        # A separate step: a failure up to here means that the batches did not arrive.
        ready = await connection.client.ready(node, group=ConnectionGroup.COORDINATION)
    except RETRIABLE as error:
        return dict.fromkeys(batches, AppendFailure(error, arrived=False, retriable=True))
    if not ready:
        unready = errors.NodeNotReadyError(f"node {node}")
        return dict.fromkeys(batches, AppendFailure(unready, arrived=False, retriable=True))
    request = Produce(topics, connection.request_timeout_ms)
    try:
        produced = await connection.send(node, request, Channel.PUBLISH)
    except RETRIABLE as lost:
        return dict.fromkeys(batches, AppendFailure(lost, arrived=True, retriable=True))
    failures: dict[TopicPartition, AppendFailure] = {}
    for topic, partition, code, *_ in produced:
        at = TopicPartition(topic, partition)
        kind = error_for(code)
        # A duplicate is an earlier append of this batch whose acknowledgement was lost.
        if kind is not None and kind is not errors.DuplicateSequenceNumber:
            retriable = issubclass(kind, RETRIABLE)
            failures[at] = AppendFailure(kind(str(at)), arrived=retriable, retriable=retriable)
    return failures


async def fetch_once(
    connection: Connection,
    node: int,
    at: TopicPartition,
    offset: int,
    *,
    max_bytes: int,
    headers: bool = True,
) -> Chunk:
    """Send one fetch request that does not wait; return about ``max_bytes`` of committed records.

    Without ``headers`` they may have none, which is faster. Raises the broker's error (a
    ``KafkaError``; those of ``RETRIABLE`` may pass), and ``UnreadableBatch``.
    """
    request = Fetch(
        {at.topic: [(at.partition, offset)]},
        wait_ms=0,
        min_bytes=1,
        max_bytes=max_bytes,
        partition_bytes=max_bytes,
        committed_only=True,
    )
    code, parts = await connection.send(node, request)
    for failed in (code, *(part.code for part in parts)):
        if (kind := error_for(failed)) is not None:
            raise kind(str(at))
    (part,) = parts
    return _first_of(at, part, offset, max_bytes, headers=headers)


def _first_of(
    at: TopicPartition, part: FetchedBytes, offset: int, max_bytes: int, *, headers: bool
) -> Chunk:
    """Decode about ``max_bytes`` of the fetched data. Raises ``UnreadableBatch``."""
    limits = Limits()
    batches = Batches(
        at, part.batches, offset, aborted=part.aborted, limits=limits, headers=headers
    )
    records = batches.take(Budget(max_bytes, limits.fetch_records))
    if not records and batches.unreadable is not None:
        if batches.may_be_transient:
            raise errors.CorruptRecordException(batches.unreadable.cause)
        raise batches.unreadable
    return Chunk(records, batches.position, part.stable, part.end)
