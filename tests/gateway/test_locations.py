"""The address of a 202 holds: after a restart of the gateway, and at another gateway.

Of the same kind: a gateway killed between 202 and the result, on a broker
(``test_gateway_on_kafka``); what is kept in memory (``test_async_commands``).
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from exactstage.kafka import Chunk
from exactstage.log import TopicPartition
from payments.client import LogTransport, PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.exchange import path_segment
from payments.gateway.settings import GatewaySettings
from payments.testing import PaymentsTestbed
from tests.gateway.conftest import problem

MOVEMENT = {"account": "abc", "amount": 100}
ASYNC = {"Prefer": "respond-async"}


@asynccontextmanager
async def new_gateway(testbed: PaymentsTestbed) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway that knows nothing of any before."""
    transport = LogTransport(testbed.log)
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        gateway = Gateway(client, GatewaySettings())
        asgi = httpx.ASGITransport(gateway)
        async with httpx.AsyncClient(transport=asgi, base_url="http://gateway") as http:
            yield http


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/payments/p%2F1", MOVEMENT, 200),
        ("/v1/deposits/p%2F1", MOVEMENT, 200),
        ("/v1/payments/p%2F1", {"account": "abc", "amount": 10**9}, 402),
        ("/v1/payments/never/cancel", None, 200),
        ("/payments/p%2F1/makePayment", {"accountId": "abc", "amount": 100}, 200),
        ("/payments/p%2F1/makePayment", {"accountId": "abc", "amount": 10**9}, 402),
        ("/payments/cancelPayment", {"key": "p1"}, 200),
        ("/v1/payments", MOVEMENT, 200),
    ],
)
async def test_a_location_is_answered_alike_after_a_restart(
    testbed: PaymentsTestbed, path: str, body: object, status: int
) -> None:
    headers = {**ASYNC, "Idempotency-Key": '"a key"'} if path == "/v1/payments" else ASYNC
    async with new_gateway(testbed) as http:
        taken = await http.post(path, json=body, headers=headers)
        before = await http.get(f"{taken.headers['location']}?wait=10s")
        assert (taken.status_code, before.status_code) == (202, status), before.text
        await http.post("/v1/payments/p%2F1/cancel")  # It leaves the result as it was.
    async with new_gateway(testbed) as http:
        for _ in range(2):
            after = await http.get(taken.headers["location"])
            assert (after.status_code, after.content) == (status, before.content)
            assert after.headers.get("location") == before.headers.get("location")


IDS = [
    ".", "..", "...", ".a", "%", "%2e%2e", "%2F", "a/b", "/", "a/../b", "?", "a?b=c", "#", "a#b",
    "a;b", ";", "\\", "..\\x", "a b", "a+b", "a&b=c", "a:b", "@", "üñ", "\U0001f600", "'\"", "<>",
    "[]{}|^`~",
]  # fmt: skip


@pytest.mark.parametrize("payment", IDS)
async def test_the_location_of_any_id_leads_there(testbed: PaymentsTestbed, payment: str) -> None:
    """``httpx`` and ``http.client`` keep it; what can't ask for two of them is in docs/http.md."""
    key = json.dumps(payment)
    if payment.isascii():  # Else no header can have it.
        async with new_gateway(testbed) as http:
            headers = {"Idempotency-Key": key}
            made = await http.post("/v1/payments", json=MOVEMENT, headers=headers)
            assert made.json()["payment"] == payment
            _plain_path(made.headers["location"])
            looked = await http.get(made.headers["location"])
            assert (looked.status_code, looked.json()["payment"]) == (200, payment)
    async with new_gateway(testbed) as http:
        path = f"/v1/payments/{path_segment(payment)}"
        taken = await http.post(path, json=MOVEMENT, headers=ASYNC)
        location = taken.headers["location"]
        assert taken.json()["location"] == location
        _plain_path(location)
        assert location.startswith(f"{path}/commands/")
        found = await http.get(f"{location}?wait=10")
        assert (found.status_code, found.json()["payment"]) == (200, payment)


