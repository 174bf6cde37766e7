"""The server on a real port, with a service that answers when told: limits, slow clients, stop."""

import asyncio
import gc
import json
import weakref
from typing import cast

import pytest

from payments.gateway import server as servers
from payments.gateway.connections import MAX_HEAD_BYTES, Connection
from tests.gateway.fake_service import FakeService
from tests.gateway.running import LIMIT_SECONDS, PATIENT, answers, running, until

MAKE = (
    b"POST /v1/payments/p1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b'content-length: 28\r\n\r\n{"account":"abc","amount":1}'
)
LIVE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "TICKS_PER_SWEEP", 1)
    monkeypatch.setattr(servers, "SWEEP_SECONDS", 0.1)


@pytest.mark.parametrize(
    "part",
    [MAKE[:5], MAKE[:60], MAKE[:-1], MAKE[: MAKE.index(b"{")]],
    ids=["line", "headers", "body", "no body"],
)
async def test_a_request_that_does_not_arrive_is_answered_408_and_closed(
    fake: FakeService, part: bytes
) -> None:
    async with running(fake) as run:
        [(status, headers, body)] = await run.exchange(part)
    assert (status, headers["connection"]) == (408, "close")
    assert json.loads(body)["type"] == "/problems/timeout"
    assert fake.sent == []


async def test_a_client_that_drips_its_request_does_not_hold_a_connection(
    fake: FakeService,
) -> None:
    async with running(fake) as run:
        reader, writer = await run.connect()
        for byte in MAKE:
            writer.write(bytes([byte]))
            try:
                await asyncio.wait_for(reader.readexactly(12), 0.05)
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("it was let send all of its request")
        writer.close()


async def test_an_idle_connection_is_closed_without_a_word(fake: FakeService) -> None:
    async with running(fake, idle_timeout_seconds=0.1) as run:
        assert await run.exchange(b"") == []
        assert await run.exchange(b"\r\n\r\n") == []


async def test_a_request_that_waits_for_its_result_is_not_timed_out(fake: FakeService) -> None:
    async with running(fake, idle_timeout_seconds=0.1) as run:
        reader, writer = await run.connect()
        writer.write(MAKE)
        await until(lambda: fake.waiting == 1)
        swept = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > swept + 1)
        fake.release.set()
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"x" * 1_000_000,
    ],
    ids=["url", "value", "many", "endless"],
)
async def test_a_head_that_is_too_large_is_431(fake: FakeService, head: bytes) -> None:
    async with running(fake, **PATIENT) as run:
        [(status, _, body)] = await run.exchange(head)
    assert status == 431
    assert json.loads(body)["type"] == "/problems/headers-too-large"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/payments/p HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
    ],
)
async def test_what_is_no_http_is_400_or_closed(fake: FakeService, data: bytes) -> None:
    async with running(fake) as run:
        for status, headers, body in await run.exchange(data):
            assert status in (400, 404, 405)
            assert headers["content-type"] == "application/problem+json"
            assert json.loads(body)["status"] == status


async def test_a_body_over_the_limit_is_413_however_it_comes(fake: FakeService) -> None:
    sized = MAKE.replace(b": 28", b": 70000")[:-28] + b" " * 70_000
    promised = MAKE.replace(b": 28", b": 99999999999")
    chunk = b"fa00\r\n" + b" " * 64_000 + b"\r\n"
    chunked = (
        MAKE.replace(b"content-length: 28", b"transfer-encoding: chunked")[:-28]
        + chunk * 10
        + b"0\r\n\r\n"
    )
    async with running(fake, **PATIENT) as run:
        for data in (sized, promised, chunked):
            [(status, headers, body)] = await run.exchange(data)
            assert (status, headers["connection"]) == (413, "close")
            assert json.loads(body)["type"] == "/problems/too-large"


async def test_requests_sent_at_once_are_answered_in_order(fake: FakeService) -> None:
    fake.release.set()
    last = LIVE.replace(b"host:", b"connection: close\r\nhost:")
    async with running(fake, **PATIENT) as run:
        found = await run.exchange(MAKE + LIVE + MAKE + last)
    assert [status for status, *_ in found] == [200] * 4
    assert [b"live" in body for *_, body in found] == [False, True, False, True]


