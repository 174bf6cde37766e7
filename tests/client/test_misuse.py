"""A client or a test bed used in a way that can't work: a clear error at once, and nothing sent.

Wrong fields of a command are in ``test_commands.py``, closed clients in ``test_client.py``.
"""

import asyncio
import logging
import uuid
from typing import Any

import pytest

from payments.client import ClientClosed, PaymentsClient
from payments.engine.kafka.metadata import Rarely
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


@pytest.mark.parametrize(
    "brokers",
    ["", "localhost:99999", "localhost:0", "http://localhost:9092", "a:9092,", "a b:9092", "::1"],
)
def test_what_is_no_address_of_a_broker_is_told_at_once(brokers: str) -> None:
    """Not after the time of a connection: port 99999 would even be another one, 34463."""
    with pytest.raises(ValueError, match="it must be host:port"):
        PaymentsClient(brokers)


@pytest.mark.parametrize("brokers", ["localhost", "a:1,b-c.d:65535", " a:1, b:2", "[::1]:9092"])
async def test_every_form_of_an_address_is_taken(brokers: str) -> None:
    assert PaymentsClient(brokers).settings.brokers == brokers


def test_a_broker_that_is_away_does_not_fill_the_log_of_a_service() -> None:
    now = 100.0
    rarely = Rarely(lambda: now)

    def passes(text: str) -> bool:
        return rarely.filter(logging.LogRecord("aiokafka", 40, "", 0, text, None, None))

    tried = [passes("Unable connect to"), passes("Unable to request"), passes("something else")]
    assert tried == [True, False, True]
    now += 10
    assert passes("Unable connect to")