def _plain_path(location: str) -> None:
    """Check that no client finds another path in it (RFC 3986, 5.2.4 and 6.2.2.2)."""
    parts = urlsplit(location)
    assert (parts.path, parts.query, parts.fragment) == (location, "", "")
    assert urljoin("http://gateway", location) == f"http://gateway{location}"
    assert not {".", "..", ""} & set(location.split("/")[1:])
    assert location.isascii()
    assert not set(location) & set(' ;\\"<>[]{}|^`')


@pytest.mark.parametrize("account", ["..", "a b", "a/b", "?", "#", ";"])
async def test_the_next_page_of_any_account_leads_there(account: str) -> None:
    async with (
        PaymentsTestbed(opening_balance=1000) as testbed,
        new_gateway(testbed) as http,
    ):
        movement = {"account": account, "amount": 1}
        assert (await http.post("/v1/payments/p1", json=movement)).status_code == 200
        path = f"/v1/accounts/{path_segment(account)}/entries"
        first = await http.get(f"{path}?limit=1")
        following = first.json()["next"]
        assert first.headers["link"] == f'<{following}>; rel="next"'
        _plain_path(following.partition("?")[0])
        assert (await http.get(following)).json()["entries"][0]["sequence"] == 2


async def test_a_result_that_comes_after_the_search_is_waited_for(
    testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live results bring it."""
    real = LogTransport.read
    results = testbed.settings.topics.results

    async def read(self: LogTransport, at: TopicPartition, offset: int, **options: Any) -> Chunk:
        chunk = await real(self, at, offset, **options)
        if at.topic != results:
            return chunk
        return Chunk([], chunk.position)  # As if the result had come a moment later.

    async with testbed.client() as client:
        mark = await client.mark("p1")
        monkeypatch.setattr(LogTransport, "read", read)
        future = await client.submit("p1", {"type": "cancel", "id": "c1"})
        resumed = await client.resume("p1", "c1", mark)
        assert resumed is not None
        assert await resumed == await future


@pytest.mark.parametrize(
    "own",
    [
        "p" + "0" * 32 + "-0-0",  # No such command.
        "z" + "0" * 32 + "-0-0",  # No such form of an answer.
        "p" + "0" * 32 + "-9999999999999999999-9999999999999999999",
        "p" + "0" * 32 + "-99999999999999999999-0",
        "p" + "0" * 32 + "--1-0",
        "p" + "0" * 32,
        "0b9a4e1cfe5d4c0cb4a5f6f2cc8a1f0e",  # As versions before wrote it.
        "%FF",
        "%00",
        "p%D9%A1",
    ],
)
async def test_an_address_that_was_never_given_is_404(testbed: PaymentsTestbed, own: str) -> None:
    async with new_gateway(testbed) as http:
        await http.post("/v1/payments/p1", json=MOVEMENT)
        problem(await http.get(f"/v1/payments/p1/commands/{own}"), 404, "command-not-found")


async def test_the_address_of_another_payments_command_is_404(testbed: PaymentsTestbed) -> None:
    async with new_gateway(testbed) as http:
        taken = await http.post("/v1/payments/p1", json=MOVEMENT, headers=ASYNC)
    own = taken.json()["command"]
    async with new_gateway(testbed) as http:
        problem(await http.get(f"/v1/payments/p2/commands/{own}"), 404, "command-not-found")
        assert (await http.get(f"/v1/payments/p1/commands/{own}?wait=10")).status_code == 200


async def test_a_mark_far_before_the_command_costs_a_limited_search(
    testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.client.resuming.MAX_COMMANDS", 3)
    async with testbed.client() as client:
        for number in range(3):
            await client.get("p1", command_id=f"c{number}")
        mark = await client.mark("p1")
        await client.get("p1", command_id="c3")
        assert await client.resume("p1", "c3", mark._replace(commands=0)) is None
        resumed = await client.resume("p1", "c3", mark)
        assert resumed is not None
        assert (await resumed).command == "c3"
        assert await client.resume("p1", "c1", mark) is None
