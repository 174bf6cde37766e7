"""What the engine relies on: all logs, in memory, simulated and on a broker, keep their word."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from copy import deepcopy
from random import Random
from typing import TYPE_CHECKING, cast

import pytest

from exactstage.clock import BrokerClock, wall_clock_ms
from exactstage.errors import FailStop, Fenced, PositionLost
from exactstage.kafka import KafkaLog
from exactstage.log import (
    NO_HEADERS,
    Batch,
    Channel,
    Header,
    Log,
    Reader,
    Record,
    TopicPartition,
    Writer,
    unread,
)
from exactstage.memory import MemoryLog
from tests.broker_fixture import Installations
from tools.simulator.brokers import Brokers
from tools.simulator.faults import Faults
from tools.simulator.log import SimulatedLog
from tools.simulator.network import Network
from tools.simulator.trace import Trace

if TYPE_CHECKING:
    from tools.simulator.loop import Process, SimulatedLoop

TOPIC, OTHER = "payments.dead-letters", "accounts.dead-letters"
PARTITIONS = 2
LIMIT_SECONDS = 60.0


class Trial:
    """A log with two topics to try it on."""

    def __init__(self, log: Log, prefix: str) -> None:
        self.log = log
        self.at = TopicPartition(prefix + TOPIC, 0)
        self.next = TopicPartition(prefix + TOPIC, 1)
        self.other = TopicPartition(prefix + OTHER, 0)
        self.name = f"{prefix}name"

    async def append(self, writer: Writer, *values: bytes, at: TopicPartition | None = None) -> int:
        """Append one batch; return the offset of its first record."""
        at = at or self.at
        records = [(b"key", value, NO_HEADERS) for value in values]
        return (await self.log.append([Batch(at, writer, records)], Channel.JOURNAL))[at]

    async def read(self, at: TopicPartition, *, committed_only: bool = False) -> list[bytes | None]:
        """Return the values of a partition."""
        reader = await self.log.open_reader(committed_only=committed_only)
        try:
            return await self.read_with(reader, at)
        finally:
            await reader.close()

    async def read_with(self, reader: Reader, at: TopicPartition) -> list[bytes | None]:
        """Read a partition from its beginning to its end."""
        bounds = (await self.log.bounds([at]))[at]
        reader.assign({at: bounds.first})
        found: list[bytes | None] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while reader.positions()[at] < bounds.end:
                for records in (await reader.fetch(timeout_seconds=0.2)).values():
                    found += [record.value for record in records]
        return found


class RealTime:
    """Stands for the simulation's loop, so that the simulated log can be tried like the others."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.time, self.create_future, self._call_at = loop.time, loop.create_future, loop.call_at

    def in_no_process(
        self, when: float, callback: Callable[..., object], *arguments: object
    ) -> asyncio.TimerHandle:
        """Call back at a time."""
        return self._call_at(when, callback, *arguments, context=Context())


def simulated_log() -> SimulatedLog:
    loop = cast("SimulatedLoop", RealTime())
    faults = Faults(Random(1), {})
    brokers = Brokers(
        loop,
        Random(2),
        faults,
        Trace(loop.time, 0),
        topics=[TOPIC, OTHER],
        partitions=PARTITIONS,
        nodes=2,
        fetch_records=100,
        clock_ms=wall_clock_ms,
    )
    network = Network(
        loop, Random(3), faults, latency_seconds=0.0005, request_timeout_seconds=LIMIT_SECONDS
    )
    process = cast("Process", RunningProcess())
    clock = BrokerClock(monotonic=loop.time)
    return SimulatedLog(
        process, brokers, network, clock=clock, delivery_timeout_seconds=LIMIT_SECONDS
    )


class RunningProcess:
    """Stands for a process that nothing happens to."""

    name, is_alive = "trial", True


@pytest.fixture(params=["memory", "simulated", pytest.param("kafka", marks=pytest.mark.kafka39)])
async def trial(request: pytest.FixtureRequest) -> AsyncIterator[Trial]:
    log: Log
    if request.param == "memory":
        log, prefix = MemoryLog([TOPIC, OTHER], PARTITIONS), ""
    elif request.param == "simulated":
        log, prefix = simulated_log(), ""
    else:
        # pytest-asyncio can't set up an async fixture from within another one.
        broker = request.getfixturevalue("broker")
        installations = Installations(broker.bootstrap)
        settings = await installations.make(partitions=PARTITIONS)
        log, prefix = KafkaLog(settings.connection()), settings.topic_prefix
    trial = Trial(log, prefix)
    await log.start([prefix + TOPIC, prefix + OTHER])
    yield trial
    await log.close()
    if request.param == "kafka":
        await installations.remove_all()


