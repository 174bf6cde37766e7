"""examples/shop.py: an order's money is held once, taken by parcel, and given back by return."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from payments.client import PaymentsClient
from payments.testing import PaymentsTestbed

from .faults import LOST, NOT_SENT, FaultyTransport

EXAMPLE = Path(__file__).parents[2] / "examples" / "shop.py"
ORDER = {"customer": "abc", "total": 300}


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shop", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shop"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000, client_max_calls=3) as running:
        yield running


@pytest.fixture
def transport(testbed: PaymentsTestbed) -> FaultyTransport:
    return FaultyTransport(testbed.log)


@pytest.fixture
async def browser(
    testbed: PaymentsTestbed, transport: FaultyTransport
) -> AsyncIterator[TestClient[Any, Any]]:
    client = PaymentsClient(settings=testbed.settings, transport=transport)
    async with TestClient(TestServer(load_example().shop(client))) as opened:
        yield opened


async def post(browser: TestClient[Any, Any], path: str, body: object = None) -> tuple[int, Any]:
    response = await browser.post(path, json=body)
    return response.status, await response.json()


async def test_an_order_is_held_at_checkout_taken_by_parcel_and_refunded_in_part(
    browser: TestClient[Any, Any], testbed: PaymentsTestbed
) -> None:
    clicks = [post(browser, "/orders/1/checkout", ORDER) for _ in range(3)]
    answers = await asyncio.gather(*clicks)
    assert {(status, body["outcome"]) for status, body in answers} == {(200, "authorized")}
    [held] = testbed.ledger("abc")[1:]
    assert (held.balance, held.available) == (1000, 700)

    scans = [post(browser, "/orders/1/parcels/1", {"amount": 200}) for _ in range(2)]
    assert {status for status, _ in await asyncio.gather(*scans)} == {200}
    assert testbed.ledger("abc")[-1].balance == 800
    status, body = await post(browser, "/orders/1/parcels/2", {"amount": 90, "last": True})
    assert (status, body["state"], body["held"], body["captured"]) == (200, "completed", 0, 290)

    for _ in range(2):
        status, body = await post(browser, "/orders/1/returns/1", {"amount": 50})
        assert (status, body["refunded"]) == (200, 50)
    last = testbed.ledger("abc")[-1]
    assert (last.balance, last.available) == (760, 760)
    seen = await browser.get("/orders/1")
    assert (seen.status, (await seen.json())["state"]) == (200, "completed")


async def test_more_than_the_order_is_neither_taken_nor_given_back(
    browser: TestClient[Any, Any], testbed: PaymentsTestbed
) -> None:
    await post(browser, "/orders/1/checkout", ORDER)
    status, body = await post(browser, "/orders/1/parcels/1", {"amount": 301})
    assert (status, body["reason"]) == (409, "over_capture")
    assert (await post(browser, "/orders/1/parcels/1", {"amount": 300, "last": True}))[0] == 200
    status, body = await post(browser, "/orders/1/returns/1", {"amount": 301})
    assert (status, body["reason"]) == (409, "over_refund")
    assert testbed.ledger("abc")[-1].balance == 700


async def test_a_parcel_of_an_order_whose_hold_has_lapsed_does_not_leave(
    browser: TestClient[Any, Any], testbed: PaymentsTestbed
) -> None:
    await post(browser, "/orders/1/checkout", ORDER)
    testbed.clock.advance(testbed.settings.hold_seconds)
    status, body = await post(browser, "/orders/1/parcels/1", {"amount": 300, "last": True})
    assert (status, body["reason"], body["state"]) == (409, "hold_expired", "lapsed")
    assert testbed.ledger("abc")[-1].available == 1000
    assert (await post(browser, "/orders/1/checkout", ORDER))[0] == 409


async def test_an_order_that_is_cancelled_is_undone_whole(
    browser: TestClient[Any, Any], testbed: PaymentsTestbed
) -> None:
    await post(browser, "/orders/1/checkout", ORDER)
    await post(browser, "/orders/1/parcels/1", {"amount": 200})
    assert (await post(browser, "/orders/1/cancel"))[0] == 200
    last = testbed.ledger("abc")[-1]
    assert (last.balance, last.available) == (1000, 1000)
    assert (await post(browser, "/orders/1/checkout", ORDER))[0] == 409


async def test_a_customer_without_enough_money_is_told_so(
    browser: TestClient[Any, Any],
) -> None:
    status, body = await post(browser, "/orders/1/checkout", {**ORDER, "total": 1001})
    assert (status, body["reason"]) == (402, "insufficient_funds")
    assert (await browser.get("/orders/2")).status == 404


async def test_a_total_that_is_none_names_its_field(browser: TestClient[Any, Any]) -> None:
    status, body = await post(browser, "/orders/1/checkout", {**ORDER, "total": 9.99})
    assert (status, body["field"]) == (422, "amount")


async def test_an_order_whose_answer_is_late_is_not_called_failed(
    browser: TestClient[Any, Any], transport: FaultyTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorize = PaymentsClient.authorize

    async def hurried(self: PaymentsClient, *args: Any, **options: Any) -> Any:
        return await authorize(self, *args, **{**options, "deadline_seconds": 0.1})

    monkeypatch.setattr(PaymentsClient, "authorize", hurried)
    transport.fault = LOST
    status, body = await post(browser, "/orders/1/checkout", ORDER)
    assert (status, body["outcome"]) == (202, "unknown")
    transport.fault = NOT_SENT
    assert (await post(browser, "/orders/2/checkout", ORDER))[0] == 503
    transport.fault = None
    monkeypatch.undo()
    assert (await post(browser, "/orders/1/checkout", ORDER))[0] == 200
