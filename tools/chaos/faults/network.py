"""Faults of the network between one worker and the broker, made by the proxy."""

import asyncio

from tools.chaos.errors import ChaosError
from tools.chaos.faults.workers import BEYOND_SECONDS
from tools.chaos.proxy import Proxy
from tools.chaos.scene import Scene

DELAY_SECONDS = 0.2
DELAYED_SECONDS = 8.0


async def cut_off(scene: Scene) -> None:
    """One worker cut off: connections end, new ones are refused, beyond the session timeout."""
    _proxy(scene).cut()
    await asyncio.sleep(scene.settings.session_timeout_seconds + BEYOND_SECONDS)
    _proxy(scene).heal()


async def delay(scene: Scene) -> None:
    """Each packet to and from one worker 200 ms late, for some seconds."""
    _proxy(scene).delay_seconds = DELAY_SECONDS
    await asyncio.sleep(DELAYED_SECONDS)
    _proxy(scene).heal()


async def half_open(scene: Scene) -> None:
    """One worker's connections dead without a sign, beyond the session timeout."""
    _proxy(scene).half_open()
    await asyncio.sleep(scene.settings.session_timeout_seconds + BEYOND_SECONDS)
    _proxy(scene).heal()


def _proxy(scene: Scene) -> Proxy:
    if scene.proxy is None:
        raise ChaosError("this stand has no proxy")
    return scene.proxy
