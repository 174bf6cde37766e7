"""The reader: fetches partitions from given offsets on, in the engine's own event loop.

aiokafka's consumer does this too, with an object of twelve fields for each record, which made it
the largest single cost of a payment. This one asks each leader for all its partitions at once, and
asks for what comes next while the last answer is being handled.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from aiokafka import errors
from aiokafka.protocol.fetch import FetchRequest

from payments.engine.errors import FailStop, PositionLost
from payments.engine.log import TopicPartition

from .connection import RETRIABLE, Connection, Patience, error_for
from .fetched import Fetched, FetchedRecord, unpack

_FETCH_WAIT_MS = 250
"""How long a broker may hold a fetch when it has nothing; also what a new assignment may wait."""

_MIN_BYTES = 1
_MAX_BYTES = 8 * 1024 * 1024
_PARTITION_BYTES = 1024 * 1024
_READ_UNCOMMITTED, _READ_COMMITTED = 0, 1

_VERSION_WITH_REPLICA = 11

Positions = dict[TopicPartition, int]


class KafkaReader:
    """See ``payments.engine.log.Reader``."""

    def __init__(self, connection: Connection, *, committed_only: bool) -> None:
        self._connection = connection
        self._committed_only = committed_only
        self._positions: Positions = {}
        self._fetches: dict[int, asyncio.Task[dict[TopicPartition, Fetched]]] = {}
        self._patience: Patience | None = None

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, each from its offset; replaces what was assigned before."""
        self._drop_fetches()
        self._positions = dict(positions)

    async def fetch(
        self, *, timeout_seconds: float
    ) -> Mapping[TopicPartition, Sequence[FetchedRecord]]:
        """Return what is there. Retriable errors are retried up to the time limit.

        Raises ``PositionLost`` when an offset is not in the log any more, ``FailStop`` when the
        brokers refuse or can't be reached.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        found: dict[TopicPartition, Sequence[FetchedRecord]] = {}
        while not found and (left := end - loop.time()) > 0:
            try:
                self._ask()
                done, _ = await asyncio.wait(
                    self._fetches.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                for node in [node for node, task in self._fetches.items() if task in done]:
                    found |= self._take(self._fetches.pop(node).result())
                if done:
                    self._patience = None
                # The next fetch travels while these records are handled.
                self._ask()
            except RETRIABLE as error:
                self._patience = self._patience or Patience(
                    "reading", self._connection.delivery_timeout_seconds
                )
                await self._patience.after(error)
                await self._connection.refresh()
        return found

    def _ask(self) -> None:
        """Send a fetch to each leader that has none under way.

        Partitions without a leader are left out until they have one: the others go on.
        """
        nodes: dict[int, Positions] = {}
        for at, position in self._positions.items():
            node = self._connection.leader(at)
            if node is None:
                self._connection.request_refresh()
            else:
                nodes.setdefault(node, {})[at] = position
        if not nodes:
            message = "no partition has a leader"
            raise errors.LeaderNotAvailableError(message)
        for node, positions in nodes.items():
            if node not in self._fetches:
                self._fetches[node] = asyncio.create_task(self._fetch(node, positions))

    def _take(
        self, fetched: Mapping[TopicPartition, Fetched]
    ) -> Mapping[TopicPartition, Sequence[FetchedRecord]]:
        """Move the positions on; return the records of partitions that have some."""
        for at, (_, position) in fetched.items():
            self._positions[at] = position
        return {at: records for at, (records, _) in fetched.items() if records}

    async def _fetch(self, node: int, positions: Positions) -> dict[TopicPartition, Fetched]:
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for at, position in positions.items():
            topics.setdefault(at.topic, []).append((at.partition, position, _PARTITION_BYTES))
        request = FetchRequest(
            _FETCH_WAIT_MS,
            _MIN_BYTES,
            _MAX_BYTES,
            _READ_COMMITTED if self._committed_only else _READ_UNCOMMITTED,
            list(topics.items()),
        )
        response = await self._connection.send(node, request)
        found: dict[TopicPartition, Fetched] = {}
        retriable: Exception | None = None
        # From version 11 on a preferred replica (KIP-392) stands before the records.
        aborted_at = -3 if response.API_VERSION >= _VERSION_WITH_REPLICA else -2
        for topic, partitions in response.topics:
            for partition, code, _, _, *more in partitions:
                at = TopicPartition(topic, partition)
                error = error_for(code)
                if error is None:
                    aborted = more[aborted_at] or () if self._committed_only else None
                    found[at] = unpack(at, more[-1], positions[at], aborted)
                elif issubclass(error, RETRIABLE):
                    retriable = error(str(at))
                    self._connection.request_refresh()
                else:
                    raise _refusal(at, positions[at], error)
        if retriable is not None and not any(fetched.records for fetched in found.values()):
            raise retriable
        return found

    async def positions(self, at: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return {tp: self._positions[tp] for tp in at}

    def _drop_fetches(self) -> None:
        for task in self._fetches.values():
            task.cancel()
        self._fetches = {}

    async def close(self) -> None:
        """Give the connections back."""
        fetches = list(self._fetches.values())
        self._drop_fetches()
        await asyncio.gather(*fetches, return_exceptions=True)
        await self._connection.close()


def _refusal(at: TopicPartition, position: int, error: type[errors.KafkaError]) -> FailStop:
    if error is errors.OffsetOutOfRangeError:
        message = f"{at}/{position} is not in the log any more; was it deleted before it was read?"
        return PositionLost(message)
    return FailStop(f"reading {at}/{position} was refused: {error.__name__}")
