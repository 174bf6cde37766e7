"""The brokers' time: told with appends, carried on by the time that passes, whatever a clock says.

Faults: this machine's clock is wrong or jumps, brokers differ, answers come late. With workers as
processes under a wrong clock: ``tests/broker/test_clocks``.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from exactstage.clock import BrokerClock
from exactstage.errors import FailStop
from exactstage.limits import Limits
from exactstage.log import Batch, Channel, TopicPartition

from .harness import CrashingLog, Worker, new_log

START_MS = 1_767_225_600_000
DAYS_MS = 86_400_000


class Machine:
    """A machine with its two clocks."""

    def __init__(self) -> None:
        self.seconds = 5000.0
        self.wall_ms = START_MS
        self.clock = BrokerClock(monotonic=lambda: self.seconds, wall_ms=lambda: self.wall_ms)

    def passes(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self.seconds += seconds
        self.wall_ms += int(seconds * 1000)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("off_ms", [0, 2 * DAYS_MS, -2 * DAYS_MS])
def test_time_is_what_a_broker_stated_and_what_has_passed_since(
    machine: Machine, off_ms: int
) -> None:
    machine.wall_ms += off_ms
    machine.clock.heard(START_MS)
    machine.passes(1.5)
    assert machine.clock() == START_MS + 1500
    machine.wall_ms += 7 * DAYS_MS  # The machine's clock is set.
    machine.passes(1.5)
    assert machine.clock() == START_MS + 3000
    assert machine.clock.age_seconds == pytest.approx(3.0)


def test_time_stands_still_until_a_broker_that_is_behind_has_caught_up(machine: Machine) -> None:
    machine.clock.heard(START_MS + 4000)
    assert machine.clock() == START_MS + 4000
    machine.clock.heard(START_MS)
    assert machine.clock() == START_MS + 4000
    machine.passes(3)
    assert machine.clock() == START_MS + 4000
    machine.passes(2)
    assert machine.clock() == START_MS + 5000


def test_new_records_have_the_machine_s_time_only_until_a_broker_has_stated_its_own(
    machine: Machine,
) -> None:
    machine.wall_ms += 2 * DAYS_MS
    assert machine.clock.stamp_ms() == START_MS + 2 * DAYS_MS
    machine.clock.heard(START_MS)
    assert machine.clock.stamp_ms() == START_MS


def test_a_difference_is_logged_once_and_again_when_it_has_changed_much(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[int] = []
    for off_seconds in (0, 4, 7200, 7201, 7300, 172_800, 172_801, -60, -61, 0, 1):
        machine.clock.heard(machine.wall_ms - off_seconds * 1000, machine.wall_ms)
        assert machine.clock.difference_seconds == off_seconds
        told.append(len(caplog.records))
    assert told == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    lines = [record.getMessage() for record in caplog.records]
    assert "7200 s ahead of the brokers': 2026-01-01T00:00:00.000Z here, 2025-12-31T22" in lines[0]
    assert "60 s behind the brokers'" in lines[2]
    assert "agrees with the brokers' again" in lines[3]


def test_an_answer_that_took_long_is_no_difference(machine: Machine) -> None:
    asked_ms = machine.wall_ms
    machine.passes(40)  # The process was frozen, or the broker.
    machine.clock.heard(START_MS + 1000, asked_ms)
    assert machine.clock.difference_seconds == 0.0


class SilentClock:
    """A log's clock whose last answer is old, until an append refreshes it."""

    difference_seconds = 0.0

    def __init__(self) -> None:
        self.age_seconds = 0.0

    def __call__(self) -> int:
        """Return some time."""
        return START_MS

    def stamp_ms(self) -> int:
        """Return the same time, for what only has to be recorded."""
        return START_MS


class TellingLog(CrashingLog):
    """A log that tells its time with each append, as long as ``tells`` says so."""

    tells = True

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append, and tell the time."""
        offsets = await super().append(batches, channel)
        if self.tells:
            cast("SilentClock", self.clock).age_seconds = 0.0
        return offsets


async def idle_worker(
    *, time_seconds: float = 60.0, rest_seconds: float = 60.0
) -> tuple[TellingLog, SilentClock, Worker]:
    _, stage = new_log()
    log, clock = TellingLog(stage), SilentClock()
    log.clock = clock  # type: ignore[assignment]
    limits = Limits(
        tick_seconds=0.01,
        idle_seconds=0.02,
        time_seconds=time_seconds,
        rest_seconds=rest_seconds,
    )
    worker = Worker(log, stage, limits)
    return log, clock, await worker.start()


async def settled(log: TellingLog, worker: Worker) -> int:
    """Wait until nothing is appended for a moment; return how many records there are."""
    async with asyncio.timeout(60):
        while not worker.engine.is_idle:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    return len(log.records(worker.stage.changelog))


async def test_an_idle_worker_asks_for_the_time_by_one_checkpoint() -> None:
    log, clock, worker = await idle_worker()
    before = await settled(log, worker)
    clock.age_seconds = 61.0
    async with asyncio.timeout(60):
        while clock.age_seconds:
            await log.grown(0.01)
    assert await settled(log, worker) == before + 1
    await worker.stop()


async def test_a_worker_ends_when_the_brokers_state_no_time_any_more() -> None:
    log, clock, worker = await idle_worker()
    log.tells, clock.age_seconds = False, 61.0
    async with asyncio.timeout(60):
        await worker.ended.wait()
    assert isinstance(worker.failure, FailStop)
    assert "payments topics apply" in str(worker.failure)
    await worker.kill()


async def test_a_journal_that_rests_is_closed_off_in_growing_pauses() -> None:
    log, _, worker = await idle_worker(rest_seconds=0.05)
    loop = asyncio.get_running_loop()
    before, began = await settled(log, worker), loop.time()
    async with asyncio.timeout(60):
        # Three partitions, each after 0.05, 0.15 and 0.35 seconds.
        while len(log.records(worker.stage.changelog)) < before + 9:
            await log.grown(0.01)
    assert loop.time() - began > 0.3
    assert not worker.engine.owned.of(worker.stage.name)[0].rows
    await worker.stop()
