"""Faults of the group: the broker gone while members join, a dead coordinator, a dead poll."""

import asyncio
import signal

from tools.chaos.faults.brokers import LONGEST_ABSENCE_SECONDS
from tools.chaos.faults.workers import BEYOND_SECONDS, any_seat
from tools.chaos.fleet import BEGIN, BEGUN, hooked
from tools.chaos.scene import Scene, kill, start

JOIN_LIMIT_SECONDS = 5.0


async def restart_in_join(scene: Scene) -> None:
    """SIGKILL of the only broker while two restarted workers join and sync."""
    two = scene.chance.sample(scene.fleet.seats, 2)
    watching = asyncio.create_task(scene.rebalance_began(JOIN_LIMIT_SECONDS))
    await asyncio.gather(*(seat.end(signal.SIGTERM, "deployed") for seat in two))
    await watching
    # A rebalance takes some milliseconds up to the session timeout: strike anywhere in its start.
    await asyncio.sleep(scene.chance.choice([0.0, 0.02, 0.1, 0.5]))
    await kill(scene.nodes[1])
    await start(scene.nodes[1])


async def kill_coordinator(scene: Scene) -> None:
    """SIGKILL of the broker, one of three, that coordinates the group."""
    broker = await scene.coordinator()
    await kill(broker)
    await asyncio.sleep(scene.chance.uniform(0.0, LONGEST_ABSENCE_SECONDS))
    await start(broker)


async def stop_poll(scene: Scene) -> None:
    """Membership of one worker not polled, or its thread hanging, beyond the session timeout."""
    seat = any_seat(scene)
    seconds = scene.settings.session_timeout_seconds + BEYOND_SECONDS
    how = scene.chance.choice(["poll", "thread"])
    await seat.end(signal.SIGTERM, "deployed", then=hooked(how, str(seconds)))
    await seat.until(lambda: seat.ready, "is not ready")
    seat.send(BEGIN)
    await seat.until(lambda: BEGUN in seat.process.log.read_text(), "is not held up")
    await asyncio.sleep(seconds)
