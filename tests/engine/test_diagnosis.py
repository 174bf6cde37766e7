"""Why there is no connection to a broker: each cause in words of its own."""

import asyncio
import re
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from exactstage.errors import FailStop
from exactstage.kafka import diagnosis as module
from exactstage.kafka.connection import Connection
from exactstage.kafka.diagnosis import diagnosis
from tools.dev.ports import HOST, free_ports

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PLAIN = {"security_protocol": "PLAINTEXT"}


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """Run a server that is no Kafka broker; return its port."""
    running = await asyncio.start_server(serve, HOST, 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


def answering(answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(100):
        pass
    writer.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "that is an HTTP server, not a Kafka broker"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "it wants TLS: set PAYMENTS_SECURITY_PROTOCOL to SSL"),
        (b"220 mail ESMTP\r\n", "what answers there is not a Kafka broker"),
        (b"", "it closes the connection at Kafka's first request"),
    ],
)
async def test_a_server_that_is_no_kafka_broker_is_reported_as_what_it_is(
    answer: bytes, told: str
) -> None:
    async with server(answering(answer)) as port:
        assert f"{HOST}:{port}: {told}" in await diagnosis([(HOST, port)], PLAIN)


async def test_a_server_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.1)
    async with server(silent) as port:
        assert "does not answer within" in await diagnosis([(HOST, port)], PLAIN)


async def test_a_listener_without_tls_is_reported_to_a_client_with_tls() -> None:
    arguments = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context()}
    async with server(answering(b"\x00\x00\x00\x0a0123456789")) as port:
        told = await diagnosis([(HOST, port)], arguments)
    assert "TLS fails" in told
    assert "PAYMENTS_SECURITY_PROTOCOL" in told


async def test_names_and_ports_that_lead_nowhere_are_distinguished() -> None:
    [port] = free_ports(1)
    told = await diagnosis([("no.such.host.invalid", 9092), (HOST, port)], PLAIN)
    unknown, refused = told.split("; ")
    assert "the name 'no.such.host.invalid' can't be resolved" in unknown
    assert refused == f"{HOST}:{port}: nothing listens there (connection refused)"


async def test_an_address_that_a_broker_sends_its_clients_to_is_tried() -> None:
    """advertised.listeners that are wrong: the address of the settings answers all the same."""
    [nowhere] = free_ports(1)
    versions = struct.pack(">hi6h", 0, 2, 3, 0, 1, 18, 0, 0)
    host = HOST.encode()
    broker = struct.pack(f">iih{len(host)}sih", 1, 7, len(host), host, nowhere, -1)
    metadata = broker + struct.pack(">ii", 7, 0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while size := await reader.read(4):
            request = await reader.readexactly(int.from_bytes(size))
            answer = request[4:8] + (versions if request[:2] == b"\0\x12" else metadata)
            writer.write(len(answer).to_bytes(4) + answer)
        writer.close()

    async with server(serve) as port:
        told = await diagnosis([(HOST, port)], PLAIN)
    assert f"sends clients to {HOST}:{nowhere} for broker 7, where nothing listens there" in told
    assert "advertised.listeners" in told


async def test_an_address_of_ipv6_is_named_as_it_is_given() -> None:
    told = await diagnosis([("::1", free_ports(1)[0])], PLAIN)
    assert re.fullmatch(r"\[::1\]:\d+: nothing listens there \(connection refused\)", told)


async def test_a_start_without_a_broker_ends_with_the_cause_in_one_line() -> None:
    """As a process, for a broker that is cut off: ``tests/broker/test_start_and_stop.py``."""
    async with server(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        arguments = {"bootstrap_servers": f"{HOST}:{port}", "request_timeout_ms": 1000}
        connection = Connection(arguments, delivery_timeout_seconds=0.1)
        with pytest.raises(FailStop) as caught:
            await connection.start(["a"])
    assert str(caught.value).startswith(
        f"connecting to Kafka at {HOST}:{port} (PAYMENTS_BROKERS): no success after "
    )
    assert "that is an HTTP server" in str(caught.value)
    assert "\n" not in str(caught.value)
