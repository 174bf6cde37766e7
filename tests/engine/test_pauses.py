"""A process that was paused blames nobody for the time in which it did not run.

Of the same kind: a machine that was suspended, a container that was frozen, an event loop that was
held up by something else in the process.
"""

import asyncio
import logging

import pytest
from aiokafka import errors

from exactstage.errors import FailStop
from exactstage.kafka import connection
from exactstage.kafka.connection import RetryPolicy
from exactstage.pauses import Pauses
from exactstage.readiness import Readiness
from exactstage.troubles import Trouble


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_only_time_without_ticks_is_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    pauses = Pauses(clock)
    assert pauses.within(0.0) == 0.0
    for _ in range(10):
        pauses.tick()
        clock.now += 1.5  # A busy machine.
    assert pauses.within(0.0) == 0.0
    clock.now += 60
    assert pauses.within(0.0) == 0.0, "who has ended its watch lets nobody wait for ever"
    with caplog.at_level(logging.WARNING):
        pauses.tick()
    assert pauses.within(0.0) == pytest.approx(60.5)
    assert pauses.within(clock.now - 10) == pytest.approx(10)
    [line] = caplog.messages
    assert line.startswith("this process did not run for 60 s: it was paused")
    clock.now += 2.0
    pauses.tick()
    assert pauses.within(clock.now - 2.0) == 0.0


async def test_a_broker_is_not_blamed_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    pauses = Pauses(clock)
    monkeypatch.setattr(connection, "PAUSES", pauses)
    pauses.tick()
    retry = RetryPolicy("appending", 60.0)
    error = errors.KafkaConnectionError("closed")
    clock.now += 3600
    pauses.tick()
    retry.require(error)
    for _ in range(61):
        clock.now += 1
        pauses.tick()
    with pytest.raises(FailStop, match="no success after 62 s"):
        retry.require(error)


def test_a_paused_worker_is_ready_again_at_once() -> None:
    clock = Clock()
    pauses = Pauses(clock)
    readiness = Readiness(stall_seconds=10.0, pauses=pauses)
    pauses.tick()
    trouble = Trouble("Kafka does not answer", "a fetch", clock.now)
    clock.now += 300
    pauses.tick()
    assert readiness.look([trouble], clock.now) == []
    for _ in range(10):
        clock.now += 1
        pauses.tick()
    assert len(readiness.look([trouble], clock.now)) == 1


async def test_what_an_ended_watch_left_lets_nobody_retry_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a test bed ran in this process before, or the worker's loop hangs."""
    loop = asyncio.get_running_loop()
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    pauses = Pauses(clock)
    monkeypatch.setattr(connection, "PAUSES", pauses)
    pauses.tick()
    clock.now += 3600
    retry = RetryPolicy("appending", 60.0)
    clock.now += 61
    with pytest.raises(FailStop, match="no success after 61 s"):
        retry.require(errors.KafkaConnectionError("closed"))
    pauses.stop()
    pauses.tick()
    assert pauses.within(0.0) == 0.0
