"""Conformance: Restate's payment examples' endpoints work here, without their known faults."""

import asyncio
import json

import httpx
import pytest

from payments.gateway.operations import OPERATIONS
from payments.testing import PaymentsTestbed
from tests.gateway.conftest import OPENING, problem

REQUEST = {"accountId": "abc", "amount": 100}
RETENTION_SECONDS = 86_400


async def make(http: httpx.AsyncClient, payment: str, **changes: object) -> httpx.Response:
    return await http.post(f"/payments/{payment}/makePayment", json=REQUEST | changes)


async def cancel(http: httpx.AsyncClient, payment: str) -> httpx.Response:
    return await http.post(f"/payments/{payment}/cancelPayment")


async def test_the_endpoints_of_both_systems_answer_as_there(http: httpx.AsyncClient) -> None:
    body = {"key": "some-string-id", "request": REQUEST}
    answers = [
        await http.post("/payments/makePayment", json=body),
        await http.post("/payments/cancelPayment", json={"key": "some-string-id"}),
        await make(http, "my-payment-id"),
        await cancel(http, "my-payment-id"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json()["success"] for answer in answers] == [True] * 4


async def test_messages_are_not_swapped(http: httpx.AsyncClient) -> None:
    first, again = (await make(http, "p1")).json(), (await make(http, "p1")).json()
    assert first["message"] == "payment p1 is completed: 1.00 EUR taken from account abc"
    assert again["message"] == "payment p1 was completed before; nothing was taken again"
    await cancel(http, "p1")
    refused = problem(await make(http, "p1"), 409, "cancelled")
    assert refused["success"] is False
    assert refused["message"] == "payment p1 was cancelled before, so it is not made"


async def test_a_cancel_says_what_it_did(http: httpx.AsyncClient) -> None:
    await make(http, "p1")
    undone, again = (await cancel(http, "p1")).json(), (await cancel(http, "p1")).json()
    prevented = (await cancel(http, "p2")).json()
    moved_back = "its 1.00 EUR were moved back (account abc)"
    assert undone["message"] == f"payment p1 is cancelled: {moved_back}"
    assert again["message"] == f"payment p1 was cancelled before: {moved_back}"
    assert prevented["message"] == (
        "payment p2 is cancelled: no money had moved, and a later make or authorize is refused"
    )
    assert [one["reason"] for one in (undone, again, prevented)] == [
        "rolled_back",
        "rolled_back",
        "prevented",
    ]


@pytest.mark.parametrize("field", ["accountId", "amount"])
async def test_a_missing_field_is_refused_by_its_name(http: httpx.AsyncClient, field: str) -> None:
    body = {name: value for name, value in REQUEST.items() if name != field}
    response = await http.post("/payments/p1/makePayment", json=body)
    found = problem(response, 422, "invalid")
    assert (found["field"], found["reason"]) == (field, "missing_field")
    keyed = {"key": "p1", "request": body}
    assert problem(await http.post("/payments/makePayment", json=keyed), 422, "invalid")


@pytest.mark.parametrize("amount", [1.5, 1.0, "100", True, None, [1], {"value": 1}, 0, -1])
async def test_an_amount_that_is_no_positive_whole_number_is_refused(
    http: httpx.AsyncClient, testbed: PaymentsTestbed, amount: object
) -> None:
    assert problem(await make(http, "p1", amount=amount), 422, "invalid")["field"] == "amount"
    assert testbed.records("payments.commands") == []
    assert (await make(http, "p1")).status_code == 200


async def test_an_emptied_account_is_not_filled_again(http: httpx.AsyncClient) -> None:
    assert (await make(http, "p1", amount=OPENING)).status_code == 200
    found = problem(await make(http, "p2", amount=1), 402, "declined")
    assert (found["success"], found["reason"]) == (False, "insufficient_funds")
    balance = await http.get("/v1/accounts/abc")
    assert balance.json()["balance"] == 0


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'""', b"0"])
async def test_a_null_body_neither_hangs_nor_blocks_the_id(
    http: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    async with asyncio.timeout(60):
        for path in ("/payments/p1/makePayment", "/payments/makePayment"):
            response = await http.post(path, content=body, headers=headers)
            assert response.status_code in (400, 422)
        assert (await make(http, "p1")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_neither_hangs_nor_blocks_the_id(
    http: httpx.AsyncClient, method: str
) -> None:
    async with asyncio.timeout(60):
        for path in ("/payments/p1/makePayment", "/payments/p1/cancelPayment"):
            response = await http.request(method, path)
            assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert (await make(http, "p1")).status_code == 200


async def test_another_body_under_the_same_id_is_refused_by_field(http: httpx.AsyncClient) -> None:
    await make(http, "p1")
    other = await make(http, "p1", accountId="other")
    assert problem(other, 422, "different-request")["field"] == "accountId"
    more = await make(http, "p1", amount=101)
    assert problem(more, 422, "different-request")["field"] == "amount"


@pytest.mark.parametrize(
    "path",
    [
        "/payments/p1/expire",
        "/payments/p1/expireToken",
        "/payments/p1/makePaymentInternal",
        "/accounts/abc/withdraw",
        "/accounts/abc/deposit",
        "/accounts/deposit",
        "/account/abc/withdraw",
    ],
)
async def test_no_operation_inside_the_system_can_be_called(
    http: httpx.AsyncClient, path: str
) -> None:
    problem(await http.post(path, json=REQUEST), 404, "not-found")


def test_every_operation_that_changes_something_is_a_command() -> None:
    changing = {(one.method, one.path) for one in OPERATIONS if one.method != "GET"}
    assert changing == {
        ("POST", "/v1/payments"),
        ("POST", "/v1/payments/{payment}"),
        ("POST", "/v1/payments/{payment}/cancel"),
        ("POST", "/v1/payments/{payment}/authorize"),
        ("POST", "/v1/payments/{payment}/capture"),
        ("POST", "/v1/payments/{payment}/void"),
        ("POST", "/v1/payments/{payment}/refunds/{refund}"),
        ("POST", "/v1/deposits/{payment}"),
        *(
            ("POST", f"/v1/accounts/{{account}}/{command}")
            for command in ("open", "freeze", "unfreeze", "limit", "close")
        ),
        ("POST", "/payments/makePayment"),
        ("POST", "/payments/cancelPayment"),
        ("POST", "/payments/{payment}/makePayment"),
        ("POST", "/payments/{payment}/cancelPayment"),
    }


async def test_the_timer_of_a_make_does_not_forget_its_later_cancel(
    http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    await make(http, "p1")
    await testbed.advance(RETENTION_SECONDS - 60)
    await cancel(http, "p1")
    # Now the make would expire, if it were not for the cancel, which counts from its own time.
    await testbed.advance(3600)
    problem(await make(http, "p1"), 409, "cancelled")
    assert testbed.ledger("abc")[-1].balance == OPENING


@pytest.mark.parametrize(
    "body",
    [{}, {"key": 7}, {"key": ""}, {"key": "p1", "request": {}}, {"key": "p1", "request": 3}],
)
async def test_what_fails_validation_is_no_server_error(
    http: httpx.AsyncClient, body: dict[str, object]
) -> None:
    for path in ("/payments/makePayment", "/payments/p1/makePayment"):
        assert problem(await http.post(path, json=body), 422, "invalid")["field"]
    unknown = await http.post("/payments/cancelPayment", json={**body, "other": 1})
    assert problem(unknown, 422, "invalid")["field"]


@pytest.mark.parametrize("key", ["\ud800", "a\nb", " ", "x" * 256])
async def test_a_key_that_is_no_id_is_refused(http: httpx.AsyncClient, key: str) -> None:
    content = json.dumps({"key": key}).encode()
    headers = {"content-type": "application/json"}
    response = await http.post("/payments/cancelPayment", content=content, headers=headers)
    assert problem(response, 422, "invalid")["field"] == "key"
