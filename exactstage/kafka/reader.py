"""The reader: fetches partitions from given offsets on, in the engine's own event loop.

aiokafka's consumer makes an object of twelve fields for each record; this reader makes a tuple. It
fetches all partitions of a leader with one request, and the next records while the last ones are
handled. A leader remembers what it was asked for (``fetch_session``).
"""

import asyncio
import logging
import math
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

from .connection import RETRIABLE, Connection, OtherTopicId, RetryPolicy, error_for
from .epochs import epoch_ends
from .fetch_session import FetchSession
from .fetched import Batches, Budget
from .hints import error_in_words, refusal
from .rights import Right, denied
from .standing import Standing
from .wire import NO_IDS, Fetch, FetchedBytes, ListOffsets, Offset, TopicIds

logger = logging.getLogger(__name__)

_FETCH_WAIT_MS = 250
"""How long a broker may hold a fetch without records; a new assignment may wait as long."""

_MIN_BYTES = 1
_MAX_BYTES = 8 * 1024 * 1024
_PARTITION_BYTES = 1024 * 1024
_FETCHES_OF_A_DAMAGED_BATCH = 4
"""Fetches after which a batch with a wrong checksum counts as unreadable: before, the network or a
broker's memory may be the cause, and another replica may become the leader."""

_END = -1
"""Asks for the end of a partition."""

Positions = dict[TopicPartition, int]
Answer = dict[TopicPartition, Batches]


async def _no_check() -> None:
    """Check nothing."""


