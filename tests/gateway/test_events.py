"""Server-sent events, read part by part from the application."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from payments.client import WatchBroken
from payments.domain.results import Outcome
from payments.gateway import exchange
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from tests.gateway.conftest import problem
from tests.gateway.fake_service import FakeService, result
from tests.gateway.running import LIMIT_SECONDS


class Reader:
    """A client of one stream, straight on the application: httpx would wait for its end."""

    def __init__(self, gateway: Gateway, path: bytes = b"/v1/payments/p1/events") -> None:
        self.parts: asyncio.Queue[Any] = asyncio.Queue()
        self.gone = asyncio.Event()
        self._asked = False
        scope = {
            "type": "http", "method": "GET", "path": path.decode(), "raw_path": path,
            "query_string": b"", "headers": [],
        }  # fmt: skip
        self.task = asyncio.create_task(gateway(scope, self._receive, self.parts.put))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def part(self) -> dict[str, Any]:
        """Return the next message of the application."""
        return await asyncio.wait_for(self.parts.get(), LIMIT_SECONDS)

    async def event(self) -> tuple[str, dict[str, Any]]:
        """Return the next event's name and data."""
        text = (await self.part())["body"].decode()
        name, data, *rest = text.split("\n")
        assert rest == ["", ""]
        return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async def ended(self) -> None:
        """Wait until the application has done."""
        await asyncio.wait_for(self.task, LIMIT_SECONDS)


@pytest.fixture
async def gateway(fake: FakeService) -> Gateway:
    fake.release.set()
    return Gateway(fake, GatewaySettings(max_streams=1))


async def started(gateway: Gateway) -> Reader:
    reader = Reader(gateway)
    start = await reader.part()
    assert (start["status"], start["headers"][0]) == (200, (b"content-type", b"text/event-stream"))
    return reader


async def test_the_state_comes_first_and_then_each_result(
    gateway: Gateway, fake: FakeService
) -> None:
    fake.shown.put_nowait(result("p1", "older"))
    fake.changes = {"outcome": Outcome.FOUND}
    reader = await started(gateway)
    name, state = await reader.event()
    assert (name, state["outcome"]) == ("state", "found")
    fake.shown.put_nowait(result("p1", "c1", type="cancel", outcome=Outcome.CANCELLED))
    fake.shown.put_nowait(result("p1", "someone's look", type="get", outcome=Outcome.FOUND))
    fake.shown.put_nowait(result("p1", "c2", outcome=Outcome.CANCELLED, replayed=True))
    events = [await reader.event(), await reader.event()]
    assert [(name, event["command"]) for name, event in events] == [
        ("result", "c1"),
        ("result", "c2"),
    ]
    reader.gone.set()
    await reader.ended()


async def test_a_silent_stream_shows_that_it_lives(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "HEARTBEAT_SECONDS", 0.01)
    reader = await started(gateway)
    await reader.event()
    assert (await reader.part())["body"].startswith(b":")
    reader.gone.set()
    await reader.ended()


async def test_a_stream_ends_when_the_gateway_stops(gateway: Gateway) -> None:
    reader = await started(gateway)
    await reader.event()
    gateway.stopping.set()
    assert (await reader.part())["body"] == b""
    await reader.ended()


async def test_a_watch_that_breaks_ends_the_stream(gateway: Gateway, fake: FakeService) -> None:
    reader = await started(gateway)
    await reader.event()
    fake.shown.put_nowait(WatchBroken("too slow"))
    assert (await reader.part())["body"] == b""
    await reader.ended()


async def test_one_stream_too_many_is_refused_until_another_ends(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    reader = await started(gateway)
    await reader.event()
    problem(await http.get("/v1/payments/p2/events"), 429, "overloaded")
    reader.gone.set()
    await reader.ended()
    again = await started(gateway)
    again.gone.set()
    await again.ended()


async def test_a_stream_of_no_payment_id_is_refused(http: httpx.AsyncClient) -> None:
    problem(await http.get("/v1/payments/%00/events"), 422, "invalid")
