"""Requests put together from odd parts, byte by byte: none is a 500, a hang or an odd answer.

Each connection sends a few requests, in pieces. Every answer must be HTTP, its status below 500
and, where it is not a success, problem details. ``make fuzz`` sends 20,000 requests, the run with
the other tests 400. The seed is printed by a failure: ``PAYMENTS_FUZZ_SEED`` repeats it.
"""

import asyncio
import gzip
import json
import logging
import os
import random

import pytest

from payments.client import PaymentsClient
from payments.gateway import server as servers
from tests.gateway.running import Running, running

FULL = os.environ.get("PAYMENTS_FUZZ") == "full"
REQUESTS = 20_000 if FULL else 400
AT_ONCE, PER_CONNECTION = 8, 4
ANSWER_SECONDS = 60

METHODS = (
    *(b"POST",) * 8, *(b"GET",) * 5, b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE",
    b"PROPFIND", b"CONNECT", b"PRI", b"get", b"G\xc3\x89T", b"",
)  # fmt: skip
IDS = (
    b"p1", b"p2", b"a%2Fb", b"%FF", b"%ED%A0%80", b"%00", b"%", b"%zz", b"..", b".", b"", b"%20",
    b"x" * 255, b"x" * 256, b"%F0%9F%98%80" * 10, b"world%2F0", b"\xc3\xa9", b"a+b", b"a;b", b"~",
)  # fmt: skip
PATHS = (
    b"/v1/payments/%s", b"/v1/payments/%s/cancel", b"/v1/deposits/%s", b"/v1/payments",
    b"/v1/accounts/%s", b"/v1/accounts/%s/entries?after=0&limit=%s",
    b"/v1/payments/%s/commands/%s?wait=1ms", b"/payments/%s/makePayment",
    b"/payments/%s/cancelPayment", b"/payments/makePayment", b"/payments/cancelPayment",
    b"/problems/%s", b"/docs/%s", b"/", b"*", b"http://localhost/v1/payments/%s", b"//%s/%s",
    b"/v1/payments/%s#%s", b"/v1/payments/%s?%s=%s&&=", b"http://[::1", b"%s", b"/openapi.json",
)  # fmt: skip
VALUES: tuple[bytes, ...] = (
    b'"abc"', b"1", b"100", b"0", b"-1", b"1.0", b"1e3", b"1e400", b"-0", b"9" * 400, b"NaN",
    b"true", b"null", b"{}", b"[]", b'""', b'" "', rb'"\ud800"', rb'"\udc00\ud800"', rb'"\u0000"',
    b'"EUR"', b'"XXX"', b'"p1"', b"[" * 3000, b'{"a":' * 3000, b'"' + b"x" * 70_000 + b'"',
    b'"\xff"', b'"\xed\xa0\x80"', '"\U0001fae8"'.encode(), b'{"accountId":"abc","amount":1}', b"",
)  # fmt: skip
NAMES: tuple[bytes, ...] = (
    b'"account"', b'"amount"', b'"currency"', b'"accountId"', b'"key"', b'"request"', b'"type"',
    b'"id"', rb'"\ud800"', b'""', b'"acc\\u006funt"', b"account", b'"\x00"',
)  # fmt: skip
HEADERS = (
    b"content-type: application/json", b"content-type: Application/JSON; charset=UTF8",
    b"content-type: text/plain", b"content-type: application/json; charset=utf-16",
    b"content-type:", b"content-encoding: gzip", b"prefer: respond-async",
    b"prefer: respond-async, wait=0", b"prefer: wait=99999999999999999999", b'prefer: ,;="',
    b'idempotency-key: "k1"', b"idempotency-key: \xff", b"idempotency-key:",
    b"expect: 100-continue", b"expect: x", b"connection: upgrade, http2-settings",
    b"upgrade: h2c", b"upgrade: websocket",
    b"connection: keep-alive", b"origin: https://evil.example", b"origin: null", b"origin: \xff",
    b"sec-fetch-site: cross-site", b"host: evil.example", b"host:", b"authorization: Bearer \xff",
    b"x-forwarded-prefix: /x", b"cookie: " + b"c" * 4000, b"x: " + b"y" * 9000, b"bad header: x",
    b" folded: x", b"no colon", b"te: trailers", b"accept-encoding: gzip", b"range: bytes=0-1",
    b"access-control-request-method: POST", b"if-none-match: *", b"x-\xff: y", b"a: b\x00c",
)  # fmt: skip


