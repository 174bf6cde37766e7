"""A TCP proxy between one worker and the broker that can delay, cut off, and go silent."""

import asyncio
import contextlib
from collections.abc import Iterator
from enum import Enum

from tools.dev.ports import HOST

CHUNK_BYTES = 65_536
SHORTEST_SECONDS = 1e-6
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Mode(Enum):
    """What the proxy does to the bytes."""

    OPEN = "open"
    CUT = "cut"  # Connections end, and new ones are refused at once.
    HALF_OPEN = "half-open"  # Connections stay open on the worker's side, and nothing comes.


class Proxy:
    """Passes connections on to ``target_port``; ``delay_seconds`` holds each chunk back."""

    def __init__(self, *, port: int, target_port: int) -> None:
        self.port = port
        self._target_port = target_port
        self._mode = Mode.OPEN
        self.delay_seconds = 0.0
        self._worker_side: set[asyncio.StreamWriter] = set()
        self._broker_side: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.accepted = 0
        self.taken_bytes = 0
        """What came in, whether it has been forwarded or not."""
        self.taken_chunks = 0
        self.cut_at_chunk: int | None = None
        """Cut when so many chunks have come in since the start, of both sides together."""

    @property
    def bootstrap(self) -> str:
        """The address for the worker."""
        return f"{HOST}:{self.port}"

    @property
    def is_cut(self) -> bool:
        """Whether connections are refused now."""
        return self._mode is Mode.CUT

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def stop(self) -> None:
        """Close everything."""
        self._mode = Mode.CUT
        self._abort(self._worker_side | self._broker_side)
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        self._mode = Mode.CUT
        self._abort(self._worker_side | self._broker_side)

    def half_open(self) -> None:
        """Drop the broker's side of each connection and leave the worker's side open and silent.

        The worker's bytes are swallowed. A connection that was caught so stays dead for ever.
        """
        self._mode = Mode.HALF_OPEN
        self._abort(self._broker_side)

    def heal(self) -> None:
        """Let new connections pass."""
        self._mode = Mode.OPEN
        self.delay_seconds = 0.0

    @staticmethod
    def _abort(writers: set[asyncio.StreamWriter]) -> None:
        for writer in list(writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with self._kept(writer, self._worker_side):
            if self._mode is Mode.CUT:
                return
            if self._mode is Mode.HALF_OPEN:
                await _swallow(reader)
                return
            try:
                broker = await asyncio.open_connection(HOST, self._target_port)
            except OSError:
                return  # Without us the connection would end too.
            with self._kept(broker[1], self._broker_side):
                await self._pass_both_ways((reader, writer), broker)

    async def _pass_both_ways(self, worker: Ends, broker: Ends) -> None:
        forth = asyncio.create_task(self._pump(worker[0], broker[1]))
        back = asyncio.create_task(self._pump(broker[0], worker[1]))
        await asyncio.wait([forth, back], return_when=asyncio.FIRST_COMPLETED)
        back.cancel()
        if self._mode is Mode.HALF_OPEN and not forth.done():
            broker[1].transport.abort()
            await forth  # Swallows what the worker sends, until the worker gives up.
        forth.cancel()
        await asyncio.gather(forth, back, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Pass bytes on until the source ends; they keep their order when the delay changes."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while chunk := await _read(source):
            self.taken_bytes += len(chunk)
            self.taken_chunks += 1
            if self.taken_chunks == self.cut_at_chunk:
                self.cut()
                return
            due = max(due + SHORTEST_SECONDS, loop.time() + self.delay_seconds)
            loop.call_at(due, _write, target, chunk)

    @contextlib.contextmanager
    def _kept(
        self, writer: asyncio.StreamWriter, among: set[asyncio.StreamWriter]
    ) -> Iterator[None]:
        among.add(writer)
        try:
            yield
        finally:
            among.discard(writer)
            writer.transport.abort()


async def _read(source: asyncio.StreamReader) -> bytes:
    try:
        return await source.read(CHUNK_BYTES)
    except OSError:
        return b""  # It was reset: an end like any other here.


async def _swallow(source: asyncio.StreamReader) -> None:
    while await _read(source):
        pass


def _write(target: asyncio.StreamWriter, chunk: bytes) -> None:
    if not target.transport.is_closing():
        target.write(chunk)
