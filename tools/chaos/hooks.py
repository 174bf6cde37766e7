"""A ``payments worker`` with one place patched, so that it ends or hangs exactly there.

    python -m tools.chaos.hooks claim|fence|positions|close|lapse|poll|thread [seconds]

``claim``, ``fence`` and ``positions`` kill the process (SIGKILL) in its first takeover: after its
first claim, when the journals are fenced and not read, and when all is published again. ``close``
kills it so many seconds after it began to close a window, ``lapse`` after it began to release many
holds that have ended. ``poll`` and ``thread`` wait for a
signal; then the membership is not polled, or its whole thread hangs, for so many seconds.
"""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from exactstage import takeover
from exactstage.hosting import app as hosting
from exactstage.hosting.membership import MembershipThread
from exactstage.journal import Journal
from exactstage.kafka import KafkaLog
from payments.cli import main
from payments.stages.payments import PaymentsLogic
from tools.chaos.fleet import BEGIN, BEGUN

POLL_LIMIT_SECONDS = 6.0
"""Stands in for 1,000 s, after which aiokafka leaves the group when nobody has polled."""


MANY = 20
"""Releases of one piece of a tick that are not those of the everyday storm."""


def die() -> NoReturn:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_after_claim(_seconds: float) -> None:
    """Die when the first claim is there and the others are in flight."""
    init = KafkaLog.__init__

    def with_deadly_claim(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        original = self.claim

        async def claim_and_die(*given: Any) -> NoReturn:
            await original(*given)
            die()

        self.claim = claim_and_die

    _patch(KafkaLog, "__init__", with_deadly_claim)


def die_after_fence(_seconds: float) -> None:
    """Die when the journals are fenced, before they are read."""
    _patch(takeover, "read_journals", _die_instead)


def die_before_positions(_seconds: float) -> None:
    """Die when all is published again, before the inputs are looked for."""
    _patch(takeover.Takeover, "_find_positions", _die_instead)


async def _die_instead(*_: Any) -> NoReturn:
    die()


def _patch(owner: object, name: str, value: object) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} any more")
    setattr(owner, name, value)


def die_in_closing(seconds: float) -> None:
    """Die soon after a window began to close: before, in or after its journalling."""
    tick = PaymentsLogic.tick

    @functools.wraps(tick)
    def tick_and_die(self: PaymentsLogic, journal: Journal, now_ms: int, limit: int) -> bool:
        more = tick(self, journal, now_ms, limit)
        if journal._staged_rows:  # noqa: SLF001 - the payments of the closed window
            threading.Timer(seconds, die).start()
        return more

    _patch(PaymentsLogic, "tick", tick_and_die)


def die_in_lapsing(seconds: float) -> None:
    """Die soon after many holds began to lapse: while they are journalled, sent or settled."""
    tick = PaymentsLogic.tick

    @functools.wraps(tick)
    def tick_and_die(self: PaymentsLogic, journal: Journal, now_ms: int, limit: int) -> bool:
        more = tick(self, journal, now_ms, limit)
        if len(journal._staged_outputs) >= MANY:  # noqa: SLF001 - the transfers of the releases
            threading.Timer(seconds, die).start()
        return more

    _patch(PaymentsLogic, "tick", tick_and_die)


class _Pause:
    """A time in which something does not happen; a signal begins it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.until = 0.0
        signal.signal(BEGIN, self._begin)

    def _begin(self, _number: int, _frame: object) -> None:
        self.until = time.monotonic() + self._seconds
        os.write(sys.stderr.fileno(), f"{BEGUN}\n".encode())


def stop_polling(seconds: float) -> None:
    """Do not poll the membership for a while: aiokafka leaves the group."""
    _patch(hosting, "_MEMBERSHIP_POLL_LIMIT_SECONDS", POLL_LIMIT_SECONDS)
    pause, poll = _Pause(seconds), MembershipThread.poll

    async def poll_or_not(self: MembershipThread) -> None:
        if time.monotonic() >= pause.until:
            await poll(self)

    _patch(MembershipThread, "poll", poll_or_not)


def hang_thread(seconds: float) -> None:
    """Let the membership's thread hang, so that its heartbeats stop while the engine goes on."""
    pause, poll = _Pause(seconds), MembershipThread._poll  # noqa: SLF001 - that is what this file is for

    async def hang_or_poll(self: MembershipThread) -> None:
        if (left := pause.until - time.monotonic()) > 0:
            time.sleep(left)  # noqa: ASYNC251 - that the loop hangs is the fault
        await poll(self)

    _patch(MembershipThread, "_poll", hang_or_poll)


HOOKS: dict[str, Callable[[float], None]] = {
    "claim": die_after_claim,
    "fence": die_after_fence,
    "positions": die_before_positions,
    "close": die_in_closing,
    "lapse": die_in_lapsing,
    "poll": stop_polling,
    "thread": hang_thread,
}

if __name__ == "__main__":
    HOOKS[sys.argv[1]](float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)  # its second argument
    main(["worker"], prog_name="payments")
