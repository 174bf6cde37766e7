"""The proxy: passes bytes in order, late when it is told to, cuts off, and goes silent."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tools.chaos.proxy import Proxy
from tools.chaos.verdict import until
from tools.dev.ports import HOST, free_ports

LIMIT_SECONDS = 60.0


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Return a proxy before a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    in_front, behind = free_ports(2)
    server = await asyncio.start_server(echo, HOST, behind)
    made = Proxy(port=in_front, target_port=behind)
    await made.start()
    yield made
    await made.stop()
    server.close()


class Connection:
    """A client's connection."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    async def ask(self, word: bytes) -> bytes:
        """Send a word and return as many bytes, or fewer when the connection ends."""
        self.writer.write(word)
        async with asyncio.timeout(LIMIT_SECONDS):
            try:
                return await self.reader.readexactly(len(word))
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""


async def connect(proxy: Proxy) -> Connection:
    return Connection(await asyncio.open_connection(HOST, proxy.port))


async def test_bytes_pass_both_ways(proxy: Proxy) -> None:
    connection = await connect(proxy)
    assert await connection.ask(b"hello") == b"hello"
    assert await connection.ask(b"x" * 300_000) == b"x" * 300_000


async def test_bytes_are_late_by_the_delay_in_each_direction(proxy: Proxy) -> None:
    connection = await connect(proxy)
    assert await connection.ask(b"now") == b"now"
    proxy.delay_seconds = 0.1
    began = time.monotonic()
    assert await connection.ask(b"later") == b"later"
    assert time.monotonic() - began >= 0.2


async def test_bytes_keep_their_order_when_the_delay_ends(proxy: Proxy) -> None:
    connection = await connect(proxy)
    proxy.delay_seconds = 0.2
    connection.writer.write(b"first,")
    assert await until(lambda: proxy.taken_bytes == len(b"first,"), LIMIT_SECONDS)
    proxy.heal()
    connection.writer.write(b"second")
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await connection.reader.readexactly(12) == b"first,second"


async def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed(
    proxy: Proxy,
) -> None:
    connection = await connect(proxy)
    assert await connection.ask(b"hello") == b"hello"
    proxy.cut()
    assert await connection.ask(b"hello") == b""
    assert await (await connect(proxy)).ask(b"hello") == b""
    proxy.heal()
    assert await (await connect(proxy)).ask(b"hello") == b"hello"


async def test_a_half_open_connection_stays_silent_for_ever_and_new_ones_pass_after_the_heal(
    proxy: Proxy,
) -> None:
    caught = await connect(proxy)
    assert await caught.ask(b"hello") == b"hello"
    proxy.half_open()
    late = await connect(proxy)
    assert all(await asyncio.gather(silent(caught), silent(late)))
    proxy.heal()
    assert await silent(caught)
    assert await (await connect(proxy)).ask(b"hello") == b"hello"


async def silent(connection: Connection) -> bool:
    """Tell whether a word gets no answer and no end for a moment."""
    connection.writer.write(b"hello")
    try:
        async with asyncio.timeout(0.3):
            await connection.reader.read(1)
    except TimeoutError:
        return True
    return False
