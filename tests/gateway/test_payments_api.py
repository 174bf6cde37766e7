"""The API of payments: outcomes become statuses, and every refusal is a problem that names why."""

import asyncio
from typing import Any

import httpx
import pytest

from payments.testing import PaymentsTestbed
from tests.gateway.conftest import OPENING, problem

MOVEMENT = {"account": "abc", "amount": 100}


async def test_a_make_is_answered_with_its_result(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/payments/pay-1", json=MOVEMENT)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in response.headers
    body = response.json()
    assert (body["payment"], body["outcome"], body["amount"]) == ("pay-1", "completed", 100)


async def test_the_same_make_again_moves_nothing_and_says_so(
    http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    for _ in range(3):
        response = await http.post("/v1/payments/pay-1", json=MOVEMENT)
        assert response.status_code == 200
    assert response.headers["idempotent-replayed"] == "true"
    assert [entry.kind for entry in testbed.ledger("abc")] == ["opening", "make"]


async def test_a_payment_over_the_balance_is_declined_with_402(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/payments/pay-1", json={"account": "abc", "amount": OPENING + 1})
    body = problem(response, 402, "declined")
    assert body["reason"] == "insufficient_funds"
    assert body["result"]["outcome"] == "declined"


async def test_a_make_after_a_cancel_is_a_conflict(http: httpx.AsyncClient) -> None:
    cancelled = await http.post("/v1/payments/pay-1/cancel")
    assert (cancelled.status_code, cancelled.json()["reason"]) == (200, "prevented")
    body = problem(await http.post("/v1/payments/pay-1", json=MOVEMENT), 409, "cancelled")
    assert body["reason"] == "prevented"


async def test_a_cancel_tells_that_it_rolled_back(
    http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    await http.post("/v1/payments/pay-1", json=MOVEMENT)
    response = await http.post("/v1/payments/pay-1/cancel", json={})
    assert (response.status_code, response.json()["reason"]) == (200, "rolled_back")
    again = await http.post("/v1/payments/pay-1/cancel")
    assert again.headers["idempotent-replayed"] == "true"
    assert testbed.ledger("abc")[-1].balance == OPENING


async def test_a_cancel_of_money_that_is_gone_is_refused(http: httpx.AsyncClient) -> None:
    await http.post("/v1/deposits/dep-1", json={"account": "new", "amount": 50})
    await http.post("/v1/payments/pay-1", json={"account": "new", "amount": OPENING + 1})
    body = problem(await http.post("/v1/payments/dep-1/cancel"), 409, "cancel-refused")
    assert body["reason"] == "insufficient_funds"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"account": "other"}, "account"),
        ({"amount": 101}, "amount"),
        ({"currency": "USD"}, "currency"),
    ],
)
async def test_the_same_id_with_another_request_names_the_field(
    http: httpx.AsyncClient, changed: dict[str, Any], field: str
) -> None:
    await http.post("/v1/payments/pay-1", json=MOVEMENT)
    response = await http.post("/v1/payments/pay-1", json=MOVEMENT | changed)
    assert problem(response, 422, "different-request")["field"] == field


async def test_a_deposit_under_the_id_of_a_make_is_another_request(http: httpx.AsyncClient) -> None:
    await http.post("/v1/payments/pay-1", json=MOVEMENT)
    response = await http.post("/v1/deposits/pay-1", json=MOVEMENT)
    assert problem(response, 422, "different-request")["field"] == "type"


async def test_a_deposit_opens_an_account(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/deposits/d-1", json={**MOVEMENT, "currency": "USD"})
    assert (response.status_code, response.json()["type"]) == (200, "deposit")


async def test_a_look_tells_the_state_and_404_where_there_is_none(http: httpx.AsyncClient) -> None:
    problem(await http.get("/v1/payments/pay-1"), 404, "payment-not-found")
    await http.post("/v1/payments/pay-1", json=MOVEMENT)
    response = await http.get("/v1/payments/pay-1")
    assert (response.status_code, response.json()["state"]) == (200, "completed")


@pytest.mark.parametrize("payment", ["a/b", "ü€😀", "100%", "..", "a b", "a+b", '"', "makePayment"])
async def test_an_id_may_hold_any_printable_character(
    http: httpx.AsyncClient, payment: str
) -> None:
    path = "/v1/payments/" + "".join(f"%{byte:02x}" for byte in payment.encode())
    response = await http.post(path, json=MOVEMENT)
    assert (response.status_code, response.json()["payment"]) == (200, payment)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("%00", "key_not_printable"),
        ("%ff", "key_not_utf8"),
        ("x" * 256, "key_too_long"),
        ("%20p", "key_not_printable"),  # Answered by the worker: one that exists may be asked for.
        ("p%20", "key_not_printable"),
    ],
)
async def test_an_id_that_is_none_is_refused(
    http: httpx.AsyncClient, encoded: str, reason: str
) -> None:
    body = problem(await http.post(f"/v1/payments/{encoded}", json=MOVEMENT), 422, "invalid")
    assert (body["field"], body["reason"]) == ("payment", reason)