async def test_a_batch_is_read_as_it_was_appended(trial: Trial) -> None:
    writer = await trial.log.new_writer()
    assert await trial.append(writer, b"a", b"b") == 0
    assert await trial.append(writer, b"c") == 2
    assert await trial.read(trial.at) == [b"a", b"b", b"c"]


async def test_keys_values_and_headers_come_back_untouched(trial: Trial) -> None:
    writer = await trial.log.new_writer()
    headers: list[Header] = [("name", b"\x00\xff"), ("name", None), ("name", b"")]
    record = (None, b"\xff\x00", headers)
    await trial.log.append([Batch(trial.at, writer, [record])], Channel.PUBLISH)
    reader = await trial.log.open_reader(committed_only=True)
    reader.assign({trial.at: 0})
    [found] = (await reader.fetch(timeout_seconds=LIMIT_SECONDS))[trial.at]
    await reader.close()
    assert (found.key, found.value, list(found.headers)) == (None, b"\xff\x00", headers)
    assert (found.topic, found.partition, found.offset) == (*trial.at, 0)


async def test_batches_for_several_partitions_go_in_one_append(trial: Trial) -> None:
    writer = await trial.log.new_writer()
    batches = [
        Batch(at, writer, [(b"key", b"v", NO_HEADERS)])
        for at in (trial.at, trial.next, trial.other)
    ]
    assert await trial.log.append(batches, Channel.JOURNAL) == {
        trial.at: 0,
        trial.next: 0,
        trial.other: 0,
    }


async def test_a_claim_refuses_older_owners_where_it_fenced(trial: Trial) -> None:
    old = await trial.log.claim(trial.name, [trial.at, trial.other])
    await trial.append(old, b"mine")
    new = await trial.log.claim(trial.name, [trial.at, trial.other])
    for at in (trial.at, trial.other):
        with pytest.raises(Fenced):
            await trial.append(old, b"stale", at=at)
    await trial.append(new, b"later")
    assert await trial.read(trial.at) == [b"mine", b"later"]
    assert await trial.read(trial.at, committed_only=True) == [b"mine", b"later"]


async def test_an_append_of_a_newer_owner_fences_too(trial: Trial) -> None:
    old = await trial.log.claim(trial.name, [trial.at])
    new = await trial.log.claim(trial.name, [trial.at])
    await trial.append(old, b"before", at=trial.other)
    await trial.append(new, b"fence", at=trial.other)
    with pytest.raises(Fenced):
        await trial.append(old, b"stale", at=trial.other)


async def test_a_batch_that_comes_again_is_recognised_by_its_sequence(trial: Trial) -> None:
    writer = await trial.log.new_writer()
    await trial.append(writer, b"first")
    for number in range(5):
        before = deepcopy(writer)
        offset = await trial.append(writer, b"%d" % number)
        assert await trial.append(before, b"%d" % number) == offset
    assert await trial.read(trial.at) == [b"first", b"0", b"1", b"2", b"3", b"4"]


async def test_a_batch_that_is_not_the_next_one_is_refused(trial: Trial) -> None:
    writer = await trial.log.new_writer()
    oldest = deepcopy(writer)
    for number in range(6):
        await trial.append(writer, b"%d" % number)
    with pytest.raises(FailStop):
        await trial.append(oldest, b"more than five batches ago")
    writer.take_sequence(trial.at, 1)
    with pytest.raises(FailStop):
        await trial.append(writer, b"one was left out")


async def test_a_newer_owner_begins_at_sequence_0_where_it_fenced_and_elsewhere(
    trial: Trial,
) -> None:
    old = await trial.log.claim(trial.name, [trial.at])
    for at in (trial.at, trial.other):
        await trial.append(old, b"old", at=at)
    new = await trial.log.claim(trial.name, [trial.at])
    late = deepcopy(new)
    late.take_sequence(trial.other, 1)
    with pytest.raises(FailStop):
        await trial.append(late, b"not the first of its epoch", at=trial.other)
    for at in (trial.at, trial.other):
        await trial.append(new, b"new", at=at)
        assert await trial.read(at) == [b"old", b"new"]


