"""A client or a test bed used in a way that can't work: a clear error at once, and nothing sent.

Wrong fields of a command are in ``test_commands.py``, closed clients in ``test_client.py``.
"""

import asyncio
import uuid
from typing import Any

import pytest

from payments.client import ClientClosed, PaymentsClient
from payments.testing import PaymentsTestbed


@pytest.mark.parametrize("payment", [7, 7.0, True, None, uuid.UUID(int=7), b"pay-1"])
async def test_a_payment_id_that_is_no_text_is_a_type_error(payment: Any) -> None:
    async with PaymentsTestbed() as testbed, testbed.client() as client:
        for call in (
            lambda: client.make(payment, account="abc", amount=1),
            lambda: client.cancel(payment),
            lambda: client.get(payment),
            lambda: client.send(payment, {"type": "get"}),
            lambda: client.submit(payment, {"type": "get"}),
            lambda: testbed.send(payment, {"type": "get"}),
        ):
            with pytest.raises(TypeError, match=r"text \(str\), not"):
                await call()
        with pytest.raises(TypeError, match=r"text \(str\), not"):
            client.watch(payment)
        with pytest.raises(TypeError, match=r"text \(str\), not"):
            await client.account(payment)
        assert testbed.records("payments.commands") == []


def test_another_event_loop_is_refused_with_the_way_to_do_it() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    testbed = PaymentsTestbed(opening_balance=1000)
    client = PaymentsClient(settings=testbed.settings, transport=None)

    async def enter() -> PaymentsClient:
        await testbed.__aenter__()
        return await testbed.client().__aenter__()

    async def leave() -> None:
        await client.__aexit__()
        await testbed.__aexit__(None, None, None)

    async def use() -> None:
        calls = (
            client.make("pay-1", account="abc", amount=1),
            client.account("abc"),
            client.entries("abc"),
        )
        for call in calls:
            with pytest.raises(RuntimeError, match=r"another event loop.*nothing was sent"):
                await call
        with pytest.raises(RuntimeError, match="another event loop"):
            client.watch("pay-1")

    try:
        client = first.run_until_complete(enter())
        second.run_until_complete(use())
        # It still works where it was entered.
        made = client.make("pay-1", account="abc", amount=1, deadline_seconds=10)
        assert first.run_until_complete(made).outcome == "completed"
        assert len(testbed.records("payments.commands")) == 1
        first.run_until_complete(leave())
    finally:
        first.close()
        second.close()


async def test_a_client_that_is_closed_or_entered_twice_says_so() -> None:
    async with PaymentsTestbed() as testbed:
        client = testbed.client()
        with pytest.raises(ClientClosed, match="async with"):
            await client.get("pay-1")
        async with client:
            with pytest.raises(RuntimeError, match="entered once"):
                await client.__aenter__()
        for call in (client.get("pay-1"), client.account("abc")):
            with pytest.raises(ClientClosed, match="async with"):
                await call
        with pytest.raises(ClientClosed, match="async with"):
            client.watch("pay-1")
        with pytest.raises(RuntimeError, match="entered once"):
            await client.__aenter__()


async def test_a_test_bed_that_is_not_entered_says_so() -> None:
    testbed = PaymentsTestbed()
    for use in (
        lambda: testbed.send("pay-1", {"type": "get"}),
        testbed.quiet,
        lambda: testbed.advance(1),
    ):
        with pytest.raises(RuntimeError, match=r"async with PaymentsTestbed\(\.\.\.\) as"):
            await use()
    with pytest.raises(RuntimeError, match="async with PaymentsTestbed"):
        testbed.client()
    assert testbed.records("payments.commands") == []
