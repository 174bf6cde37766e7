"""Forms of HTTP that clients and proxies send: each is served, or refused with problem details.

A body, a header, a path or a method that is unusual must never be a 500, a hang, or an answer
that is not problem details. ``test_fuzz`` makes such requests by the thousand,
``test_clients`` sends what other people's programs send.
"""

import asyncio
import gzip
import json

import pytest

from payments.gateway import server as servers
from tests.gateway.fake_service import FakeService
from tests.gateway.running import LIMIT_SECONDS, PATIENT, answers, running, until

BODY = b'{"account":"abc","amount":1}'
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
CLOSE = b"connection: close\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


def post(headers: bytes = b"", body: bytes = BODY, path: bytes = b"/v1/payments/p1") -> bytes:
    """Return a POST; it has a length unless ``headers`` say otherwise."""
    head = b"POST " + path + b" HTTP/1.1\r\nhost: localhost\r\n" + headers
    if b"content-type" not in headers:
        head += b"content-type: application/json\r\n"
    if b"transfer-encoding" not in headers:
        head += b"content-length: %d\r\n" % len(body)
    return head + b"\r\n" + body


def get(path: bytes, method: bytes = b"GET", headers: bytes = b"") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nhost: localhost\r\n" + headers + b"\r\n"


@pytest.fixture(autouse=True)
def sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "TICKS_PER_SWEEP", 1)


@pytest.fixture
async def fake() -> FakeService:
    service = FakeService()
    service.release.set()
    return service


CHUNKED = b"transfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "A request has exactly one header Host."),
        (post(CHUNKED, b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"), "no Transfer-Encoding"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "use http://, or a proxy with TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is refused without an upgrade"),
        (get(b"/v1/payments/p1/", headers=CLOSE), "No path of this gateway ends with a slash"),
        (get(b"/v1/payments/p1%00", headers=CLOSE), "the payment's id ends with a zero byte"),
        (post(CLOSE, gzip.compress(BODY, mtime=0)), "is compressed with gzip: send it plain"),
    ],
)
async def test_a_likely_mistake_is_named(fake: FakeService, data: bytes, detail: str) -> None:
    async with running(fake) as run:
        [(status, _, body)] = await run.exchange(data)
    assert status < 500
    assert detail in json.loads(body)["detail"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (H2C, BODY),
        (H2C + CHUNKED, b"1c\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (b"connection: upgrade\r\nupgrade: websocket\r\n", BODY),
        (b"connection: Upgrade\r\nupgrade: TLS/1.2, h2c\r\n", BODY),
        (CHUNKED, b"1c;a=b\r\n" + BODY + b"\r\n0\r\nprefer: respond-async\r\n\r\n"),
        (b"content-type: application/json;charset=utf8\r\n", BODY),
        (b'content-type: Application/JSON; Charset="UTF-8"\r\n', BODY),
        (b"content-type: application/json; profile=x; charset=Utf-8;\r\n", BODY),
        (b"content-encoding: identity\r\n", BODY),
        (b"", b"\xef\xbb\xbf" + BODY),
        (b"expect: 100-continue\r\n", BODY),
    ],
    ids=[
        "h2c", "h2c chunked", "websocket", "tls", "trailers", "utf8", "quoted", "parameters",
        "identity", "BOM", "expect",
    ],
)  # fmt: skip
async def test_what_a_client_may_send_is_served_and_the_connection_goes_on(
    fake: FakeService, headers: bytes, body: bytes
) -> None:
    async with running(fake, **PATIENT) as run:
        found = await run.exchange(post(headers, body) + get(b"/health/live", headers=CLOSE))
    if b"expect" in headers:
        assert found.pop(0)[0] == 100
    assert [status for status, *_ in found] == [200, 200]
    assert json.loads(found[0][2])["account"] == "abc"
    assert fake.sent == [("p1", {"type": "make", "account": "abc", "amount": 1})]