async def test_garbage_after_a_request_does_not_cost_its_answer(fake: FakeService) -> None:
    async with running(fake) as run:
        asked = asyncio.create_task(run.exchange(MAKE + b"\x00garbage\r\n\r\n"))
        await until(lambda: fake.waiting == 1)
        fake.release.set()
        [(status, _, body)] = await asked
    assert (status, json.loads(body)["outcome"]) == (200, "completed")


async def test_a_connection_that_has_ended_is_not_left_for_a_garbage_collection(
    fake: FakeService,
) -> None:
    fake.release.set()
    async with running(fake) as run:
        gc.disable()
        try:
            reader, writer = await run.connect()
            await until(lambda: len(run.server.server_state.connections) == 1)
            [connection] = run.server.server_state.connections
            gone = weakref.ref(connection)
            del connection
            writer.write(MAKE.replace(b"host:", b"connection: close\r\nhost:"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
            await until(lambda: gone() is None)
        finally:
            gc.enable()


async def test_a_client_that_goes_away_does_not_stop_its_command(fake: FakeService) -> None:
    async with running(fake) as run:
        _, writer = await run.connect()
        writer.write(MAKE)
        await until(lambda: fake.waiting == 1)
        writer.transport.abort()
        fake.release.set()
        await until(lambda: not run.server.server_state.connections)
        assert (fake.waiting, len(fake.sent)) == (0, 1)


async def test_a_stop_answers_what_is_under_way_and_takes_nothing_new(fake: FakeService) -> None:
    async with running(fake) as run:
        reader, writer = await run.connect()
        idle_reader, idle_writer = await run.connect()
        writer.write(MAKE)
        await until(lambda: fake.waiting == 1)
        run.server.stop()
        assert await asyncio.wait_for(idle_reader.read(), LIMIT_SECONDS) == b""
        with pytest.raises(OSError, match="onnect"):
            await run.connect()
        assert not run.ended.done()
        fake.release.set()
        [(status, headers, _)] = answers(await asyncio.wait_for(reader.read(), LIMIT_SECONDS))
        assert (status, headers["connection"]) == (200, "close")
        await asyncio.wait_for(run.ended, LIMIT_SECONDS)
        writer.close()
        idle_writer.close()


async def test_a_stop_does_not_wait_for_half_a_request(fake: FakeService) -> None:
    async with running(fake) as run:
        reader, _writer = await run.connect()
        _writer.write(MAKE[:-1])
        await until(lambda: len(run.server.server_state.tasks) == 1)
        await run.stop()
        [(status, *_)] = answers(await reader.read())
    assert status == 408


async def test_a_client_that_does_not_read_is_dropped(fake: FakeService) -> None:
    fake.release.set()
    page = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"
    async with running(fake) as run:
        _, writer = await run.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined] # of asyncio's own transport
        writer.write(page * 200)
        await until(lambda: len(run.server.server_state.connections) == 1)
        await until(lambda: not run.server.server_state.connections)


async def test_one_connection_too_many_is_told_so(fake: FakeService) -> None:
    async with running(fake) as run:
        connections = cast("type[Connection]", run.server.config.http_protocol_class)
        connections.limits.max_connections = 1
        _, writer = await run.connect()
        [(status, headers, _)] = await run.exchange(b"")
        assert (status, headers["retry-after"]) == (429, "1")
        writer.close()


async def test_a_thousand_requests_wait_at_once_and_all_are_answered(fake: FakeService) -> None:
    last = MAKE.replace(b"host:", b"connection: close\r\nhost:")
    async with running(fake, **PATIENT) as run:
        asked = [asyncio.create_task(run.exchange(last)) for _ in range(1000)]
        await until(lambda: fake.waiting == 1000)
        [(live, *_)] = await run.exchange(LIVE.replace(b"host:", b"connection: close\r\nhost:"))
        assert live == 200
        fake.release.set()
        found = await asyncio.gather(*asked)
    assert [status for [(status, *_)] in found] == [200] * 1000
