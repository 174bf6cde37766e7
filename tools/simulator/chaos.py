"""Chaos: the faults of a run that come at a time of their own, whoever is doing what."""

import itertools
from collections.abc import Mapping, Sequence
from random import Random

from exactstage.checkpoint import RESERVED, decode_checkpoint
from exactstage.log import NO_HEADERS, Record, TopicPartition
from exactstage.partitioner import partition_of

from .faults import TIMED_KINDS, Fault, Kind, Point
from .world import SESSION_TIMEOUT_SECONDS, World

_MOST_OF_A_KIND = 12
_RETENTION_MS = 6 * 3_600_000
"""More than any outage here: a worker that is gone for longer loses what it has not read."""

_COMPACTION_LAG_MS = 1000
"""The topics ask for a minute; the ring of checkpoints has to do without it."""

_TOMBSTONES_MS = 86_400_000
_LONGEST_CLOCK_JUMP_SECONDS = 2 * 3600.0
_LONGEST_WORKER_CLOCK_JUMP_SECONDS = 2 * 86_400.0
"""Nothing goes by their clocks."""
_LONGEST_CUT_SECONDS = 30.0
CHAOS = "chaos"

_KILLED_FIRST = 0.7
"""Share of the losses of commands that their owners do not live to see."""

_GROWN_AT_ONCE = 0.7
"""Share of the losses of commands after which as many come in before a worker looks."""


def draw_timed_faults(
    random: Random, rates: Mapping[Kind, float], seconds: float
) -> list[tuple[float, Fault]]:
    """Return the timed faults of one run with their times."""
    found: list[tuple[float, Kind, float]] = []
    for kind in TIMED_KINDS:
        if kind in rates:
            count = 1 + int(random.random() * rates[kind] * _MOST_OF_A_KIND)
            found += [(random.random() * seconds, kind, random.random()) for _ in range(count)]
    found.sort()
    return [
        (time, Fault(Point(CHAOS, number), kind, size))
        for number, (time, kind, size) in enumerate(found)
    ]


def schedule(world: World, timed: Sequence[tuple[float, Fault]]) -> None:
    """Let each fault strike at its time."""
    for time, fault in timed:
        world.loop.in_no_process(time, strike, world, fault)


def strike(world: World, fault: Fault) -> None:
    """Inject one fault."""
    if world.faults.is_over:
        return
    world.faults.note(fault)
    world.trace.note("fault", str(fault))
    _STRIKES[fault.kind](world, fault.size)


def _leader_change(world: World, size: float) -> None:
    world.trace.note("brokers", world.brokers.move_leader(size))


def _compaction(world: World, size: float) -> None:
    journals = list(dict.fromkeys(world.shape.subject.inputs.values()))
    gone = world.brokers.compact(
        journals, size, lag_ms=_COMPACTION_LAG_MS, tombstones_ms=_TOMBSTONES_MS
    )
    world.trace.note("compaction", f"{gone} records are gone")


def _retention(world: World, _size: float) -> None:
    gone = world.brokers.retain(list(world.shape.subject.inputs), _RETENTION_MS)
    world.trace.note("retention", f"{gone} records are gone")


def _rebalance(world: World, _size: float) -> None:
    world.group.rebalance()


def _two_owners(world: World, _size: float) -> None:
    world.group.gives_one_twice = True
    world.group.rebalance()


def _lost_heartbeats(world: World, size: float) -> None:
    """Let the group forget a member that goes on working."""
    if names := sorted(worker.process.name for worker in world.workers.values()):
        world.group.deafen(names[int(size * len(names))], SESSION_TIMEOUT_SECONDS * (1 + size))


def _cut_off(world: World, size: float) -> None:
    if names := sorted(worker.process.name for worker in world.workers.values()):
        seconds = _LONGEST_CUT_SECONDS * ((size * 97) % 1)
        world.trace.note("network", f"{names[int(size * len(names))]} for {seconds:.3f} s")
        world.network.cut_off(names[int(size * len(names))], seconds)