BAD_FIELDS: list[tuple[bytes, str, str]] = [
    (b'{"amount":1}', "account", "missing_field"),
    (b'{"account":"a"}', "amount", "missing_field"),
    (b'{"account":"a","amount":1.5}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":1.0}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":1e2}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":NaN}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":"1"}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":true}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":null}', "amount", "amount_not_integer"),
    (b'{"account":"a","amount":0}', "amount", "amount_not_positive"),
    (b'{"account":"a","amount":-5}', "amount", "amount_not_positive"),
    (b'{"account":"a","amount":1000000000000001}', "amount", "amount_too_large"),
    (b'{"account":"a","amount":1' + b"0" * 400 + b"}", "amount", "amount_too_large"),
    (b'{"account":"","amount":1}', "account", "empty_account"),
    (b'{"account":7,"amount":1}', "account", "invalid_account"),
    (b'{"account":"\\ud800","amount":1}', "account", "invalid_account"),
    (b'{"account":"sales/3","amount":1}', "account", "reserved_account"),
    (b'{"account":"a","amount":1,"currency":"XXX"}', "currency", "unknown_currency"),
    (b'{"account":"a","amount":1,"amount":2}', "amount", "duplicated_field"),
    (b'{"account":"a","amount":1,"type":"make"}', "type", "unknown_field"),
    (b'{"account":"a","amount":1,"id":"x"}', "id", "unknown_field"),
    (b'{"account":"a","amount":1,"note":"x"}', "note", "unknown_field"),
]


@pytest.mark.parametrize(("body", "field", "reason"), BAD_FIELDS)
async def test_a_bad_field_is_named_and_nothing_is_sent(
    http: httpx.AsyncClient, testbed: PaymentsTestbed, body: bytes, field: str, reason: str
) -> None:
    response = await post_bytes(http, body)
    found = problem(response, 422, "invalid")
    assert (found["field"], found["reason"]) == (field, reason)
    assert testbed.records("payments.commands") == []


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"", 400, "not-json"),
        (b"{", 400, "not-json"),
        (b"\xff", 400, "not-json"),
        (b"{}}", 400, "not-json"),
        (b"[" * 60_000, 400, "not-json"),
        (b"null", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'"text"', 422, "invalid"),
        (b"7", 422, "invalid"),
        (b" " * 65_537, 413, "too-large"),
        (b" " * 2_000_000, 413, "too-large"),
    ],
)
async def test_a_body_that_is_no_object_is_refused(
    http: httpx.AsyncClient, body: bytes, status: int, slug: str
) -> None:
    problem(await post_bytes(http, body), status, slug)


async def test_a_body_of_64_kib_is_taken(http: httpx.AsyncClient) -> None:
    body = b'{"account":"abc","amount":1}'
    assert (await post_bytes(http, body.ljust(65_536))).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/json; charset=latin-1"])
async def test_what_is_not_called_json_is_415(http: httpx.AsyncClient, content_type: str) -> None:
    response = await post_bytes(http, b'{"account":"a","amount":1}', content_type)
    problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
async def test_json_may_be_called_so_in_several_ways(
    http: httpx.AsyncClient, content_type: str
) -> None:
    response = await post_bytes(http, b'{"account":"a","amount":1}', content_type)
    assert response.status_code == 200


async def test_a_hundred_requests_for_one_id_take_the_money_once(
    http: httpx.AsyncClient, testbed: PaymentsTestbed
) -> None:
    requests = [http.post("/v1/payments/pay-1", json=MOVEMENT) for _ in range(100)]
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {200}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(testbed.ledger("abc")) == 2


@pytest.mark.parametrize(
    ("header", "payment"),
    [
        ('"order-17"', "order-17"),
        ("order-17", "order-17"),
        (r'"a\"b\\c"', r"a\"b\c".replace('\\"', '"')),
    ],
)
async def test_the_idempotency_key_is_the_payment_id(
    http: httpx.AsyncClient, header: str, payment: str
) -> None:
    response = await http.post("/v1/payments", json=MOVEMENT, headers={"Idempotency-Key": header})
    assert (response.status_code, response.json()["payment"]) == (200, payment)
    found = await http.get(response.headers["location"])
    assert found.json()["payment"] == payment


async def test_another_request_under_one_idempotency_key_is_422(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": '"order-17"'}
    await http.post("/v1/payments", json=MOVEMENT, headers=headers)
    response = await http.post("/v1/payments", json={**MOVEMENT, "amount": 1}, headers=headers)
    problem(response, 422, "different-request")


@pytest.mark.parametrize("header", ["", '""', '"a', 'a"b"', '"a"; x=1', '"a", "b"', "a,b", '"\\a"'])
async def test_a_malformed_idempotency_key_is_400(http: httpx.AsyncClient, header: str) -> None:
    response = await http.post("/v1/payments", json=MOVEMENT, headers={"Idempotency-Key": header})
    problem(response, 400, "bad-idempotency-key")


async def test_a_missing_or_repeated_idempotency_key_is_400(http: httpx.AsyncClient) -> None:
    problem(await http.post("/v1/payments", json=MOVEMENT), 400, "bad-idempotency-key")
    twice = [("Idempotency-Key", '"a"'), ("Idempotency-Key", '"a"')]
    response = await http.post("/v1/payments", json=MOVEMENT, headers=twice)
    problem(response, 400, "bad-idempotency-key")


async def post_bytes(
    http: httpx.AsyncClient, body: bytes, content_type: str = "application/json"
) -> httpx.Response:
    headers = {"content-type": content_type}
    return await http.post("/v1/payments/pay-1", content=body, headers=headers)
