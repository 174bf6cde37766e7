"""The brokers: the log's partitions behind a network, with leaders, and a coordinator of claims.

The rules are those of ``exactstage.memory``; here is what takes time at a broker: control
records that are written after the end of a transaction was answered, fetches that are held until
something comes, transactions that nobody ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from exactstage.errors import FailStop
from exactstage.log import NewRecord, Record, TopicPartition, Writer
from exactstage.memory import Concurrent, Coordinator, MemoryPartition

from .faults import Fault, Faults, Kind
from .loop import SimulatedLoop
from .network import Reply, Retriable
from .trace import Trace

if TYPE_CHECKING:
    from asyncio import TimerHandle

TRANSACTION_TIMEOUT_SECONDS = 60.0
"""As the engine's claims ask for (``exactstage/kafka/claims.py``)."""

SECOND_HALF = 0.5


class Sent(NamedTuple):
    """A batch on its way, with the sequence number that it keeps over all retries."""

    at: TopicPartition
    writer: Writer
    sequence: int
    records: Sequence[NewRecord]


class Fetched(NamedTuple):
    """What a fetch brings of one partition, as the headers of its batches tell it."""

    records: Sequence[Record]
    position: int
    """Where the next fetch goes on."""

    first_epoch: int
    """Leader epoch of its first record."""

    last_epoch: int
    claimants: set[int]
    """Producers of the control records among them."""


class Answer(NamedTuple):
    """The answer to a fetch."""

    found: Mapping[TopicPartition, Fetched]
    """The partitions that have something."""

    ends: Mapping[TopicPartition, int]
    """Of all that were asked for."""


