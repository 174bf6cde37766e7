"""The reader: fetches partitions from given offsets on, in the engine's own event loop.

aiokafka's consumer does this too, with an object of twelve fields for each record. This one makes a
tuple of each, asks each leader for all its partitions at once, and asks for what comes next while
the last answer is being handled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka import errors

from exactstage.epochs import truncated_after_reading
from exactstage.errors import FailStop, PositionLost, UnreadableBatch
from exactstage.limits import Limits
from exactstage.log import NO_ENDS, NO_EPOCH, Record, TopicPartition, is_read
from exactstage.pauses import PAUSES
from exactstage.troubles import Trouble

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .epochs import epoch_ends
from .fetched import Batches, Budget
from .hints import in_words, refusal
from .rights import Right, denied
from .standing import Standing
from .wire import Fetch

logger = logging.getLogger(__name__)

_FETCH_WAIT_MS = 250
"""How long a broker may hold a fetch when it has nothing; also what a new assignment may wait."""

_MIN_BYTES = 1
_MAX_BYTES = 8 * 1024 * 1024
_PARTITION_BYTES = 1024 * 1024
_FETCHES_OF_A_DAMAGED_BATCH = 4
"""A batch with a wrong checksum is judged when it was fetched so often: the network, or the memory
of a broker, may be at fault, and another replica may lead the partition by then."""

Positions = dict[TopicPartition, int]
Answer = dict[TopicPartition, Batches]


async def _all_the_same() -> None:
    """Look at nothing."""


class KafkaReader:
    """See ``exactstage.log.Reader``."""

    def __init__(
        self,
        connection: Connection,
        *,
        committed_only: bool,
        limits: Limits | None = None,
        closing: bytes | None = None,
        require_same_topics: Callable[[], Awaitable[None]] = _all_the_same,
    ) -> None:
        self._connection = connection
        self._require_same_topics = require_same_topics
        self._committed_only = committed_only
        self._limits = limits or Limits()
        self._closing = closing
        self._positions: Positions = {}
        self._epochs: dict[TopicPartition, int] = {}
        """Leader epoch of the batch before each position."""
        self._ends: Mapping[TopicPartition, int] = NO_ENDS
        self._checks_epochs = False
        self._claimants: dict[TopicPartition, set[int]] = {}
        self._fetches: dict[int, asyncio.Task[Answer]] = {}
        self._answers: dict[int, Answer] = {}
        """What was fetched from each node and is not decoded yet: it is asked again after that."""
        self._unreadable: dict[TopicPartition, UnreadableBatch] = {}
        """Batches in the answers that can't be decoded: nothing goes on until they are passed."""
        self._damaged: dict[TopicPartition, tuple[int, int]] = {}
        """Batches with a wrong checksum: their offset, and how often they were fetched."""
        self._turn = 0
        self._leaders = 0
        """Nodes that led something when the partitions were last grouped by them."""
        self._patience: RetryPolicy | None = None
        self._unread: dict[TopicPartition, tuple[float, Exception]] = {}
        """Partitions whose last fetch failed, with the first failure in a row and its time."""
        self._failing_since: dict[TopicPartition, float] = {}
        """When the first of these fetches was sent: its failure may have come long after that."""
        self._standing: dict[TopicPartition, Standing] = {}
        """Partitions whose last fetch brought nothing although they have more records."""

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        epochs: Mapping[TopicPartition, int] | None = None,
        *,
        ends: Mapping[TopicPartition, int] = NO_ENDS,
    ) -> None:
        """Read these partitions, each from its offset, and up to its end where it has one."""
        self._drop_fetches()
        self._positions = dict(positions)
        self._epochs, self._checks_epochs = dict(epochs or {}), epochs is not None
        self._ends, self._claimants = ends, {}
        self._unread, self._standing, self._damaged = {}, {}, {}

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there, or nothing when all is read. Retries errors up to the time limit.

        Raises ``PositionLost`` when an offset is not in the log any more, ``RecordsLost`` when what
        was read is not (see ``assign``), ``UnreadableBatch`` at a batch that can't be decoded,
        ``FailStop`` when the brokers refuse or can't be reached.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        found: dict[TopicPartition, Sequence[Record]] = {}
        while not found and (left := end - loop.time()) > 0:
            for batch in self._unreadable.values():
                raise batch
            self._require_readable(loop.time())
            if self._is_read:
                break
            try:
                if not self._answers:
                    await self._wait_for_answers(left)
                found = self._decode()
                if not self._answers and not self._is_read:
                    # The next fetch travels while these records are handled.
                    self._ask()
            except RETRIABLE as error:
                if found:
                    break  # Their positions have moved on: they go out before anything waits.
                self._patience = self._patience or RetryPolicy(
                    "reading", self._connection.delivery_timeout_seconds
                )
                await self._patience.after(error)
                await self._connection.refresh()
        return found

    @property
    def _is_read(self) -> bool:
        """Whether every partition is read up to its end."""
        return is_read(self._positions, self._ends)

    def skip(self, batch: UnreadableBatch) -> None:
        """Go on behind a batch that ``fetch`` has raised."""
        at = TopicPartition(batch.topic, batch.partition)
        if self._unreadable.pop(at, None) is None:
            return  # The partitions were assigned anew meanwhile.
        for answer in self._answers.values():
            if at in answer:
                answer[at].skip(batch)
                self._moved(at, answer[at])

    async def _wait_for_answers(self, seconds: float) -> None:
        """Ask, and take the answers that have come. Raises a node's error when none has."""
        self._ask()
        done, _ = await asyncio.wait(
            self._fetches.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        failure: BaseException | None = None
        for node in [node for node, task in self._fetches.items() if task in done]:
            try:
                self._answers[node] = self._fetches.pop(node).result()
            except RETRIABLE as error:
                failure = error
        if failure is not None and not self._answers:
            raise failure
        if done:
            self._patience = None

    def _decode(self) -> dict[TopicPartition, Sequence[Record]]:
        """Decode what was fetched, as much as may be at once; move the positions on."""
        budget = Budget(_MAX_BYTES, self._limits.fetch_records)
        found: dict[TopicPartition, Sequence[Record]] = {}
        for answer in self._answers.values():
            for at, batches in list(answer.items()):
                if not budget.is_left:
                    break
                if records := self._take(at, batches, budget):
                    found[at] = records
                if batches.is_done:
                    del answer[at]
        self._answers = {node: answer for node, answer in self._answers.items() if answer}
        return found

    def _take(self, at: TopicPartition, batches: Batches, budget: Budget) -> list[Record]:
        """Decode what was fetched of one partition; move its position on."""
        if batches.position != self._positions.get(at):
            batches.is_done = True  # Its leader has changed, and the new one answered first.
            return []
        records = batches.take(budget)
        self._moved(at, batches)
        batch = batches.unreadable
        if batch is not None:
            if batches.may_be_transient and not self._is_judged(at, batch):
                batches.is_done = True
                cause = errors.CorruptRecordException(f"{at}/{batch.offset}: {batch.cause}")
                self._failed([at], cause)
            else:
                self._unreadable[at] = batch
        return records

    def _moved(self, at: TopicPartition, batches: Batches) -> None:
        """Note how far a partition is read."""
        if batches.claimants and not self._committed_only:
            self._claimants.setdefault(at, set()).update(batches.claimants)
        self._positions[at] = batches.position
        if batches.epoch > NO_EPOCH:
            self._epochs[at] = batches.epoch
        else:
            self._epochs.pop(at, None)

    def _is_judged(self, at: TopicPartition, batch: UnreadableBatch) -> bool:
        """Whether a damaged batch was fetched often enough: another leader may have it sound."""
        offset, times = self._damaged.get(at, (batch.offset, 0))
        times = times + 1 if offset == batch.offset else 1
        self._damaged[at] = batch.offset, times
        return times >= _FETCHES_OF_A_DAMAGED_BATCH

    def _ask(self) -> None:
        """Send a fetch to each leader that has none in flight.

        Partitions without a leader are left out until they have one: the others go on.
        """
        if self._fetches and len(self._fetches) == self._leaders:
            return
        nodes: dict[int, Positions] = {}
        for at, position in self._in_turn():
            node = self._connection.leader(at)
            if node is None:
                self._failed([at], errors.LeaderNotAvailableError(str(at)))
            else:
                nodes.setdefault(node, {})[at] = position
        self._leaders = len(nodes)
        if not nodes:
            message = "no partition has a leader"
            raise errors.LeaderNotAvailableError(message)
        for node, positions in nodes.items():
            if node not in self._fetches:
                task = asyncio.create_task(self._fetch_on(node, positions))
                task.add_done_callback(_look_at_error)
                self._fetches[node] = task

    def _in_turn(self) -> list[tuple[TopicPartition, int]]:
        """Return the positions, each time with another partition first.

        A broker fills its answer in the order of the request: always the same one would let a
        backlog of the first partitions starve the last.
        """
        items = list(self._positions.items())
        if ends := self._ends:
            items = [each for each in items if each[0] not in ends or each[1] < ends[each[0]]]
        self._turn = (self._turn + 1) % max(len(items), 1)
        return items[self._turn :] + items[: self._turn]

    def _fetch_on(self, node: int, positions: Positions) -> Coroutine[None, None, Answer]:
        """Return a fetch, and a check of what is read so far where that is asked for."""
        if not self._checks_epochs:
            return self._fetch(node, positions)
        known = self._epochs
        return self._checked(node, positions, {at: known[at] for at in positions if at in known})

    async def _checked(
        self, node: int, positions: Positions, known: Mapping[TopicPartition, int]
    ) -> Answer:
        """Fetch; check that epochs which others follow now did not end before what was read."""
        found = await self._fetch(node, positions)
        changed = {
            at: known[at]
            for at, batches in found.items()
            if known.get(at, batches.first_epoch) != batches.first_epoch > NO_EPOCH
        }
        if changed:
            for at, end in (await epoch_ends(self._connection, changed)).items():
                if end < positions[at]:
                    raise truncated_after_reading(at, positions[at], known[at], end)
        return found

    async def _fetch(self, node: int, positions: Positions) -> Answer:
        asked = asyncio.get_running_loop().time()
        topics: dict[str, list[tuple[int, int]]] = {}
        for at, position in positions.items():
            topics.setdefault(at.topic, []).append((at.partition, position))
        request = Fetch(
            topics,
            wait_ms=_FETCH_WAIT_MS,
            min_bytes=_MIN_BYTES,
            max_bytes=_MAX_BYTES,
            partition_bytes=_PARTITION_BYTES,
            committed_only=self._committed_only,
        )
        try:
            code, parts = await self._connection.send(node, request)
            if (error := error_for(code)) is not None:
                raise error(f"the fetch from node {node}")
        except RETRIABLE as failure:
            self._failed(positions, failure, asked)
            raise
        found: Answer = {}
        retriable: Exception | None = None
        for topic, partition, partition_code, aborted, batches, stable, end in parts:
            at = TopicPartition(topic, partition)
            error = error_for(partition_code)
            if error is None:
                self._unread.pop(at, None)
                if batches:
                    seen = aborted if self._committed_only else None
                    found[at] = Batches(
                        at,
                        batches,
                        positions[at],
                        aborted=seen,
                        limits=self._limits,
                        closing=self._closing,
                    )
                if self._standing or not batches:
                    self._note(at, positions[at], stable, end, moved=bool(batches))
            elif issubclass(error, RETRIABLE):
                retriable = error(str(at))
                self._failed([at], retriable, asked)
            else:
                # In a topic that was made anew, positions mean nothing.
                await self._require_same_topics()
                raise _refusal(at, positions[at], error, self._connection.arguments)
        if retriable is not None and not found:
            raise retriable
        return found

    def _failed(
        self, at: Iterable[TopicPartition], failure: Exception, asked: float | None = None
    ) -> None:
        """Note partitions that could not be read, and ask for their leaders again."""
        now = asyncio.get_running_loop().time()
        for tp in at:
            if tp not in self._unread:
                self._unread[tp] = now, failure
                self._failing_since[tp] = now if asked is None else asked
        self._connection.request_refresh()

    def _require_readable(self, now: float) -> None:
        """Raise ``FailStop`` for a partition that fails for long while others are read."""
        limit = self._connection.delivery_timeout_seconds
        for at, (since, failure) in self._unread.items():
            seconds = now - since - PAUSES.within(since)
            if seconds > limit:
                message = (
                    f"{at} could not be read for {seconds:.0f} s: {in_words(failure)}; look at "
                    f"the brokers: nothing is lost, and this process may be started again any time"
                )
                raise FailStop(message) from failure

    @property
    def is_answered(self) -> bool:
        """Whether the last fetch of every partition was answered."""
        return self._patience is None and not self._unread

    def _note(
        self, at: TopicPartition, position: int, stable: int, end: int, *, moved: bool
    ) -> None:
        """Note whether a partition has records of which none came."""
        if moved or end <= position:
            self._standing.pop(at, None)
            return
        held = self._standing.get(at)
        since = asyncio.get_running_loop().time()
        if held is not None and (held.position, held.stable) == (position, stable):
            since = held.since
        self._standing[at] = Standing(position, stable, end, since)

    def troubles(self) -> list[Trouble]:
        """Return what keeps this reader from reading, however short it lasts."""
        servers = self._connection.arguments.get("bootstrap_servers", "")
        found = [held.trouble(at, servers) for at, held in self._standing.items()]
        found += [
            Trouble(
                "can't be read",
                str(at),
                self._failing_since[at],
                detail=in_words(failure),
                partition=True,
            )
            for at, (_, failure) in self._unread.items()
        ]
        found += self._connection.throttling.troubles(servers)
        if (since := self._connection.oldest_request()) is not None:
            found.append(Trouble("Kafka does not answer", "a fetch", since))
        if self._patience is not None:
            found.append(self._patience.trouble)
        return found

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return self._positions

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return the leader epoch of what was read last of each partition."""
        return self._epochs

    def claimants(self) -> Mapping[TopicPartition, AbstractSet[int]]:
        """Return the producers whose control records were passed."""
        return self._claimants

    def _drop_fetches(self) -> None:
        for task in self._fetches.values():
            task.cancel()
        self._fetches, self._answers, self._unreadable = {}, {}, {}

    async def close(self) -> None:
        """Give the connections back."""
        fetches = list(self._fetches.values())
        self._drop_fetches()
        await asyncio.gather(*fetches, return_exceptions=True)
        await self._connection.close()


def _look_at_error(task: asyncio.Task[Answer]) -> None:
    """Take the error: that of a fetch that was dropped by a new assignment concerns nobody."""
    if not task.cancelled():
        task.exception()


def _refusal(
    at: TopicPartition,
    position: int,
    error: type[errors.KafkaError],
    arguments: Mapping[str, Any],
) -> FailStop:
    if error is errors.OffsetOutOfRangeError:
        message = f"{at}/{position} is not in the log any more; was it deleted before it was read?"
        return PositionLost(message)
    refused = denied(error(), arguments, at.topic, Right.READ)
    return refused or FailStop(f"reading {at}/{position} was refused: {refusal(error)}")
