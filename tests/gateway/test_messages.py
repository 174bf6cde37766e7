"""What a result means in words is in one place of every answer, event and result of the client.

The sentences themselves: tests/records/test_wording.py; the command: tests/cli/test_payments.py.
"""

from typing import Any

import httpx

from payments.client import PaymentsClient
from payments.gateway.app import Gateway
from payments.testing import PaymentsTestbed
from tests.gateway.test_events import Reader

TOO_MUCH = {"account": "abc", "amount": 100_001}
FORMER = "payment p1 is declined: account abc has less than 1,000.01 EUR; no money was moved"
DECLINED = FORMER.replace(";", " available;")


async def post(http: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.post(path, json=body)).json()
    return answer


async def test_a_declined_payment_says_why_in_detail_result_and_message(
    http: httpx.AsyncClient, service: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    over_http = await post(http, "/v1/payments/p1", **TOO_MUCH)
    assert (over_http["detail"], over_http["result"]["message"]) == (DECLINED, DECLINED)
    example = await post(http, "/payments/p1/makePayment", accountId="abc", amount=100_001)
    assert [example[name] for name in ("message", "detail")] == [FORMER] * 2
    assert example["result"]["message"] == FORMER, "the answers of the examples stay as they were"
    by_client = await service.make("p1", account="abc", amount=100_001)
    assert by_client.message == DECLINED
    assert [result.message for result in testbed.results()] == [None] * 3, "records are as before"


async def test_what_is_done_but_not_plainly_says_so_too(http: httpx.AsyncClient) -> None:
    body = {"account": "abc", "amount": 100}
    assert (await post(http, "/v1/payments/p1", **body))["message"] is None
    again = await post(http, "/v1/payments/p1", **body)
    assert again["message"] == "payment p1 was completed before; nothing was taken again"
    look = (await http.get("/v1/payments/p1")).json()
    assert look["message"] == "payment p1 (1.00 EUR, account abc) is completed"
    undone = await post(http, "/v1/payments/p1/cancel")
    assert undone["message"] == (
        "payment p1 is cancelled: its 1.00 EUR were moved back (account abc)"
    )
    refused = await post(http, "/v1/payments/p1", **body)
    assert refused["detail"] == refused["result"]["message"]
    assert refused["detail"] == "payment p1 was cancelled before, so it is not made"
    nobody = (await http.get("/v1/payments/p2")).json()
    assert nobody["detail"].startswith("there is no payment p2: ")


async def test_what_is_held_is_not_available(http: httpx.AsyncClient) -> None:
    await post(http, "/v1/payments/p1/authorize", account="abc", amount=60_000)
    declined = await post(http, "/v1/payments/p2", account="abc", amount=50_000)
    assert declined["detail"] == (
        "payment p2 is declined: account abc has less than 500.00 EUR available; no money was moved"
    )


async def test_a_cancel_after_a_partial_refund_does_not_say_that_it_moved_all(
    http: httpx.AsyncClient,
) -> None:
    await post(http, "/v1/payments/p1", account="abc", amount=100)
    await post(http, "/v1/payments/p1/refunds/r1", amount=30)
    undone = await post(http, "/v1/payments/p1/cancel")
    back = (await http.get("/v1/accounts/abc/entries?after=3")).json()["entries"]
    assert [entry["amount"] for entry in back] == [70]
    assert undone["message"] == (
        "payment p1 is cancelled: all of its 1.00 EUR are back on account abc"
    )


async def test_a_command_that_was_answered_202_ends_with_the_same_words(
    http: httpx.AsyncClient,
) -> None:
    later = {"prefer": "respond-async"}
    taken = await http.post("/v1/payments/p1", json=TOO_MUCH, headers=later)
    answer = (await http.get(f"{taken.headers['location']}?wait=10s")).json()
    assert answer["result"]["message"] == DECLINED


async def test_events_have_them(gateway: Gateway, service: PaymentsClient) -> None:
    reader = Reader(gateway)
    await reader.part()
    _, state = await reader.event()
    assert state["message"].startswith("there is no payment p1: ")
    await service.make("p1", account="abc", amount=100_001)
    _, declined = await reader.event()
    assert declined["message"] == DECLINED
    reader.gone.set()
    await reader.ended()
