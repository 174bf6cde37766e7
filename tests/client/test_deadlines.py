"""Deadlines: not early, in order, with one timer, and forgotten with their items."""

import asyncio
from dataclasses import dataclass

import pytest

from payments.client.calls import TICK_SECONDS, Deadlines

LOOP_CLOCK_SECONDS = 0.001


@dataclass(eq=False)
class Item:
    """What has a deadline."""

    name: str
    tick: int = 0


class Expired:
    """Notes what expired, and when."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.deadlines = Deadlines[Item](self._note)
        self._news = asyncio.Event()

    def _note(self, item: Item) -> None:
        self.at[item.name] = asyncio.get_running_loop().time()
        self._news.set()

    async def until(self, count: int) -> None:
        """Wait until that many have expired."""
        async with asyncio.timeout(60):
            while len(self.at) < count:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def expired() -> Expired:
    return Expired()


async def test_deadlines_pass_in_order_and_not_early(expired: Expired) -> None:
    started = asyncio.get_running_loop().time()
    seconds = {"last": 0.09, "first": 0.01, "middle": 0.05}
    for name, each in seconds.items():
        expired.deadlines.add(Item(name), each)
    await expired.until(3)
    assert list(expired.at) == ["first", "middle", "last"]
    for name, each in seconds.items():
        assert expired.at[name] - started >= each - LOOP_CLOCK_SECONDS


async def test_what_was_discarded_does_not_expire(expired: Expired) -> None:
    kept, discarded = Item("kept"), Item("discarded")
    for item in (kept, discarded):
        expired.deadlines.add(item, TICK_SECONDS)
    expired.deadlines.discard(discarded)
    await expired.until(1)
    expired.deadlines.discard(kept)
    assert list(expired.at) == ["kept"]
    assert not expired.deadlines._buckets


async def test_ten_thousand_deadlines_have_one_timer(expired: Expired) -> None:
    loop = asyncio.get_running_loop()
    for number in range(10_000):
        expired.deadlines.add(Item(str(number)), 30 + number / 1000)
    assert len(loop._scheduled) == 1  # type: ignore[attr-defined] # asyncio's list of timers
    expired.deadlines.close()