class Brokers:
    """A cluster; each partition has one leader at a time."""

    def __init__(
        self,
        loop: SimulatedLoop,
        random: Random,
        faults: Faults,
        trace: Trace,
        *,
        topics: Iterable[str],
        partitions: int,
        nodes: int,
        fetch_records: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._loop, self._random, self._faults, self._trace = loop, random, faults, trace
        self._fetch_records = fetch_records
        self._nodes = nodes
        self.now_ms = clock_ms
        addresses = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
        self.partitions = {at: MemoryPartition(at, clock_ms) for at in addresses}
        self.leaders = {at: at.partition % nodes for at in addresses}
        self.history: dict[TopicPartition, list[Record]] = {at: [] for at in addresses}
        """Everything that was ever appended, whatever was deleted since."""
        self.latest_ms: dict[TopicPartition, list[float]] = {at: [] for at in addresses}
        """For each record of the history, the latest time that a worker can have had by then."""
        self._latest_ms, self._latest_at = 0.0, loop.time()
        self._batches: dict[TopicPartition, list[int]] = {at: [] for at in addresses}
        """First offset of each batch."""
        self._coordinator = Coordinator()
        self._held: list[_HeldFetch] = []
        self.partition_counts = {at.topic: partitions for at in addresses}

    # --- what requests ask for -------------------------------------------------------------------

    def produce(
        self, node: int, batches: Sequence[Sent], fault: Fault | None
    ) -> Mapping[TopicPartition, int | Exception]:
        """Append each batch whole, or say why not; a fault leaves some of them out."""
        answer: dict[TopicPartition, int | Exception] = {}
        for batch in batches:
            if self.leaders[batch.at] != node:
                answer[batch.at] = Retriable("another node leads the partition")
            elif fault is not None and self._random.random() < SECOND_HALF:
                answer[batch.at] = Retriable("the broker says: try again")
            else:
                answer[batch.at] = self._produce_one(batch)
        return answer

    def _produce_one(self, batch: Sent) -> int | Exception:
        at, writer, sequence, records = batch
        try:
            return self.append(at, writer, sequence, records)
        except FailStop as refusal:
            self._trace.note("refused", f"{at} from epoch {writer.epoch}: {refusal}")
            return refusal

    def append(
        self,
        at: TopicPartition,
        writer: Writer,
        sequence: int,
        records: Sequence[NewRecord],
        *,
        in_transaction: bool = False,
    ) -> int:
        """Append one batch. Raises ``Fenced`` and ``FailStop``."""
        partition = self.partitions[at]
        before = partition.end
        offset = partition.append(writer, sequence, records, in_transaction=in_transaction)
        if offset < before:
            self._trace.note("repeat", at.address(offset))
            return offset
        self._batches[at].append(offset)
        new = partition.records[-len(records) :]
        self.history[at] += new
        # A worker's clock goes on from a time that it was told, also when the brokers' jumps back.
        passed_ms = (self._loop.time() - self._latest_at) * 1000
        self._latest_ms = max(self.now_ms(), self._latest_ms + passed_ms)
        self._latest_at = self._loop.time()
        self.latest_ms[at] += [self._latest_ms] * len(new)
        self._trace.appended(at, writer, new)
        self._wake(at)
        return offset

    def new_writer(self) -> Writer:
        """Return a plain writer."""
        return self._coordinator.new_writer()

    def initialise(self, name: str) -> Writer | Exception:
        """Raise the epoch of a name."""
        try:
            return self._coordinator.initialise(name)
        except Concurrent:
            self._write_markers(name)
            return Retriable("a transaction of it is not finished")

    def add(self, name: str, writer: Writer, at: Sequence[TopicPartition]) -> Exception | None:
        """Add partitions to a transaction; nobody's transaction stays open for ever."""
        try:
            self._coordinator.add(name, writer, at)
        except Concurrent:
            return Retriable("a transaction of it is not finished")
        except FailStop as refusal:
            return refusal
        end = self._loop.time() + TRANSACTION_TIMEOUT_SECONDS
        self._loop.in_no_process(end, self._time_out, name, writer.epoch)
        return None

    def end(self, name: str, writer: Writer, *, commit: bool) -> Exception | None:
        """Answer the end of a transaction at once, and write its control records later."""
        try:
            self._coordinator.end(name, writer, commit=commit)
        except Concurrent:
            return Retriable("a transaction of it is not finished")
        except FailStop as refusal:
            return refusal
        self._write_markers(name)
        return None

    def _time_out(self, name: str, epoch: int) -> None:
        if self._coordinator.is_open(name, epoch):
            self._trace.note("transaction timed out", name)
            self._coordinator.abort_open(name)
            self._write_markers(name)

    def _write_markers(self, name: str) -> None:
        odds = [(Kind.SLOW_MARKERS, self._faults.rates.get(Kind.SLOW_MARKERS, 0.0))]
        fault = self._faults.strikes(f"control records of {name}", odds)
        slowest = 0.02 if fault is None else 5.0 * fault.size
        for at in self._coordinator.unmarked(name):
            when = self._loop.time() + self._random.random() * slowest
            self._loop.in_no_process(when, self._mark, name, at)

    def _mark(self, name: str, at: TopicPartition) -> None:
        self._coordinator.mark(name, self.partitions[at])
        self._wake(at)

    def fetch(
        self,
        positions: Sequence[tuple[TopicPartition, int]],
        *,
        committed_only: bool,
        wait_seconds: float,
        reply: Reply,
    ) -> None:
        """Reply with what is there; hold the request while there is nothing."""
        held = _HeldFetch(positions, committed_only=committed_only, reply=reply)
        if not held.answer(self.partitions, self._fetch_records):
            self._held.append(held)
            end = self._loop.time() + wait_seconds
            held.end = self._loop.in_no_process(end, self._give_up, held)

    def _give_up(self, held: "_HeldFetch") -> None:
        self._held.remove(held)
        held.give_up(self.partitions)

    def _wake(self, at: TopicPartition) -> None:
        if any(at in held.at for held in self._held):
            self._held = [
                held
                for held in self._held
                if at not in held.at or not held.answer(self.partitions, self._fetch_records)
            ]

    # --- what happens to them --------------------------------------------------------------------

    def move_leader(self, size: float) -> str:
        """Let another node lead one partition in two; return what was done, for the story."""
        moved = [at for at in self.leaders if self._random.random() < SECOND_HALF]
        step = 1 + int(size * max(0, self._nodes - 2))
        for at in moved:
            self.leaders[at] = (self.leaders[at] + step) % self._nodes
            self.partitions[at].elect()
        return f"{len(moved)} partitions have another leader"

    def compact(
        self, topics: Iterable[str], size: float, *, lag_ms: int, tombstones_ms: int
    ) -> int:
        """Compact up to somewhere before the records that are too young; return what went."""
        now_ms, gone = self.now_ms(), 0
        for at, partition in self.partitions.items():
            if at.topic in topics:
                old = [r.offset for r in partition.records if r.timestamp < now_ms - lag_ms]
                if old:
                    before = old[int(size * (len(old) - 1))] + 1
                    gone += partition.compact(before, now_ms - tombstones_ms)
        return gone

    def lose_tail(self, at: TopicPartition, batches: int) -> int:
        """Lose the last batches of a partition, as by an unclean election; return the records."""
        partition, lost = self.partitions[at], 0
        for _ in range(batches):
            if not self._batches[at]:
                break
            first = self._batches[at].pop()
            lost += partition.truncate(first)
            self.history[at] = [r for r in self.history[at] if r.offset < first]
            del self.latest_ms[at][len(self.history[at]) :]
        return lost

    def retain(self, topics: Iterable[str], retention_ms: int) -> int:
        """Delete the beginning of each partition that is older than the retention."""
        limit_ms, gone = self.now_ms() - retention_ms, 0
        for at, partition in self.partitions.items():
            if at.topic in topics:
                young = (r.offset for r in partition.records if r.timestamp >= limit_ms)
                first = next(young, partition.end)
                gone += first - partition.first
                partition.delete_before(first)
        return gone


class _HeldFetch:
    """A fetch that waits at the broker."""

    def __init__(
        self,
        positions: Sequence[tuple[TopicPartition, int]],
        *,
        committed_only: bool,
        reply: Reply,
    ) -> None:
        self._positions = positions
        self._committed_only = committed_only
        self.at = frozenset(at for at, _ in positions)
        self.reply = reply
        self.end: TimerHandle | None = None

    def answer(self, partitions: Mapping[TopicPartition, MemoryPartition], limit: int) -> bool:
        """Reply with what there is now; False when there is nothing."""
        found: dict[TopicPartition, Fetched] = {}
        try:
            for at, position in self._positions:
                # A fetch is small, but not so small that a long journal is never read to its end.
                most = limit + (partitions[at].end - position) // 10
                records, end = partitions[at].read(
                    position, committed_only=self._committed_only, limit=most
                )
                if end != position:
                    first, last = (partitions[at].epoch_before(n) for n in (position + 1, end))
                    claimants = partitions[at].claimants(position, end)
                    found[at] = Fetched(records, end, first, last, claimants)
        except FailStop as lost:
            self.reply(lost)
        else:
            if not found:
                return False
            self._reply(found, partitions)
        if self.end is not None:
            self.end.cancel()
        return True

    def give_up(self, partitions: Mapping[TopicPartition, MemoryPartition]) -> None:
        """Reply that there is nothing."""
        self._reply({}, partitions)

    def _reply(
        self,
        found: Mapping[TopicPartition, Fetched],
        partitions: Mapping[TopicPartition, MemoryPartition],
    ) -> None:
        self.reply(Answer(found, {at: partitions[at].end for at, _ in self._positions}))
