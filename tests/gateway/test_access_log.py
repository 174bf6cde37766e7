"""The access log has a line for what was refused before it was a request.

Of the same kind: requests that were (``test_tokens`` has their lines), and what such a client is
answered (``test_server``, ``test_http_forms``).
"""

import json
from typing import Any

import pytest

from payments.gateway import server as servers
from tests.gateway.fake_service import FakeService
from tests.gateway.running import Running, running

SECRET = b"a-very-secret-word"
HOST = b"host: localhost\r\n"


@pytest.fixture(autouse=True)
def sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "TICKS_PER_SWEEP", 1)


async def logged(
    run: Running, capsys: pytest.CaptureFixture[str], data: bytes
) -> list[dict[str, Any]]:
    capsys.readouterr()
    answered = await run.exchange(data)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [line["status"] for line in lines if line["status"] is not None]
    assert said == [status for status, _, _ in answered]
    assert SECRET.decode() not in str(lines)
    return lines


@pytest.mark.parametrize(
    ("data", "problem", "why"),
    [
        (b"hello " + SECRET + b"\r\n\r\n", "bad-http", "Invalid method encountered"),
        (b"\x16\x03\x01\x02\x00\x01" + SECRET, "bad-http", "This is TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad-http", "HTTP/2 is refused"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad-http", "exactly one header Host"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", "bad-http", "exactly one header Host"),
        (b"GET / HTTP/1.1\r\nbad header" + SECRET + b"\r\n\r\n", "bad-http", "header"),
        (b"GET /?" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST, "headers-too-large", None),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200 + b"\r\n", "headers-too-large", None),
        (b"CONNECT other:80 HTTP/1.1\r\n" + HOST + b"\r\n", "method-not-allowed", None),
        (b"GET / HTTP/1.1\r\nhost", "timeout", None),
        (b"POST /v1/payments/p1/cancel HTTP/1.1\r\n" + HOST + b"content-length: 9\r\n\r\n{",
         "timeout", None),
    ],
)  # fmt: skip
async def test_what_is_no_request_has_a_line(
    fake: FakeService,
    capsys: pytest.CaptureFixture[str],
    data: bytes,
    problem: str,
    why: str | None,
) -> None:
    async with running(fake, access_log=True) as run:
        (line,) = await logged(run, capsys, data)
    assert (line["client"], line["problem"]) == ("127.0.0.1", problem)
    assert line["time"]
    if why is None:
        assert line["why"] is None
    else:
        assert why in line["why"]


@pytest.mark.parametrize("path", [b"/v1/accounts/abc", b"/v1/accounts/abc/entries"])
async def test_a_request_for_an_account_and_its_defect_name_the_account(
    fake: FakeService,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    path: bytes,
) -> None:
    get = b"GET %s HTTP/1.1\r\nconnection: close\r\n%s\r\n" % (path, HOST)
    async with running(fake, access_log=True) as run:
        [line] = await logged(run, capsys, get)
        assert (line["status"], line["account"], line["payment"]) == (200, "abc", None)
        monkeypatch.setattr(fake, "account", None)
        monkeypatch.setattr(fake, "entries", None)
        [line] = await logged(run, capsys, get)
    assert (line["status"], line["account"]) == (500, "abc")
    [defect] = [record for record in caplog.records if "met a defect" in record.getMessage()]
    assert vars(defect)["account"] == "abc"


async def test_requests_have_their_problems_and_what_comes_behind_them_has_no_status(
    fake: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their answers come first, and what is no request behind them is not answered."""
    async with running(fake, access_log=True, root_path="/pay") as run:
        requests = b"".join(
            b"GET %s HTTP/1.1\r\n%s\r\n" % (path, HOST) for path in (b"/health/live", b"/nothing")
        )
        lines = await logged(run, capsys, requests + b"no request\r\n\r\n")
    assert [line["problem"] for line in lines] == ["bad-http", None, "not-found"]
    assert [line["status"] for line in lines] == [None, 200, 404]
