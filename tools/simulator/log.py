"""The engine's log over the simulated network, with the retries of ``exactstage/kafka``."""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

from exactstage.backoff import backoff_seconds
from exactstage.clock import BrokerClock
from exactstage.epochs import truncated_after_reading
from exactstage.errors import FailStop, UnreadableBatch
from exactstage.log import (
    NO_ENDS,
    Batch,
    Bounds,
    Channel,
    Cluster,
    Record,
    TopicPartition,
    Writer,
    is_read,
)
from exactstage.troubles import Trouble

from .brokers import Answer, Brokers, Fetched, Sent
from .faults import Fault
from .loop import Process
from .network import Handler, Network, Reply, Retriable

_LONGEST_FETCH_SECONDS = 1.0
"""How long a broker holds a fetch without records; timers of idle partitions are late by that."""

Found = Mapping[TopicPartition, Fetched]


class Unreachable(FailStop):
    """No broker has answered for as long as appends and such are retried."""


class _RetryPolicy:
    """Waits longer and longer, up to a limit."""

    def __init__(self, what: str, limit_seconds: float) -> None:
        self._what = what
        self._end = asyncio.get_running_loop().time() + limit_seconds
        self._tries = 0

    async def after(self, error: Exception) -> None:
        """Wait before the next attempt. Raises ``Unreachable`` when there is none."""
        if asyncio.get_running_loop().time() > self._end:
            message = f"{self._what} failed for too long: {error}"
            raise Unreachable(message) from error
        await asyncio.sleep(backoff_seconds(self._tries))
        self._tries += 1