async def test_an_upgrade_is_ignored_wherever_the_bytes_are_split(fake: FakeService) -> None:
    request = post(H2C) + get(b"/health/live", headers=CLOSE)
    async with running(fake, **PATIENT) as run:
        for cut in range(1, len(request), 7):
            reader, writer = await run.connect()
            writer.write(request[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(request[cut:])
            received = await asyncio.wait_for(reader.read(), LIMIT_SECONDS)
            assert [status for status, *_ in answers(received)] == [200, 200], cut
            writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(b"content-encoding: gzip\r\n", gzip.compress(BODY, mtime=0)), 415),
        (post(b"content-encoding: br\r\n"), 415),
        (post(b"content-type: text/plain\r\n"), 415),
        (post(b"content-type: application/json; charset=utf-16\r\n"), 415),
        (post(b"content-encoding: gzip\r\ncontent-encoding: identity\r\n"), 415),
        (post(b"content-encoding: identity\r\n"), 200),
        (post(b"transfer-encoding: gzip, chunked\r\n", b"1c\r\n" + BODY + b"\r\n0\r\n\r\n"), 415),
        (post(CHUNKED + b"content-length: 28\r\n", b"1c\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
        (post(CHUNKED, b"1c\r\n" + BODY + b"\r\n0\r\n\r\n").replace(b"/1.1", b"/1.0"), 400),
        (post(b"content-type: text/plain\r\ncontent-type: application/json\r\n"), 400),
        (post(b"authorization: Bearer a\r\nauthorization: Bearer b\r\n"), 400),
        (post(b"accept: a/b\r\naccept: */*\r\nidempotency-key: a\r\nidempotency-key: b\r\n"), 200),
        (post(b'idempotency-key: "a"\r\nidempotency-key: "a"\r\n', path=b"/v1/payments"), 400),
        (post(b"idempotency-key: " + b"x" * 10_000 + b"\r\n", path=b"/v1/payments"), 400),
        (post(b"idempotency-key: \xff\r\n", path=b"/v1/payments"), 400),
        (post(b"idempotency-key: order-17\xa0\r\n", path=b"/v1/payments"), 400),
        (post(b"idempotency-key: \x85order-17\r\n", path=b"/v1/payments"), 400),
        (get(b"/v1/accounts/abc/entries?limit=1&limit=2"), 422),
        (get(b"/v1/accounts/abc/entries?limit=1&other=1&other=2"), 422),
        (get(b"/v1/payments/p1/commands/c?wait=1&wait=1"), 422),
        (post(body=b"\xef\xbb\xbf"), 400),
        (post(body=b'{"\\ud800":1,"account":"abc","amount":1}'), 422),
        (post(body=b'{"account":"\\udfff","amount":1}'), 422),
        (post(body=b"[" * 60_000), 400),
        (post(body=b'{"a":' * 13_000), 400),
        (post(body=b'{"account":"abc","amount":' + b"9" * 60_000 + b"}"), 422),
        (post(body=b'{"account":"abc","amount":1e400}'), 422),
        (post(body=b'{"account":"abc","amount":NaN}'), 422),
        (post(body=b'{"account":"abc","amount":1,"amount":1}'), 422),
        (post(body=b'{"account":"a\\u0000c","amount":1}'), 422),
        (post(body=b'{"account":"a\x00c","amount":1}'), 400),
        (post(body=b"\xff\xfe{\x00}\x00"), 400),
        (post(path=b"/v1/payments/%FF"), 422),
        (post(path=b"/v1/payments/%ED%A0%80"), 422),
        (get(b"/v1/accounts/%FF"), 422),
        (get(b"/v1/accounts/%FF/entries"), 422),
        (get(b"/v1/payments/%00"), 422),
        (get(b"/v1/payments/%"), 200),
        (get(b"/v1/payments/" + b"a" * 256), 422),
        (get(b"/" + b"a" * 17_000), 431),
        (get(b"/", headers=b"a: b\r\n" * 120), 431),
        (get(b"/" + b"a/" * 5000), 404),
        (get(b"http://localhost/v1/payments/p1"), 200),
        (get(b"http://localhost"), 302),
        # The host of the target counts (RFC 9112, 3.2.2), here and with the right one beside it.
        (get(b"http://evil.example/v1/payments/p1"), 421),
        (get(b"http://evil.example:8080/v1/payments/p1"), 421),
        (get(b"HTTP://EVIL.example./v1/payments/p1"), 421),
        (get(b"http://localhost@evil.example/v1/payments/p1"), 421),
        (get(b"http://localhost/v1/payments/p1", headers=b"host: localhost\r\n"), 400),
        (get(b"http://localhost/v1/payments/p1").replace(b"host:", b"toast:"), 400),
        (get(b"http://localhost:8080?x"), 302),
        (get(b"*", b"OPTIONS"), 404),
        (get(b"/v1/payments/p1", b"OPTIONS"), 405),
        (get(b"/v1/payments/p1", b"TRACE"), 405),
        (get(b"/v1/payments/p1", b"PROPFIND"), 405),
        (get(b"localhost:443", b"CONNECT"), 405),
        (get(b"/v1/payments/p1", b"FOO"), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)  # fmt: skip
async def test_every_request_has_its_status(
    fake: FakeService, request_: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    head, separator, body = request_.partition(b"\r\n\r\n")
    async with running(fake, **PATIENT) as run:
        [(found, headers, text)] = await run.exchange(
            head + b"\r\n" + CLOSE[:-2] + separator + body
        )
    assert found == status, text
    if status >= 400:
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(text)["status"] == status
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


OPERATIONS = (
    b"/v1/payments/p1", b"/v1/payments", b"/v1/payments/p1/cancel", b"/v1/deposits/p1",
    b"/payments/makePayment", b"/payments/cancelPayment", b"/payments/p1/makePayment",
    b"/payments/p1/cancelPayment",
)  # fmt: skip


@pytest.mark.parametrize("path", OPERATIONS)
async def test_half_of_a_surrogate_pair_is_refused_by_every_operation(
    fake: FakeService, path: bytes
) -> None:
    half = rb'"\ud800"'
    bodies = [
        b"{" + half + b':1,"account":"abc","amount":1}',
        b'{"account":' + half + b',"amount":1}',
        b'{"accountId":' + half + b',"amount":1}',
        b'{"key":' + half + b"}",
        b'{"key":"p1","request":{' + half + b":1}}",
        half,
    ]
    async with running(fake) as run:
        for body in bodies:
            request = post(b"idempotency-key: k\r\n" + CLOSE, body, path)
            [(status, headers, text)] = await run.exchange(request)
            assert status in (400, 422), (body, text)
            assert headers["content-type"] == "application/problem+json"
            json.loads(text)


@pytest.mark.parametrize(
    "refused",
    [
        post(b"expect: 100-continue\r\n", path=b"/nothing"),
        post(b"expect: 100-continue\r\n", path=b"/v1/payments/%00"),
        post(b"expect: 100-continue\r\ncontent-length: 9999999\r\n", b""),
    ],
)
async def test_an_answer_instead_of_continue_ends_the_connection(
    fake: FakeService, refused: bytes
) -> None:
    """Nobody knows whether the body still comes, so the next request could be taken for it."""
    head = refused.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    async with running(fake) as run:
        [(status, headers, _)] = await run.exchange(head)
        assert (status >= 400, headers["connection"]) == (True, "close")
        taken = post(b"expect: 100-continue\r\n" + CLOSE)
        assert (await sent(run.port, taken)).startswith(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"
        )


async def test_prefer_on_two_lines_is_one_list(fake: FakeService) -> None:
    fake.release.clear()
    for lines in (
        b"prefer: respond-async\r\nprefer: wait=0\r\n",
        b"prefer: a\r\nprefer: respond-async\r\n",
    ):
        async with running(fake) as run:
            [(status, *_)] = await run.exchange(post(lines + CLOSE))
            assert status == 202
            fake.release.set()


async def test_a_client_that_ends_its_own_side_is_answered(fake: FakeService) -> None:
    fake.release.clear()
    async with running(fake) as run:
        reader, writer = await run.connect()
        writer.write(post() + LIVE)
        writer.write_eof()
        await until(lambda: fake.waiting == 1)
        fake.release.set()
        received = await asyncio.wait_for(reader.read(), LIMIT_SECONDS)
        assert [status for status, *_ in answers(received)] == [200, 200]
        reader, writer = await run.connect()
        writer.write(get(b"/v1/payments/p1/events"))
        writer.write_eof()
        events = await asyncio.wait_for(reader.read(), LIMIT_SECONDS)
        assert b"event: state" in events, "a stream begins, and ends: nobody may read it"
        reader, writer = await run.connect()
        writer.write(post()[:-5])
        writer.write_eof()
        [(status, _, body)] = answers(await asyncio.wait_for(reader.read(), LIMIT_SECONDS))
        assert (status, "complete" in json.loads(body)["detail"]) == (400, True)


@pytest.mark.parametrize(
    "broken",
    [
        post(CHUNKED, b"zz\r\n"),
        post(CHUNKED, b"1\r\n"),
        post()[:-5],
        b"GARBAGE\r\n\r\n",
        post(b"host: other\r\n"),
        get(b"/" + b"x" * 20_000),
    ],
    ids=["chunk", "half a chunk", "half a body", "garbage", "two hosts", "long"],
)
async def test_a_broken_request_never_answers_for_the_one_before_it(
    fake: FakeService, broken: bytes
) -> None:
    fake.release.clear()
    async with running(fake) as run:
        for end in (True, False):
            reader, writer = await run.connect()
            writer.write(post(path=b"/v1/payments/first") + broken)
            if end:
                writer.write_eof()
            await until(lambda: fake.waiting == 1)
            fake.release.set()
            received = await asyncio.wait_for(reader.read(), LIMIT_SECONDS)
            [(status, _, body)] = answers(received)[:1]
            assert (status, json.loads(body)["payment"]) == (200, "first")
            fake.release.clear()
            writer.close()


async def test_an_answer_before_the_body_is_not_lost_when_the_connection_ends(
    fake: FakeService,
) -> None:
    async with running(fake, **PATIENT) as run:
        reader, writer = await run.connect()
        writer.write(
            b"PUT /v1/payments/p1 HTTP/1.0\r\nhost: localhost\r\ncontent-length: 9000\r\n\r\n"
        )
        line = await asyncio.wait_for(reader.readline(), LIMIT_SECONDS)
        writer.write(b" " * 9000)
        await writer.drain()
        rest = await asyncio.wait_for(reader.read(), LIMIT_SECONDS)
        assert b"405" in line
        assert b"method-not-allowed" in rest
        writer.close()


GETS = (
    b"/v1/payments/p1", b"/v1/payments/p1/events", b"/v1/payments/p1/commands/c",
    b"/v1/accounts/abc", b"/v1/accounts/abc/entries", b"/health/live", b"/health/ready",
    b"/openapi.json", b"/docs", b"/problems/declined", b"/", b"/nothing",
)  # fmt: skip


@pytest.mark.parametrize("path", GETS)
async def test_head_has_the_headers_of_get_and_the_connection_goes_on(
    fake: FakeService, path: bytes
) -> None:
    async with running(fake, **PATIENT) as run:
        reader, writer = await run.connect()
        async with asyncio.timeout(LIMIT_SECONDS):
            heads = []
            for method in (b"HEAD", b"HEAD", b"GET"):
                writer.write(get(path, method))
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                heads.append(set(head))
        assert heads[0] == heads[1] == heads[2]
        writer.close()
        await until(lambda: not run.server.server_state.connections)


async def test_nothing_is_left_open_by_head_of_a_stream(fake: FakeService) -> None:
    events = b"/v1/payments/p1/events"
    async with running(fake, max_streams=1) as run:
        for _ in range(3):
            [(status, *_)] = answers_to_head(await sent(run.port, get(events, b"HEAD", CLOSE)))
            assert status == 200


async def sent(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    received = await asyncio.wait_for(reader.read(), LIMIT_SECONDS)
    writer.close()
    return received


def answers_to_head(received: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return the one answer, whose length would be that of GET."""
    return answers(received.replace(b"\r\n\r\n", b"\r\ncontent-length: 0\r\n\r\n"))