async def test_claims_of_other_names_do_not_matter(trial: Trial) -> None:
    mine = await trial.log.claim(trial.name, [trial.at])
    await trial.log.claim(trial.name + "-other", [trial.at])
    await trial.append(mine, b"still mine")
    assert await trial.read(trial.at) == [b"still mine"]


async def test_a_claim_is_renewed_beside_appends_and_lost_to_another(trial: Trial) -> None:
    writer = await trial.log.claim(trial.name, [trial.at])

    async def renew() -> None:
        for _ in range(5):
            await trial.log.renew(trial.name, writer, [trial.at, trial.other])

    async def write() -> None:
        for number in range(20):
            await trial.append(writer, b"%d" % number)

    await asyncio.gather(renew(), write())
    assert await trial.read(trial.at) == [b"%d" % number for number in range(20)]
    await trial.log.claim(trial.name, [trial.at])
    with pytest.raises(Fenced):
        await trial.log.renew(trial.name, writer, [trial.at])


async def test_control_records_take_offsets_but_are_not_shown(trial: Trial) -> None:
    await trial.log.claim(trial.name, [trial.at])
    bounds = (await trial.log.bounds([trial.at]))[trial.at]
    assert bounds.end > bounds.first == 0
    assert await trial.read(trial.at) == []


async def test_a_reader_with_ends_waits_for_nothing_behind_them(trial: Trial) -> None:
    writer = await trial.log.claim(trial.name, [trial.at, trial.next])
    await trial.append(writer, b"a", b"b")
    bounds = await trial.log.bounds([trial.at, trial.next])
    ends = {at: held.end for at, held in bounds.items()}
    await trial.append(writer, b"behind")
    reader = await trial.log.open_reader(committed_only=False)
    reader.assign(dict.fromkeys(ends, 0), ends=ends)
    found: list[Record] = []
    async with asyncio.timeout(LIMIT_SECONDS):
        while unread(reader.positions(), ends):
            # Control records alone are passed and not returned.
            for records in (await reader.fetch(timeout_seconds=3600)).values():
                found += records
        assert await reader.fetch(timeout_seconds=3600) == {}
    await reader.close()
    assert [r.value for r in found if r.offset < ends[trial.at]] == [b"a", b"b"]


async def test_a_position_past_the_end_is_an_error(trial: Trial) -> None:
    reader = await trial.log.open_reader(committed_only=False)
    reader.assign({trial.at: 1000})
    with pytest.raises(PositionLost):
        await reader.fetch(timeout_seconds=LIMIT_SECONDS)
    await reader.close()


async def test_a_reader_follows_what_is_appended_and_can_be_assigned_anew(trial: Trial) -> None:
    writer = await trial.log.new_writer()
    reader = await trial.log.open_reader(committed_only=True)
    reader.assign({trial.at: 0, trial.next: 0})
    assert await reader.fetch(timeout_seconds=0.1) == {}
    await trial.append(writer, b"a", at=trial.next)
    fetched = await reader.fetch(timeout_seconds=LIMIT_SECONDS)
    assert [record.value for record in fetched[trial.next]] == [b"a"]
    await trial.append(writer, b"b", at=trial.other)
    reader.assign({trial.other: 0})
    fetched = await reader.fetch(timeout_seconds=LIMIT_SECONDS)
    assert {at: [r.value for r in records] for at, records in fetched.items()} == {
        trial.other: [b"b"]
    }
    await reader.close()


async def test_a_topic_that_is_not_there_is_an_error(trial: Trial) -> None:
    assert trial.log.partition_count(trial.at.topic) == PARTITIONS
    with pytest.raises(FailStop, match="there is no topic nowhere"):
        trial.log.partition_count("nowhere")


async def test_a_leader_epoch_ends_where_its_partition_does_until_another_leader_comes(
    trial: Trial,
) -> None:
    writer = await trial.log.new_writer()
    await trial.append(writer, b"a", b"b")
    await trial.append(writer, b"c", at=trial.other)
    reader = await trial.log.open_reader(committed_only=True)
    reader.assign({trial.at: 0, trial.next: 0, trial.other: 0}, {})
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(reader.epochs()) < 2:
            await reader.fetch(timeout_seconds=0.2)
    epochs = dict(reader.epochs())
    await reader.close()
    assert epochs.keys() == {trial.at, trial.other}, "nothing is known of what was not read"
    assert await trial.log.epoch_ends(epochs) == {trial.at: 2, trial.other: 1}
    later = {at: epoch + 99 for at, epoch in epochs.items()}
    assert await trial.log.epoch_ends(later) == {}, "a leader can't tell of what comes after it"
