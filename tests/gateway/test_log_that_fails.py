"""A log that can't be written costs its own lines and no answer: full disk, closed pipe, no reader.

Standard output of the gateway (the access log) and standard error of workers and gateways
(``payments.process.logs``) are of one kind. The commands of the CLI say on standard error that
their output is lost (``tests/cli/test_ending.py``).
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import httpx
import pytest
from starlette.responses import Response

from payments.client import PaymentsClient
from payments.gateway import access_log as access_logs
from payments.gateway.access_log import AccessLog
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.process import logs
from tests.gateway.fake_service import FakeService
from tests.gateway.running import running

REQUESTS = 1500
"""Their lines are more than a pipe holds."""

GET = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


@contextmanager
def output(kind: str) -> Iterator[tuple[TextIO, int | None]]:
    """Open a file for a log, and the reader's end of it."""
    if kind == "full disk":
        with Path("/dev/full").open("w") as full:
            yield full, None
        return
    reader, writer = os.pipe()
    if kind == "closed pipe":
        os.close(reader)
    try:
        with os.fdopen(writer, "w") as pipe:
            yield pipe, reader
    finally:
        if kind != "closed pipe":
            os.close(reader)


@pytest.mark.parametrize("kind", ["full disk", "closed pipe", "pipe that nobody reads"])
async def test_requests_are_answered_whatever_becomes_of_the_access_log(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    with output(kind) as (out, _):
        monkeypatch.setattr(sys, "stdout", out)
        async with running(fake, access_log=True, receive_timeout_seconds=60) as run:
            answers = await run.exchange(
                GET * REQUESTS + GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            )
            assert [status for status, _, _ in answers] == [200] * (REQUESTS + 1)
            told = [r.message for r in caplog.records if "access log" in r.message]
            assert len(told) == 1, told
            assert "dropped" in told[0]
    counted = [r.message for r in caplog.records if "access log" in r.message][1:]
    assert len(counted) == 1
    number = int(counted[0].split()[0])
    assert (number == REQUESTS + 1) if kind != "pipe that nobody reads" else (0 < number < REQUESTS)


def test_a_log_goes_on_with_whole_lines_once_it_is_read_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_logs, "LOG_INTERVAL_SECONDS", 0.0)
    with output("pipe") as (out, reader):
        assert reader is not None
        log = AccessLog(out)
        written = 0
        while "dropped" not in caplog.text:
            log.write_refused("127.0.0.1", _answer(), f"{written}" * 100, None)
            written += 1
        got = os.read(reader, 1 << 20)
        log.write_refused("127.0.0.1", _answer(), "the last one", None)
        got += os.read(reader, 1 << 20)
    lines = [json.loads(line) for line in got.splitlines()]
    assert lines[-1]["why"] == "the last one"
    assert len(lines) == written  # One was dropped, one came later.
    assert "1 lines of the access log were dropped" in caplog.text


async def test_a_line_that_can_not_be_made_touches_no_answer(
    service: PaymentsClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(access_logs, "iso_time", fail)
    gateway = Gateway(service, GatewaySettings(access_log=True))
    transport = httpx.ASGITransport(gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for _ in range(3):
            made = await http.post("/v1/payments/p1", json={"account": "abc", "amount": 100})
            assert made.status_code == 200
    assert caplog.text.count("has no line in the access log") == 1


@pytest.mark.parametrize("kind", ["full disk", "closed pipe", "pipe that nobody reads"])
def test_the_log_on_standard_error_fails_and_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with output(kind) as (out, _):
        monkeypatch.setattr(sys, "stderr", out)
        handler = logs.StandardError()
        for _ in range(REQUESTS):
            handler.handle(_record("x" * 100))


def test_the_log_on_standard_error_says_how_many_lines_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with output("pipe") as (out, reader):
        assert reader is not None
        monkeypatch.setattr(sys, "stderr", out)
        handler = logs.StandardError()
        for number in range(REQUESTS):
            handler.handle(_record(f"{number} " * 50))
        got = os.read(reader, 1 << 20).splitlines()
        handler.handle(_record("the last one"))
        got += os.read(reader, 1 << 20).splitlines()
    missing = REQUESTS - len(got) + 2
    assert missing > 0
    assert f"({missing} lines are missing here" in got[-2].decode()
    assert got[-1] == b"the last one"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream_is_as_good_as_a_full_one(
    monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr(sys, stream, None)
    AccessLog().write_refused("127.0.0.1", _answer(), None, 400)
    logs.StandardError().handle(_record("hello"))


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord("payments", logging.INFO, "", 0, message, None, None)


def _answer() -> Response:
    return Response(b"{}", 400)


@pytest.mark.parametrize("command", ["worker", "gateway"])
def test_a_process_that_can_not_start_ends_though_nobody_reads_its_error(command: str) -> None:
    """Whoever supervises it would wait for it, and never start it again."""
    with output("pipe") as (out, reader):
        assert reader is not None
        _fill(out)
        given = {**os.environ, "PAYMENTS_PARTITIONS": "many"}
        ended = subprocess.run(
            [sys.executable, "-m", "payments.cli", command],
            env=given,
            stderr=out,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1


def _fill(out: TextIO) -> None:
    file = out.fileno()
    os.set_blocking(file, False)
    with suppress(BlockingIOError):
        while True:
            os.write(file, bytes(4096))
    os.set_blocking(file, True)
