"""Faults of brokers: killed, frozen, restarted; one that is alone, or one of three."""

import asyncio
import resource
from contextlib import suppress

from tools.chaos.scene import Scene, kill, start
from tools.dev.local_broker import LocalBroker

FROZEN_SECONDS = 15.0
LONGEST_ABSENCE_SECONDS = 3.0
RESULTS_LOGS = "topics/*payments.results-*/*.log"
MORE_BYTES = 500
FULL_LIMIT_SECONDS = 20.0
LOOK_SECONDS = 0.05


async def kill_single(scene: Scene) -> None:
    """SIGKILL of the only broker, started again a little later."""
    await _kill_and_start(scene, scene.nodes[1])


async def freeze_single(scene: Scene) -> None:
    """SIGSTOP of the only broker for 15 s: connections stay open, nothing answers."""
    await asyncio.to_thread(scene.nodes[1].pause)
    await asyncio.sleep(FROZEN_SECONDS)
    await asyncio.to_thread(scene.nodes[1].resume)


async def restart_single(scene: Scene) -> None:
    """Clean restart of the only broker."""
    await _restart(scene.nodes[1])


async def fill_disk(scene: Scene) -> None:
    """Full disk of the only broker, amid an append: it ends, and is started again with space."""
    broker = scene.nodes[1]
    sizes = [log.stat().st_size for log in broker.folder.glob(RESULTS_LOGS)]
    limit = scene.chance.choice(sizes) + scene.chance.randrange(MORE_BYTES)
    # Not a full disk of its own: what an append meets is the same (half of a batch is written).
    resource.prlimit(broker.pid or 0, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with suppress(TimeoutError):
        async with asyncio.timeout(FULL_LIMIT_SECONDS):
            while broker.running:  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(LOOK_SECONDS)
    await kill(broker)
    await start(broker)


async def kill_leader(scene: Scene) -> None:
    """SIGKILL of the leader of a partition, one of three brokers, started again a little later."""
    await _kill_and_start(scene, await scene.leader())


async def restart_leader(scene: Scene) -> None:
    """Clean restart of the leader of a partition, one of three brokers."""
    await _restart(await scene.leader())


async def _kill_and_start(scene: Scene, broker: LocalBroker) -> None:
    await kill(broker)
    await asyncio.sleep(scene.chance.uniform(0.0, LONGEST_ABSENCE_SECONDS))
    await start(broker)


async def _restart(broker: LocalBroker) -> None:
    await asyncio.to_thread(broker.stop)
    await start(broker)