def _clock_jump(world: World, size: float) -> None:
    names = ["brokers", *world.machines]
    name = names[int(size * len(names))]
    longest_seconds = (
        _LONGEST_CLOCK_JUMP_SECONDS if name == "brokers" else _LONGEST_WORKER_CLOCK_JUMP_SECONDS
    )
    seconds = longest_seconds * (2 * ((size * 97) % 1) - 1) ** 3
    world.clock_offsets_ms[name] = int(seconds * 1000)
    world.trace.note("clock", f"{name} is {seconds:+.3f} s off")


def _stop(world: World, size: float) -> None:
    machines = list(world.machines.values())
    machines[int(size * len(machines))].restart()


def _scale(world: World, size: float) -> None:
    world.scale(1 + int(size * len(world.machines)))


def _lost_tail(world: World, size: float) -> None:
    """Let a partition lose its last batches, mostly while its owner is down."""
    brokers, subject = world.brokers, world.shape.subject
    changelogs = list(dict.fromkeys(subject.inputs.values()))
    topics = [*changelogs, *subject.public, *subject.inputs]
    topic = topics[int(size * 97 % 1 * len(topics))]
    at = TopicPartition(topic, int(size * 89 % 1 * world.shape.partitions))
    from_clients = topic in subject.public_inputs
    if not from_clients or size * 83 % 1 < _KILLED_FIRST:
        for machine in world.machines.values():
            # Messages have many writers, each of which would end at its next append there.
            writes = topic in subject.inputs and not from_clients
            if machine.worker is not None and (writes or machine.worker.serves(at.partition)):
                machine.kill()
    end = brokers.partitions[at].end
    lost = brokers.lose_tail(at, 1 + int(size * 4))
    cut = brokers.partitions[at].end
    world.may_have_lost = world.may_have_lost or lost > 0
    world.trace.note("brokers", f"{at} has lost its last {lost} records")
    if not lost:
        return
    if from_clients and size * 79 % 1 < _GROWN_AT_ONCE:
        _write_anew(world, at, lost + 1)
    if topic in subject.inputs:
        journal = TopicPartition(subject.inputs[topic], at.partition)
        position = _handled(brokers.partitions[journal].records, topic)
        world.lost_handled = world.lost_handled or cut < position
        # Nobody knows of a message that nobody has read, once a newer one has come.
        unread = not from_clients and position < end
        world.may_wait = world.may_wait or unread
    elif topic in changelogs and world.shape.local_delivery:
        # What was delivered locally is in no log: that a receiver has lost it is surely noticed
        # only where the next owner takes over its senders too.
        world.may_wait = world.may_wait or world.shape.partitions > 1


def _write_anew(world: World, at: TopicPartition, count: int) -> None:
    """Let so many commands come in before any worker looks."""
    names = (b"anew-%d" % number for number in itertools.count())
    keys = (name for name in names if partition_of(name, world.shape.partitions) == at.partition)
    value = world.shape.subject.harmless
    records = [(key, value, NO_HEADERS) for key in itertools.islice(keys, count)]
    world.brokers.append(at, world.brokers.new_writer(), 0, records)


def _handled(journal: Sequence[Record], topic: str) -> int:
    """Return where the reader of an input goes on, as its journal says."""
    found = [
        decode_checkpoint(record.value)
        for record in journal
        if record.value is not None and (record.key or b"")[:1] == RESERVED
    ]
    return max(found, key=lambda each: each.n).inputs.get(topic, 0) if found else 0


_STRIKES = {
    Kind.LEADER_CHANGE: _leader_change,
    Kind.COMPACTION: _compaction,
    Kind.RETENTION: _retention,
    Kind.REBALANCE: _rebalance,
    Kind.TWO_OWNERS: _two_owners,
    Kind.LOST_HEARTBEAT: _lost_heartbeats,
    Kind.CUT_OFF: _cut_off,
    Kind.CLOCK_JUMP: _clock_jump,
    Kind.STOP: _stop,
    Kind.SCALE: _scale,
    Kind.LOST_TAIL: _lost_tail,
}
