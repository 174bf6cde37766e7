"""examples/shop.py: a customer is charged once, and told what happened."""

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


async def test_an_order_is_charged_once_and_can_be_refunded(
    browser: TestClient[Any, Any], testbed: PaymentsTestbed
) -> None:
    clicks = [post(browser, "/orders/1/checkout", ORDER) for _ in range(3)]
    answers = await asyncio.gather(*clicks)
    assert {(status, body["outcome"]) for status, body in answers} == {(200, "completed")}
    assert testbed.ledger("abc")[-1].balance == 700
    seen = await browser.get("/orders/1")
    assert (seen.status, (await seen.json())["state"]) == (200, "completed")
    assert (await post(browser, "/orders/1/refund"))[0] == 200
    assert testbed.ledger("abc")[-1].balance == 1000
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
    make = PaymentsClient.make

    async def hurried(self: PaymentsClient, *args: Any, **options: Any) -> Any:
        return await make(self, *args, **{**options, "deadline_seconds": 0.1})

    monkeypatch.setattr(PaymentsClient, "make", hurried)
    transport.fault = LOST
    status, body = await post(browser, "/orders/1/checkout", ORDER)
    assert (status, body["outcome"]) == (202, "unknown")
    transport.fault = NOT_SENT
    assert (await post(browser, "/orders/2/checkout", ORDER))[0] == 503
    transport.fault = None
    monkeypatch.undo()
    assert (await post(browser, "/orders/1/checkout", ORDER))[0] == 200
