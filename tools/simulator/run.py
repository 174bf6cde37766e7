"""One run: a world from a seed, a storm in it, faults, then peace, and a look at what is left."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from exactstage.journal import Journal
from exactstage.local_copy import TIMER, LocalCopy
from exactstage.log import TopicPartition

from .chaos import draw_timed_faults, schedule
from .clients import Clients
from .faults import LOSING_RUNS, Fault, Faults, Kind, Point, draw_rates
from .invariants import fold, out_of_order
from .loop import SimulatedLoop, Stuck
from .payments_subject import draw_payments
from .shape import Shape, draw_shape
from .storm import all_ways, draw_commands, draw_weather, probes
from .subject import Command, DrawSubject, Remains
from .trace import Trace
from .words_subject import draw_words
from .world import World

SUBJECTS: dict[str, DrawSubject] = {"payments": draw_payments, "words": draw_words}
"""What may be simulated, by the name of the option ``--subject``."""

RUN_COMMANDS = 400
"""Commands of one run: many short runs find more than a few long ones."""

QUIET_LIMIT_SECONDS = 180.0
"""After the last fault everything is answered within this: sessions, requests and claims that have
to time out first are a part of it."""

_LOOK_SECONDS = 0.5
_MOST_FINDINGS = 20


class Story(NamedTuple):
    """What makes a run: its seed, the commands, and the faults. Less of it is another story."""

    seed: int
    shape: Shape
    seconds: float
    rates: dict[Kind, float]
    commands: Sequence[Command]
    timed: Sequence[tuple[float, Fault]]
    points: Sequence[Fault] | None = None
    """Faults at points; None to draw them by the rates."""

    has_disks: bool = False
    """Whether workers have their rows on disk."""


@dataclass
class Outcome:
    """What came of a run."""

    findings: list[str]
    hash: str
    commands: int
    seconds: float
    takeovers: int
    copies_thrown_away: int
    injected: list[Fault]
    failures: Counter[str] = field(default_factory=Counter)
    lines: Sequence[str] = ()


def draw_story(
    seed: int,
    commands: int,
    hours: float,
    losing_runs: float = LOSING_RUNS,
    subject: str = "payments",
    *,
    has_disks: bool = False,
) -> Story:
    """Return the story of a seed."""
    random = Random(f"story {seed}")
    weather = draw_weather(random, hours * 3600)
    shape = draw_shape(random, weather.seconds, SUBJECTS[subject])
    rates = draw_rates(random, losing_runs)
    storm = draw_commands(random, weather, commands, shape.subject, shape.partitions, str(seed))
    timed = draw_timed_faults(random, rates, weather.seconds)
    return Story(seed, shape, weather.seconds, rates, storm, timed, has_disks=has_disks)


def play(story: Story, lines: int = 0) -> Outcome:
    """Run a story to its end; keep its last lines."""
    logging.disable(logging.CRITICAL)  # What workers say is in the trace, where it matters.
    seed = str(story.seed)
    loop = SimulatedLoop(Random(f"{seed} loop").random)
    trace = Trace(loop.time, lines)
    faults = Faults(Random(f"{seed} faults"), story.rates, story.points)
    world = World(loop, seed, story.shape, faults, trace, has_disks=story.has_disks)
    schedule(world, story.timed)
    gc.disable()  # What is freed at a moment of its choice would make two runs differ.
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_live(world, story))
    except Stuck:
        world.findings.append("nothing was left to do before all was quiet")
    finally:
        asyncio.set_event_loop(None)
        for machine in world.machines.values():
            machine.turn_off_for_good()
        loop.close()
        gc.enable()
        logging.disable(logging.NOTSET)
    trace.note("end", "; ".join(world.findings) or "all is well")
    return Outcome(
        findings=(world.findings + loop.defects)[:_MOST_FINDINGS],
        hash=trace.hash,
        commands=len(story.commands),
        seconds=loop.time(),
        takeovers=world.takeovers + sum(w.takeovers for w in world.workers.values()),
        copies_thrown_away=sum(
            machine.disk.thrown_away
            for machine in world.machines.values()
            if machine.disk is not None
        ),
        injected=faults.injected,
        failures=world.failures,
        lines=list(trace.lines),
    )


async def _live(world: World, story: Story) -> None:
    """Let the storm pass, heal, wait for quiet, and judge."""
    clients, installed = Clients(world), (world.shape.subject, world.shape.partitions)
    clients.schedule(story.commands)
    world.scale(story.shape.workers)
    await asyncio.sleep(story.seconds)
    while clients.unfinished:  # noqa: ASYNC110 - time here is made, not waited for
        await asyncio.sleep(_LOOK_SECONDS)
    world.heal()
    await _until_quiet(world, "the last fault")
    # A stale owner that has nothing to do is found out by the next record: so each gets one.
    clients.schedule(probes(*installed, world.loop.time()))
    await asyncio.sleep(_LOOK_SECONDS)
    await _until_quiet(world, "the last command")
    if world.may_have_lost and not world.has_noticed:
        # A loss is noticed at the next message from each sender to each receiver, if not before.
        clients.schedule(all_ways(*installed, world.loop.time()))
        await asyncio.sleep(_LOOK_SECONDS)
        await _until_quiet(world, "the last command")
    if world.lost_handled and not world.has_noticed:
        # Who was alive need not have met a record that came later: but its next owner must see it.
        for machine in world.machines.values():
            machine.restart()
        await asyncio.sleep(_LOOK_SECONDS)
        await _until_quiet(world, "the last restart")
        if not world.has_noticed:
            world.findings.append("an input has lost what was handled, and nobody has noticed")
    if not world.has_noticed:
        world.findings += _judge(world)


async def _until_quiet(world: World, since: str) -> None:
    end = world.loop.time() + QUIET_LIMIT_SECONDS
    while not world.has_noticed and (noise := _noise(world)):
        if world.loop.time() > end:
            world.findings.append(f"not quiet {QUIET_LIMIT_SECONDS:.0f} s after {since}:")
            world.findings += noise
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _noise(world: World) -> list[str]:
    """Return what is still going on: nothing when every partition is owned, read and published."""
    found: list[str] = []
    owners: Counter[int] = Counter()
    if not world.group.is_settled:
        found.append("the group shares the partitions out")
    for worker in world.workers.values():
        name = worker.process.name
        owners.update(worker.owned)
        if worker.owned and not worker.engine.is_idle:
            found.append(f"{name} still publishes")
        for journal in worker.journals:
            for topic, offset in journal.inputs.items():
                held = world.brokers.partitions[TopicPartition(topic, journal.partition)]
                if offset != held.end:
                    found.append(f"{name}: {held.at} read to {offset} of {held.end}")
            if not journal.published_on_record:
                found.append(f"{name}: {journal} has not written what is published")
    return found + [
        f"partition {partition} has {owners[partition]} owners"
        for partition in range(world.shape.partitions)
        if owners[partition] != 1
    ]


def _judge(world: World) -> list[str]:
    """Return what is wrong with what the run has left."""
    partitions, found = world.brokers.partitions, []
    history = {
        at: [record for record in records if not partitions[at].is_aborted(record.offset)]
        for at, records in world.brokers.history.items()
    }
    for worker in world.workers.values():
        for journal in worker.journals:
            left = partitions[journal.at].records
            if not dict(journal.all_rows) == fold(history[journal.at]) == fold(left):
                found.append(f"{journal.at}: the rows in memory are not those of the journal")
            if journal.local is not None:
                found += _wrong_on_disk(world, journal, journal.local.copy)
            history[journal.at] = left
    found += out_of_order(history, world.shape.subject.public)
    appended, latest_ms = world.brokers.history, world.brokers.latest_ms
    remains = Remains(history, appended, latest_ms, may_wait=world.may_wait)
    return [*found, *world.shape.subject.violations(remains)]


def _wrong_on_disk(world: World, journal: Journal, copy: LocalCopy) -> list[str]:
    """Return what of a local copy is not what its rows say."""
    found, rows = list[str](), dict(journal.all_rows)
    stage = next(each for each in world.shape.subject.stages() if each.name == journal.stage)
    if (is_open := stage.keeps_open) is not None:
        wanted = {key: row for key, row in rows.items() if is_open(key, row)}
        if dict(copy.kept()) != wanted:
            found.append(f"{journal.at}: the open rows on disk are not those of the journal")
    if stage.timers is not None:
        there = {(time_ms, key) for _, time_ms, key in copy.timers(TIMER)}
        times = [known[-1] for known in world.brokers.latest_ms.values() if known]
        later_ms = max([*times, world.brokers.now_ms()])
        wants = {(ms, key) for key, row in rows.items() for ms in stage.timers(key, row)}
        if missing := {timer for timer in wants - there if timer[0] > later_ms}:
            found.append(f"{journal.at}: {len(missing)} timers are not on disk")
    return found


def replayed(story: Story, outcome: Outcome) -> Story:
    """Return the story with the faults that struck in a run of it, instead of rates."""
    at_points = [fault for fault in outcome.injected if fault.point not in _timed_points(story)]
    return story._replace(points=at_points)


def _timed_points(story: Story) -> set[Point]:
    return {fault.point for _, fault in story.timed}