class SimulatedLog:
    """See ``exactstage.log.Log``; one for each process."""

    def __init__(
        self,
        process: Process,
        brokers: Brokers,
        network: Network,
        *,
        clock: BrokerClock,
        delivery_timeout_seconds: float,
    ) -> None:
        self.clock = clock
        self.appended_bytes: Mapping[Channel, int] = {}
        self._process = process
        self._brokers = brokers
        self._network = network
        self._delivery_timeout_seconds = delivery_timeout_seconds
        self._leaders = dict(brokers.leaders)

    async def start(self, topics: Sequence[str]) -> None:
        """Learn where the partitions are."""
        del topics
        await self._ask("starting", "start", lambda: None)

    async def close(self) -> None:
        """Nothing to give back."""

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: readiness is no part of what is simulated."""
        return ()

    async def check_open_transactions(self, at: Sequence[TopicPartition]) -> None:
        """Nobody begins a transaction here, but for the claims, which end theirs at once."""

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises ``FailStop`` when there is none."""
        if topic not in self._brokers.partition_counts:
            message = f"there is no topic {topic}"
            raise FailStop(message)
        return self._brokers.partition_counts[topic]

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the cluster and of these topics."""
        found = Cluster("simulated", {topic: f"id-of-{topic}" for topic in topics})
        return cast("Cluster", await self._ask("asking for topics", "describe", lambda: found))

    async def require_configs(
        self,
        *,
        inputs: Collection[str],  # noqa: ARG002 - nothing is configured here
        journals: Collection[str],  # noqa: ARG002 - nothing is configured here
    ) -> float:
        """All is as it must be; compaction keeps tombstones for longer than any restore."""
        return math.inf

    async def losses(self, keeps: Mapping[str, float]) -> Sequence[str]:  # noqa: ARG002 - see above
        """Retention is none of the faults that are simulated."""
        return ()

    async def new_writer(self) -> Writer:
        """Return a plain writer."""
        writer: Writer = await self._ask("asking for a writer", "init", self._brokers.new_writer)
        return writer

    async def claim(self, name: str, fenced: Sequence[TopicPartition]) -> Writer:
        """Take over a name, with two empty transactions: see ``exactstage/kafka/claims.py``."""
        writer: Writer = await self._ask(
            f"claiming {name}", "init", lambda: self._brokers.initialise(name)
        )
        await self.renew(name, writer, fenced)
        await self.renew(name, writer, fenced)
        return writer

    async def renew(self, name: str, writer: Writer, fenced: Sequence[TopicPartition]) -> None:
        """Add the partitions to an empty transaction and abort it."""
        brokers, what = self._brokers, f"claiming {name}"
        await self._ask(what, "add", lambda: brokers.add(name, writer, fenced))
        await self._ask(what, "end", lambda: brokers.end(name, writer, commit=False))

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Send batches, one request for each leader, until each is taken or refused."""
        left = {
            at: Sent(at, writer, writer.take_sequence(at, len(records)), records)
            for at, writer, records in batches
        }
        assert len(left) == len(batches), "one batch for each partition"
        offsets: dict[TopicPartition, int] = {}
        retry = _RetryPolicy("appending", self._delivery_timeout_seconds)
        while True:
            lost: Exception | None = None
            for at, result in (await self._produce(list(left.values()), channel)).items():
                if isinstance(result, Retriable):
                    lost = result
                elif isinstance(result, Exception):
                    raise result
                else:
                    offsets[at] = result
                    del left[at]
            if lost is None:
                return offsets
            await retry.after(lost)
            self._leaders = dict(self._brokers.leaders)

    async def _produce(
        self, batches: Sequence[Sent], channel: Channel
    ) -> Mapping[TopicPartition, int | Exception]:
        by_leader: dict[int, list[Sent]] = {}
        for batch in batches:
            by_leader.setdefault(self._leaders[batch.at], []).append(batch)
        results = await asyncio.gather(
            *(self._produce_at(node, part, channel) for node, part in by_leader.items())
        )
        return {at: result for part in results for at, result in part.items()}

    async def _produce_at(
        self, node: int, batches: Sequence[Sent], channel: Channel
    ) -> Mapping[TopicPartition, int | Exception]:
        def handler(fault: Fault | None, reply: Reply) -> None:
            reply((self._brokers.produce(node, batches, fault), self._brokers.now_ms()))

        asked_ms = self.clock.wall_ms()
        try:
            answer: Mapping[TopicPartition, int | Exception]
            answer, time_ms = await self._network.call(
                self._process, f"{channel.name}-{node}", channel.name.lower(), handler
            )
        except Retriable as lost:
            return dict.fromkeys([batch.at for batch in batches], lost)
        if any(isinstance(result, int) for result in answer.values()):
            self.clock.heard(time_ms, asked_ms)
        return answer

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what each partition holds."""
        partitions = self._brokers.partitions
        found: Mapping[TopicPartition, Bounds] = await self._ask(
            "asking for offsets", "bounds", lambda: {tp: partitions[tp].bounds for tp in at}
        )
        return found

    async def epoch_ends(
        self, epochs: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """Return where each of these leader epochs ends."""
        partitions = self._brokers.partitions
        ends: Mapping[TopicPartition, int | None] = await self._ask(
            "asking for leader epochs",
            "epochs",
            lambda: {at: partitions[at].epoch_end(epoch) for at, epoch in epochs.items()},
        )
        return {at: end for at, end in ends.items() if end is not None}

    async def open_reader(
        self, *, committed_only: bool, closing: bytes | None = None
    ) -> "SimulatedReader":
        """Return a reader with a connection of its own; nobody but workers writes here."""
        del closing
        return SimulatedReader(
            self, self._process, self._brokers, self._network, committed_only=committed_only
        )

    async def _ask(self, what: str, request: str, carry_out: Callable[[], object]) -> Any:
        handler: Handler = lambda _fault, reply: reply(carry_out())  # noqa: E731 - a name for its type
        retry = _RetryPolicy(what, self._delivery_timeout_seconds)
        while True:
            try:
                return await self._network.call(self._process, "control", request, handler)
            except Retriable as error:
                await retry.after(error)


class SimulatedReader:
    """See ``exactstage.log.Reader``."""

    def __init__(
        self,
        log: SimulatedLog,
        process: Process,
        brokers: Brokers,
        network: Network,
        *,
        committed_only: bool,
    ) -> None:
        self._log = log
        self._process = process
        self._brokers = brokers
        self._network = network
        self._committed_only = committed_only
        self._positions: dict[TopicPartition, int] = {}
        self._epochs: dict[TopicPartition, int] = {}
        self._checks_epochs = False
        self._ends: Mapping[TopicPartition, int] = NO_ENDS
        self._claimants: dict[TopicPartition, set[int]] = {}
        self._seen_ends: dict[TopicPartition, int] = {}
        self._ends_asked: dict[TopicPartition, float] = {}
        self._turn = 0

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        epochs: Mapping[TopicPartition, int] | None = None,
        *,
        ends: Mapping[TopicPartition, int] = NO_ENDS,
    ) -> None:
        """Read these partitions, each from its offset, and up to its end where it has one."""
        self._epochs, self._checks_epochs = dict(epochs or {}), epochs is not None
        self._ends, self._claimants = ends, {}
        self._seen_ends, self._ends_asked = {}, {}
        # Sorted: the order in which a set of names was gone through must not show in a run.
        self._positions = dict(sorted(positions.items()))

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there, or what comes before the timeout; nothing when all is read.

        Raises ``PositionLost``.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        while (left := end - loop.time()) > 0 and not self._is_read:
            found = await self._ask(min(left, _LONGEST_FETCH_SECONDS))
            await self._require_nothing_lost(found)
            for at, fetched in found.items():
                self._positions[at] = fetched.position
                self._epochs[at] = fetched.last_epoch
                if not self._committed_only:
                    self._claimants.setdefault(at, set()).update(fetched.claimants)
            if records := {at: each.records for at, each in found.items() if each.records}:
                return records
        return {}

    @property
    def _is_read(self) -> bool:
        return is_read(self._positions, self._ends)

    async def _require_nothing_lost(self, found: Found) -> None:
        """Check that epochs which others follow did not end before what was read."""
        epochs = {
            at: epoch
            for at, fetched in found.items()
            if self._checks_epochs and (epoch := self._epochs.get(at)) is not None
            if epoch != fetched.first_epoch
        }
        for at, end in (await self._log.epoch_ends(epochs)).items() if epochs else ():
            if end < self._positions[at]:
                raise truncated_after_reading(at, self._positions[at], epochs[at], end)

    async def _ask(self, wait_seconds: float) -> Found:
        positions = [
            (at, position)
            for at, position in self._positions.items()
            if position < self._ends.get(at, math.inf)
        ]
        self._turn = (self._turn + 1) % max(1, len(positions))
        positions = positions[self._turn :] + positions[: self._turn]

        def handler(_fault: Fault | None, reply: Reply) -> None:
            self._brokers.fetch(
                positions,
                committed_only=self._committed_only,
                wait_seconds=wait_seconds,
                reply=reply,
            )

        asked = asyncio.get_running_loop().time()
        try:
            answer: Answer = await self._network.call(self._process, "fetch", "fetch", handler)
        except Retriable:
            await asyncio.sleep(backoff_seconds(0))
            return {}
        self._seen_ends |= answer.ends
        self._ends_asked |= dict.fromkeys(answer.ends, asked)
        return answer.found

    def skip(self, batch: UnreadableBatch) -> None:
        """Nothing is ever unreadable here."""
        raise batch

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: what is in memory answers at once."""
        return ()

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return self._positions

    def seen_ends(self) -> Mapping[TopicPartition, int]:
        """Return the end of each partition in the last answer."""
        return self._seen_ends

    def end_asked(self, at: TopicPartition) -> float | None:
        """Return when that was asked."""
        return self._ends_asked.get(at)

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return the leader epoch of what was read last of each partition."""
        return self._epochs

    def claimants(self) -> Mapping[TopicPartition, AbstractSet[int]]:
        """Return the producers whose control records were passed."""
        return self._claimants

    async def close(self) -> None:
        """Nothing to give back."""
