"""Faults of workers: killed, frozen, deployed, scaled; by themselves, together, at bad moments."""

import asyncio
import signal

from tools.chaos.fleet import Seat, hooked
from tools.chaos.scene import Scene

BEYOND_SECONDS = 4.0
"""A worker is frozen for the session timeout and this: its partitions are others' by then."""

PAUSES = 4
LONGEST_PAUSE_SECONDS = 2.0
CLOSING_SECONDS = 0.03
"""A worker dies at most so long after a window began to close: about as long as a group takes."""

CLOSING_LIMIT_SECONDS = 30.0
HOLDS, HOLD_SECONDS = 2_000, 5
"""Holds that end at once, and how long they last: longer than it takes to send them."""

LAPSING_SECONDS = 0.3
"""A worker dies at most so long after it began to release them: about as long as that takes."""

NEXT_KILL_SECONDS = 3.0
"""Another one dies at most so long after it, while it goes on where the first one ended."""


def any_seat(scene: Scene) -> Seat:
    """Choose a seat."""
    return scene.chance.choice(scene.fleet.seats)


async def kill(scene: Scene) -> None:
    """SIGKILL of one worker."""
    await any_seat(scene).end(signal.SIGKILL, "killed")


async def kill_two(scene: Scene) -> None:
    """SIGKILL of two workers at once."""
    two = scene.chance.sample(scene.fleet.seats, 2)
    await asyncio.gather(*(seat.end(signal.SIGKILL, "killed") for seat in two))


async def freeze(scene: Scene) -> None:
    """SIGSTOP beyond the session timeout, then SIGCONT: a zombie with requests in flight."""
    process = any_seat(scene).process
    process.send(signal.SIGSTOP)
    await asyncio.sleep(scene.settings.session_timeout_seconds + BEYOND_SECONDS)
    process.send(signal.SIGCONT)


async def pause(scene: Scene) -> None:
    """Short SIGSTOPs of any workers, four in a row."""
    for _ in range(PAUSES):
        process = any_seat(scene).process
        process.send(signal.SIGSTOP)
        await asyncio.sleep(scene.chance.uniform(0.1, LONGEST_PAUSE_SECONDS))
        process.send(signal.SIGCONT)


async def deploy(scene: Scene) -> None:
    """SIGTERM of each worker in turn, the next one when the former is ready again."""
    for seat in scene.chance.sample(scene.fleet.seats, len(scene.fleet.seats)):
        await seat.end(signal.SIGTERM, "deployed")
        await _ready(seat)


async def scale(scene: Scene) -> None:
    """All but one worker stopped, started again, and stopped again: 1, all, 1."""
    [stays, *others] = scene.chance.sample(scene.fleet.seats, len(scene.fleet.seats))
    await _stop(others)
    await _ready(stays)
    for seat in others:
        seat.start()
    for seat in others:
        await _ready(seat)
    await _stop(others)
    for seat in others:
        seat.start()


async def kill_in_takeover(scene: Scene) -> None:
    """SIGKILL of a worker whose successor dies while it takes over."""
    seat = any_seat(scene)
    point = scene.chance.choice(["claim", "fence", "positions"])
    await seat.end(signal.SIGKILL, "killed", then=hooked(point))
    seat.expect_end(f"killed in takeover: {point}")
    await seat.next_process(CLOSING_LIMIT_SECONDS)


async def kill_in_closing(scene: Scene) -> None:
    """SIGKILL of a worker that is closing a window."""
    seat = any_seat(scene)
    seconds = scene.chance.uniform(0.0, CLOSING_SECONDS)
    await seat.end(signal.SIGKILL, "killed", then=hooked("close", str(seconds)))
    seat.expect_end("killed in closing a window")
    await seat.next_process(CLOSING_LIMIT_SECONDS)


async def kill_in_lapsing(scene: Scene) -> None:
    """SIGKILL of a worker that releases many holds which end at once, and of another soon after."""
    seat, other = scene.chance.sample(scene.fleet.seats, 2)
    seconds = scene.chance.uniform(0.0, LAPSING_SECONDS)
    await seat.end(signal.SIGKILL, "killed", then=hooked("lapse", str(seconds)))
    await _ready(seat)
    seat.expect_end("killed while holds lapse")
    scene.storm.hold(HOLDS, HOLD_SECONDS)
    await seat.next_process(HOLD_SECONDS + CLOSING_LIMIT_SECONDS)
    await asyncio.sleep(scene.chance.uniform(0.0, NEXT_KILL_SECONDS))
    await other.end(signal.SIGKILL, "killed while holds lapse")


async def _stop(seats: list[Seat]) -> None:
    await asyncio.gather(*(seat.stop() for seat in seats))


async def _ready(seat: Seat) -> None:
    await seat.until(lambda: seat.ready, "is not ready")