class Maker:
    """Makes requests, the same ones for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def connection(self) -> list[bytes]:
        """Return the pieces of some requests, in the order in which they are sent."""
        data = b"".join(self._request() for _ in range(PER_CONNECTION))
        cuts = sorted(
            self._random.randrange(len(data) + 1) for _ in range(self._random.choice((0, 1, 5)))
        )
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _request(self) -> bytes:
        choose = self._random.choice
        path = choose(PATHS)
        path = path % tuple(choose(IDS) for _ in range(path.count(b"%s")))
        version = choose((b"1.1",) * 12 + (b"1.0", b"2.0", b"0.9", b"9.9"))
        lines = [b"%s %s HTTP/%s" % (choose(METHODS), path, version)]
        if self._random.random() < 0.97:
            lines.append(b"host: localhost")
        if self._random.random() < 0.8:
            lines.append(HEADERS[0])
        lines += [choose(HEADERS) for _ in range(choose((0, 0, 1, 2, 3)))]
        if self._random.random() < 0.01:
            lines += [b"a: b"] * 150
        body = self._body()
        if self._random.random() < 0.1:
            body = gzip.compress(body, mtime=0)
        framing = self._random.random()
        if framing < 0.75:
            lines.append(b"content-length: %d" % len(body))
        elif framing < 0.9:
            lines.append(b"transfer-encoding: chunked")
            trailer = choose((b"", b"prefer: respond-async\r\n", b"host: x\r\n"))
            body = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailer) if body else b"0\r\n\r\n"
        elif framing < 0.95:
            lines.append(b"content-length: " + choose((b"-1", b"x", b"99999999999999999999", b"5")))
        return b"\r\n".join([*lines, b"", body])

    def _body(self) -> bytes:
        choose = self._random.choice
        kind = self._random.random()
        if kind < 0.3:
            return choose((b'{"account":"abc","amount":1}', b'{"accountId":"abc","amount":1}'))
        if kind < 0.4:
            return b"\xef\xbb\xbf" * choose((0, 1, 2)) + choose(VALUES)
        members = [b"%s:%s" % (choose(NAMES), choose(VALUES)) for _ in range(choose((0, 1, 2, 3)))]
        return b"{" + b",".join(members) + choose((b"}",) * 9 + (b",}", b""))


def check(received: bytes) -> int:
    """Check every answer in what was received; return how many there are."""
    found = 0
    while received:
        head, separator, received = received.partition(b"\r\n\r\n")
        assert separator, head
        first, *lines = head.decode("ascii").split("\r\n")
        status = int(first.split()[1])
        if status == 100:
            continue
        headers = dict(line.split(": ", 1) for line in lines)
        found += 1
        assert status < 500, head
        if status >= 400:
            assert headers["content-type"] == "application/problem+json", head
        length = int(headers.get("content-length", 0))
        body = received[:length]
        if body.startswith(b"HTTP/1.1 ") or not body:
            continue  # It was the answer to HEAD.
        received = received[length:]
        if status >= 400:
            assert json.loads(body)["status"] == status
    return found


async def exchange(run: Running, pieces: list[bytes]) -> bytes:
    """Send the pieces, end our side, and return all that is answered."""
    reader, writer = await run.connect()
    receiving = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.write_eof()
        async with asyncio.timeout(ANSWER_SECONDS):
            return await receiving
    except OSError:
        return b""  # The gateway has said what it had to say, and does not want the rest.
    finally:
        receiving.cancel()
        writer.close()


async def test_whatever_is_sent_is_answered_below_500_or_closed(
    service: PaymentsClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(servers, "TICKS_PER_SWEEP", 1)
    seed = int(os.environ.get("PAYMENTS_FUZZ_SEED", random.SystemRandom().randrange(10**9)))
    maker, left, answered = Maker(seed), iter(range(REQUESTS // PER_CONNECTION)), 0
    caplog.set_level(logging.WARNING)

    async def keep_sending(run: Running) -> None:
        nonlocal answered
        for _ in left:
            pieces = maker.connection()
            try:
                found = check(await exchange(run, pieces))
            except (AssertionError, TimeoutError) as error:
                message = f"PAYMENTS_FUZZ_SEED={seed}: {error!r} after {b''.join(pieces)[:3000]!r}"
                raise AssertionError(message) from error
            answered += found

    async with (
        running(service, receive_timeout_seconds=2, max_streams=100_000) as run,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_ONCE):
            group.create_task(keep_sending(run))
    assert answered > REQUESTS // PER_CONNECTION, seed
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, (seed, errors)