class KafkaReader:
    """See ``exactstage.log.Reader``."""

    def __init__(
        self,
        connection: Connection,
        *,
        committed_only: bool,
        limits: Limits | None = None,
        closing: bytes | None = None,
        require_same_topics: Callable[[], Awaitable[None]] = _no_check,
        topic_ids: TopicIds = NO_IDS,
    ) -> None:
        self._connection = connection
        self._topic_ids = topic_ids
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
        """Fetched data of each node that is not decoded yet; the next fetch comes after it."""
        self._unreadable: dict[TopicPartition, UnreadableBatch] = {}
        """Unreadable batches in the answers; ``fetch`` raises them until they are skipped."""
        self._damaged: dict[TopicPartition, tuple[int, int]] = {}
        """Batches with a wrong checksum: offset, and number of fetches."""
        self._rotation = 0
        self._leaders = 0
        """Number of leaders of the assigned partitions at the last fetch."""
        self._assigned: Mapping[int, list[TopicPartition]] = {}
        """Partitions by leader, at the last fetch."""
        self._assigned_at: int | None = None
        """The version of the leaders that this is of; None: it has to be found anew."""
        self._retry: RetryPolicy | None = None
        self._unread: dict[TopicPartition, tuple[float, Exception]] = {}
        """Partitions whose last fetch failed: time and error of the first failure in a row."""
        self._failing_since: dict[TopicPartition, float] = {}
        """Send time of the first of these fetches; the failure may have come long after."""
        self._seen_ends: Positions = {}
        """End of each partition as its leader named it last."""
        self._sessions: dict[int, FetchSession] = {}
        """By node."""
        self._named_by: dict[TopicPartition, FetchSession] = {}
        """The session whose answers say that a partition's end is what it was, or another one."""
        self._caught_up: dict[TopicPartition, FetchSession] = {}
        """The session whose answers show all that a partition has."""
        self._stable: Positions = {}
        """Last stable offset of each partition as its leader named it last."""
        self._standing: dict[TopicPartition, Standing] = {}
        """Partitions whose last fetch returned nothing although they have more records."""

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
        self._assigned_at = None
        self._epochs, self._checks_epochs = dict(epochs or {}), epochs is not None
        self._ends, self._claimants = ends, {}
        self._unread, self._standing, self._damaged = {}, {}, {}
        self._seen_ends, self._named_by, self._caught_up, self._stable = {}, {}, {}, {}
        # A range with an end is read once, and soon.
        wanted = not ends
        self._sessions = {
            node: session.anew(wanted=wanted) for node, session in self._sessions.items()
        }
        if not positions:
            self._retry = None  # No fetch follows whose success would end it.

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return the next records; nothing when all are read. Retries errors up to the time limit.

        Raises ``PositionLost`` when an offset is not in the log any more, ``RecordsLost`` when
        records that were read are not (see ``assign``), ``UnreadableBatch`` at a batch that can't
        be decoded, ``FailStop`` when the brokers refuse or can't be reached.
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
                    # The next fetch is in flight while these records are handled.
                    self._ask()
            except RETRIABLE as error:
                if found:
                    break  # Their positions have advanced, so they must be returned first.
                self._retry = self._retry or RetryPolicy(
                    "reading", self._connection.delivery_timeout_seconds
                )
                await self._retry.after(error)
                await self._connection.refresh()
        return found

    @property
    def _is_read(self) -> bool:
        """Whether every partition is read up to its end."""
        return is_read(self._positions, self._ends)

    def skip(self, batch: UnreadableBatch) -> None:
        """Continue after a batch that ``fetch`` has raised."""
        at = TopicPartition(batch.topic, batch.partition)
        if self._unreadable.pop(at, None) is None:
            return  # The partitions were reassigned since.
        for answer in self._answers.values():
            if at in answer:
                answer[at].skip(batch)
                self._moved(at, answer[at])

    async def _wait_for_answers(self, seconds: float) -> None:
        """Send fetches and collect answers. Raises a node's error when there is no answer."""
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
            self._retry = None

    def _decode(self) -> dict[TopicPartition, Sequence[Record]]:
        """Decode fetched data, within the budget; advance the positions."""
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
        """Decode fetched data of one partition; advance its position."""
        if batches.position != self._positions.get(at):
            batches.is_done = True  # Its leader has changed, and the new one answered first.
            return []
        records = batches.take(budget)
        self._moved(at, batches)
        batch = batches.unreadable
        if batches.is_done and batches.position < self._seen_ends.get(at, 0):
            # An answer leaves the partition out from now on if an open transaction follows.
            self._note(at, batches.position, moved=False)
        if batch is not None:
            if batches.may_be_transient and not self._is_final(at, batch):
                batches.is_done = True
                cause = errors.CorruptRecordException(f"{at.address(batch.offset)}: {batch.cause}")
                self._failed([at], cause)
            else:
                self._unreadable[at] = batch
        return records

    def _moved(self, at: TopicPartition, batches: Batches) -> None:
        """Record how far a partition is read."""
        if batches.claimants and not self._committed_only:
            self._claimants.setdefault(at, set()).update(batches.claimants)
        self._positions[at] = batches.position
        if batches.epoch > NO_EPOCH:
            self._epochs[at] = batches.epoch
        else:
            self._epochs.pop(at, None)

    def _is_final(self, at: TopicPartition, batch: UnreadableBatch) -> bool:
        """Whether a damaged batch was fetched often enough; another leader's may be intact."""
        offset, times = self._damaged.get(at, (batch.offset, 0))
        times = times + 1 if offset == batch.offset else 1
        self._damaged[at] = batch.offset, times
        return times >= _FETCHES_OF_A_DAMAGED_BATCH

    def _ask(self) -> None:
        """Send a fetch to each leader that has none in flight.

        Partitions without a leader are left out until they have one; the others are read.
        """
        if self._fetches and len(self._fetches) == self._leaders:
            return
        nodes = self._by_leader()
        self._leaders = len(nodes)
        if not nodes:
            message = "no partition has a leader"
            raise errors.LeaderNotAvailableError(message)
        # A broker fills its answer in the order in which it was asked for all: with a fixed order,
        # a backlog of the first partitions would starve the last.
        self._rotation += 1
        for node, assigned in nodes.items():
            if node not in self._fetches:
                turn = self._rotation % len(assigned)
                rotated = assigned[turn:] + assigned[:turn]
                positions = {at: self._positions[at] for at in rotated}
                task = asyncio.create_task(self._fetch_on(node, positions))
                task.add_done_callback(_retrieve_error)
                self._fetches[node] = task

    def _by_leader(self) -> Mapping[int, list[TopicPartition]]:
        """Return the partitions to read by their leaders."""
        version = self._connection.leaders_version
        if self._assigned_at == version:
            return self._assigned
        nodes: dict[int, list[TopicPartition]] = {}
        has_all = not self._ends
        for at, position in self._positions.items():
            if self._ends and position >= self._ends.get(at, math.inf):
                continue
            node = self._connection.leader(at)
            if node is None:
                has_all = False
                self._failed([at], errors.LeaderNotAvailableError(str(at)))
            else:
                nodes.setdefault(node, []).append(at)
        self._assigned, self._assigned_at = nodes, version if has_all else None
        return nodes

    def _fetch_on(self, node: int, positions: Positions) -> Coroutine[None, None, Answer]:
        """Return a fetch, with a check of the leader epochs if ``assign`` got epochs."""
        if not self._checks_epochs:
            return self._fetch(node, positions)
        known = self._epochs
        return self._checked(node, positions, {at: known[at] for at in positions if at in known})

    async def _checked(
        self, node: int, positions: Positions, known: Mapping[TopicPartition, int]
    ) -> Answer:
        """Fetch; where a newer epoch follows, check that the last one ends after the position."""
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
        session = self._sessions.get(node)
        if session is None:
            session = self._sessions[node] = FetchSession(wanted=not self._ends)
        asked = asyncio.get_running_loop().time()
        parts, is_sure = await self._answer(node, session, positions, asked)
        found: Answer = {}
        failed: list[tuple[TopicPartition, type[errors.KafkaError]]] = []
        for part in parts:
            at = TopicPartition(part.topic, part.partition)
            error = error_for(part.code)
            if error is not None:
                self._named_by.pop(at, None)
                failed.append((at, error))
                continue
            # The answer of a former leader may come late: the new one names its end.
            if self._connection.leader(at) == node:
                self._answered(at, positions[at], part, session)
            if part.batches:
                found[at] = self._batches(at, positions[at], part)
        if is_sure or len(parts) == len(positions):
            session.asked = asked
        if failed:
            cause = await self._failures(failed, positions, asked)
            if not found:
                raise cause
        if len(self._named_by) < len(self._positions):
            await self._prove(node, session, positions)
        return found

    def _batches(self, at: TopicPartition, position: int, part: FetchedBytes) -> Batches:
        return Batches(
            at,
            part.batches,
            position,
            aborted=part.aborted if self._committed_only else None,
            limits=self._limits,
            closing=self._closing,
        )

    async def _answer(
        self, node: int, session: FetchSession, positions: Positions, asked: float
    ) -> tuple[list[FetchedBytes], bool]:
        """Ask for ``positions``, and nothing else.

        Returns the parts of the answer, and whether what these leave out is unchanged.
        """
        try:
            code, parts, is_sure = await self._send(node, session, positions)
            if session.is_lost(code):
                code, parts, is_sure = await self._send(node, session, positions)
            if (error := error_for(code)) is not None:
                raise error(f"the fetch from node {node}")
        except RETRIABLE as failure:
            session.lost()
            self._failed(positions, failure, asked)
            raise
        return parts, is_sure

    async def _send(
        self, node: int, session: FetchSession, positions: Positions
    ) -> tuple[int, list[FetchedBytes], bool]:
        """Send one request of a session; return the code of its answer, and the same."""
        if len(self._named_by) < len(self._positions):
            session.lost()  # Then what no answer has named is named, by its leader of then.
        changes = session.ask(positions)
        offsets: dict[str, list[tuple[int, int]]] = {}
        for at, position in changes.positions.items():
            offsets.setdefault(at.topic, []).append((at.partition, position))
        forgotten: dict[str, list[int]] = {}
        for at in changes.forgotten:
            for known in (self._caught_up, self._named_by):
                if known.get(at) is session:
                    del known[at]
            if not session.is_whole:
                forgotten.setdefault(at.topic, []).append(at.partition)
        request = Fetch(
            offsets,
            wait_ms=_FETCH_WAIT_MS,
            min_bytes=_MIN_BYTES,
            max_bytes=_MAX_BYTES,
            partition_bytes=_PARTITION_BYTES,
            committed_only=self._committed_only,
            ids=self._topic_ids,
            session=changes.session,
            forgotten=forgotten,
            topics={*forgotten, *(at.topic for at in positions)},
        )
        code, parts = await self._connection.send(node, request)
        is_sure = not code and not request.throttle_ms
        if not code:
            session.answered(request.session_id, is_sure=is_sure)
        return code, parts, is_sure

    def _answered(
        self, at: TopicPartition, position: int, part: FetchedBytes, session: FetchSession
    ) -> None:
        """Record that a partition could be read, and where it ended."""
        self._unread.pop(at, None)
        end = self._seen_ends[at] = part.end
        self._stable[at] = part.stable
        if end >= position and (not self._checks_epochs or self._caught_up.get(at) is session):
            self._named_by[at] = session
        else:  # A new leader does not show yet all that it has.
            self._named_by.pop(at, None)
        if self._standing or not part.batches:
            self._note(at, position, moved=bool(part.batches))

    async def _prove(self, node: int, session: FetchSession, positions: Positions) -> None:
        """Ask whether a leader shows all that it has, for partitions that it leads newly.

        The end in its fetch answers may be before records that its predecessor has acknowledged;
        the question for the end is refused until it is not (KIP-207). What was answered before is
        no proof then, so the next answer counts.
        """
        unproven: dict[str, list[tuple[int, int]]] = {}
        for at in positions:
            if at not in self._named_by and at not in self._unread:
                unproven.setdefault(at.topic, []).append((at.partition, _END))
        if not unproven or not self._checks_epochs:
            return
        try:
            answers: Sequence[Offset] = await self._connection.send(
                node, ListOffsets(unproven, committed_only=False)
            )
        except RETRIABLE as error:
            logger.debug("node %d does not say where partitions end: %r", node, error)
            return  # It is asked again with the next answer.
        for topic, partition, code, _ in answers:
            if not code:
                self._caught_up[TopicPartition(topic, partition)] = session

    async def _failures(
        self,
        failed: Sequence[tuple[TopicPartition, type[errors.KafkaError]]],
        positions: Positions,
        asked: float,
    ) -> Exception:
        """Note the retriable errors of partitions, and return one. Raises for any other.

        That is ``FailStop``, or what says that a topic was recreated.
        """
        failure: Exception | None = None
        final: tuple[TopicPartition, type[errors.KafkaError]] | None = None
        for at, error in failed:
            self._caught_up.pop(at, None)
            if issubclass(error, RETRIABLE):
                failure = error(str(at))
                self._failed([at], failure, asked)
            else:
                final = final or (at, error)
        if final is not None or any(error is OtherTopicId for _, error in failed):
            # In a recreated topic, positions are not valid.
            await self._require_same_topics()
        if final is not None:
            at, error = final
            raise _refusal(at, positions[at], error, self._connection.arguments)
        assert failure is not None, "what is not final is retriable"
        return failure

    def _failed(
        self, at: Iterable[TopicPartition], failure: Exception, asked: float | None = None
    ) -> None:
        """Record partitions that could not be read, and ask for their leaders again."""
        now = asyncio.get_running_loop().time()
        for tp in at:
            if tp not in self._unread:
                self._unread[tp] = now, failure
                self._failing_since[tp] = now if asked is None else asked
        self._connection.request_refresh()

    def _require_readable(self, now: float) -> None:
        """Raise ``FailStop`` for a partition that fails for too long while others are read."""
        limit = self._connection.delivery_timeout_seconds
        for at, (since, failure) in self._unread.items():
            seconds = now - since - PAUSES.within(since)
            if seconds > limit:
                message = (
                    f"{at} could not be read for {seconds:.0f} s: {error_in_words(failure)}; "
                    f"look at the brokers: nothing is lost, and this process may be started again "
                    f"any time"
                )
                raise FailStop(message) from failure

    @property
    def is_answered(self) -> bool:
        """Whether the last fetch of every partition was answered."""
        return self._retry is None and not self._unread

    def _note(self, at: TopicPartition, position: int, *, moved: bool) -> None:
        """Record whether a partition has records of which the fetch returned none."""
        end, stable = self._seen_ends[at], self._stable[at]
        if moved or end <= position:
            self._standing.pop(at, None)
            return
        held = self._standing.get(at)
        since = asyncio.get_running_loop().time()
        if held is not None and (held.position, held.stable) == (position, stable):
            since = held.since
        self._standing[at] = Standing(position, stable, end, since)

    def seen_ends(self) -> Mapping[TopicPartition, int]:
        """Return the end of each partition as its leader named it last."""
        return self._seen_ends

    def end_asked(self, at: TopicPartition) -> float | None:
        """Return when the leader was asked for the end of a partition; None where it is unsure."""
        session = self._named_by.get(at)
        return None if session is None else session.asked

    def troubles(self) -> list[Trouble]:
        """Return what prevents reading now, even if only for a moment."""
        servers = self._connection.arguments.get("bootstrap_servers", "")
        found = [held.trouble(at, servers) for at, held in self._standing.items()]
        found += [
            Trouble(
                "can't be read",
                str(at),
                self._failing_since[at],
                detail=error_in_words(failure),
                partition=True,
            )
            for at, (_, failure) in self._unread.items()
        ]
        found += self._connection.throttling.troubles(servers)
        if (since := self._connection.oldest_request()) is not None:
            found.append(Trouble("Kafka does not answer", "a fetch", since))
        if self._retry is not None:
            found.append(self._retry.trouble)
        return found

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return self._positions

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return the leader epoch of the last batch read of each partition."""
        return self._epochs

    def claimants(self) -> Mapping[TopicPartition, AbstractSet[int]]:
        """Return the producers of the control records that were read."""
        return self._claimants

    def _drop_fetches(self) -> None:
        for task in self._fetches.values():
            task.cancel()
        self._fetches, self._answers, self._unreadable = {}, {}, {}

    async def close(self) -> None:
        """Cancel the fetches and close the connections."""
        fetches = list(self._fetches.values())
        self._drop_fetches()
        await asyncio.gather(*fetches, return_exceptions=True)
        await self._connection.close()


def _retrieve_error(task: asyncio.Task[Answer]) -> None:
    """Retrieve the exception so that asyncio does not report it.

    A fetch that a new assignment dropped may fail; that is no error.
    """
    if not task.cancelled():
        task.exception()


def _refusal(
    at: TopicPartition,
    position: int,
    error: type[errors.KafkaError],
    arguments: Mapping[str, Any],
) -> FailStop:
    if error is errors.OffsetOutOfRangeError:
        message = (
            f"{at.address(position)} is not in the log any more; was it deleted before it was read?"
        )
        return PositionLost(message)
    refused = denied(error(), arguments, at.topic, Right.READ)
    return refused or FailStop(f"reading {at.address(position)} was refused: {refusal(error)}")
