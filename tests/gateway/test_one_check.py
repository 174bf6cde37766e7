"""A request is parsed and checked once by the gateway, and its record once by the worker."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import httpx
import pytest

from payments.records import commands

READERS = (
    commands.parse_payment_id,
    commands.parse_movement,
    commands.parse_command,
    commands.decode_members,
    commands.command_of,
)
CODES = {reader.__code__: reader.__name__ for reader in READERS}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of the functions that read ids and commands."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in CODES:
            calls[CODES[frame.f_code]] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(
    ("method", "path", "body", "own_reads"),
    [
        ("POST", "/v1/payments/p1", b'{"account":"a","amount":1}', {"parse_movement": 1}),
        ("POST", "/v1/deposits/p1", b'{"account":"a","amount":1}', {"parse_movement": 1}),
        (
            "POST",
            "/payments/p1/makePayment",
            b'{"accountId":"a","amount":1}',
            {"decode_members": 1, "command_of": 1},
        ),
        ("POST", "/v1/payments/p1/cancel", b"", {}),
        (
            "POST",
            "/v1/payments/p1/authorize",
            b'{"account":"a","amount":1,"hold_seconds":9}',
            {"parse_movement": 1},
        ),
        (
            "POST",
            "/v1/payments/p1/capture",
            b'{"amount":1}',
            {"decode_members": 1, "command_of": 1},
        ),
        ("POST", "/v1/payments/p1/refunds/r1", b"", {"command_of": 1}),
        ("POST", "/v1/payments/p1/void", b"", {}),
        ("GET", "/v1/payments/p1", b"", {}),
    ],
)
async def test_a_request_is_parsed_once_on_each_side_of_the_topic(
    http: httpx.AsyncClient, method: str, path: str, body: bytes, own_reads: dict[str, int]
) -> None:
    headers = {"content-type": "application/json"} if body else {}
    with counted() as calls:
        response = await http.request(method, path, content=body, headers=headers)
    assert response.status_code in {200, 404}, response.text
    assert calls == {"parse_payment_id": 2, "parse_command": 1, **own_reads}


async def test_a_command_that_is_answered_later_is_parsed_no_more_often(
    http: httpx.AsyncClient,
) -> None:
    headers = {"prefer": "respond-async, wait=10"}
    with counted() as calls:
        response = await http.post(
            "/v1/payments/p1", json={"account": "a", "amount": 1}, headers=headers
        )
    assert response.status_code == 200
    assert calls == {"parse_payment_id": 2, "parse_command": 1, "parse_movement": 1}
