"""A gateway's server on a free port of this machine, in the loop of the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from payments.gateway.listening import listen
from payments.gateway.server import Server, serve
from payments.gateway.service import Service
from payments.gateway.settings import GatewaySettings

LIMIT_SECONDS = 60
PATIENT = {"receive_timeout_seconds": LIMIT_SECONDS}


class Running:
    """A server in this loop, and plain connections to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server: Server
        self.ended: asyncio.Task[None]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
        """Send bytes on a connection of its own; return all answers until it is closed."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(LIMIT_SECONDS):
            received = await reader.read()
        writer.close()
        return answers(received)

    async def stop(self) -> None:
        """Stop the server in order, and wait for its end."""
        self.server.stop()
        await asyncio.wait_for(self.ended, LIMIT_SECONDS)


def answers(received: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return the answers in what was received."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        found.append((int(first.split()[1]), headers, received[:length]))
        received = received[length:]
    return found


@asynccontextmanager
async def running(service: Service, **settings: Any) -> AsyncIterator[Running]:
    """Run a server that waits for the rest of a request for a moment only.

    A request that is sent piece by piece needs ``PATIENT``: a busy machine may stop in between.
    """
    given = GatewaySettings(port=0, **{"receive_timeout_seconds": 0.3, **settings})
    listener = listen(given)
    run = Running(listener.getsockname()[1])
    started = asyncio.Event()

    def note(server: Server) -> None:
        run.server = server
        started.set()

    run.ended = asyncio.create_task(serve(service, given, listener=listener, started=note))
    await started.wait()
    try:
        yield run
    finally:
        await run.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a limit."""
    loop, looked = asyncio.get_running_loop(), asyncio.Event()
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            looked.clear()
            loop.call_later(0.01, looked.set)
            await looked.wait()
