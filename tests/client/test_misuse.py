"""A client or a test bed used in a way that can't work: a clear error at once, and nothing sent.

Wrong fields of a command are in ``test_commands.py``, closed clients in ``test_client.py``.
"""

import asyncio
import logging
import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest

from exactstage.kafka.metadata import Rarely
from payments.client import ClientClosed, InvalidCommand, Mark, PaymentsClient
from payments.testing import PaymentsTestbed


@pytest.mark.parametrize("payment", [7, 7.0, True, None, uuid.UUID(int=7), b"pay-1"])
async def test_a_payment_id_that_is_no_text_is_a_type_error(payment: Any) -> None:
    async with PaymentsTestbed() as testbed, testbed.client() as client:
        for call in (
            lambda: client.make(payment, account="abc", amount=1),
            lambda: client.authorize(payment, account="abc", amount=1),
            lambda: client.capture(payment),
            lambda: client.void(payment),
            lambda: client.refund(payment, refund="r1"),
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
        with pytest.raises(RuntimeError, match="another event loop"):
            await anext(watch)
        with pytest.raises(RuntimeError, match="another event loop"):
            await client.__aexit__()

    try:
        client = first.run_until_complete(enter())
        watch = client.watch("pay-1")
        second.run_until_complete(use())
        # It still works where it was entered.
        made = client.make("pay-1", account="abc", amount=1, deadline_seconds=10)
        assert first.run_until_complete(made).outcome == "completed"
        assert len(testbed.records("payments.commands")) == 1
        first.run_until_complete(leave())
    finally:
        first.close()
        second.close()


async def client_of(testbed: PaymentsTestbed, stack: AsyncExitStack) -> PaymentsClient:
    await stack.enter_async_context(testbed)
    return await stack.enter_async_context(testbed.client())


WRONG_TIMES: list[tuple[Any, type[Exception]]] = [
    (None, TypeError),
    ("5", TypeError),
    (True, TypeError),
    (float("nan"), ValueError),
    (float("inf"), ValueError),
    (0, ValueError),
    (-1, ValueError),
]


@pytest.mark.parametrize(("seconds", "kind"), WRONG_TIMES)
async def test_a_deadline_that_is_none_is_named(seconds: Any, kind: type[Exception]) -> None:
    async with AsyncExitStack() as stack:
        testbed = PaymentsTestbed()
        client = await client_of(testbed, stack)
        late = {"deadline_seconds": seconds}
        mark = await client.mark("p")
        for call in (
            lambda: client.make("p", account="abc", amount=1, **late),
            lambda: client.deposit("p", account="abc", amount=1, **late),
            lambda: client.authorize("p", account="abc", amount=1, **late),
            lambda: client.capture("p", **late),
            lambda: client.void("p", **late),
            lambda: client.refund("p", refund="r1", **late),
            lambda: client.cancel("p", **late),
            lambda: client.get("p", **late),
            lambda: client.send("p", {"type": "get"}, **late),
            lambda: client.submit("p", {"type": "get"}, **late),
            lambda: client.mark("p", **late),
            lambda: client.resume("p", "c", mark, **late),
            lambda: client.account("abc", **late),
            lambda: client.counter_account("world/0", **late),
            lambda: client.counter_balances("world/0", **late),
            lambda: client.entries("abc", **late),
        ):
            with pytest.raises(kind, match=r"deadline_seconds must be .*, not "):
                await call()
        if seconds is not None:
            for call in (
                lambda: client.submit("p", {"type": "get"}, result_seconds=seconds),
                lambda: client.resume("p", "c", mark, result_seconds=seconds),
            ):
                with pytest.raises(kind, match=r"result_seconds must be .*, not "):
                    await call()
        assert testbed.records("payments.commands") == []


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"brokers": ["localhost:9092"]}, TypeError, r"brokers must be text .* not list"),
        ({"brokers": 5}, TypeError, r"brokers must be text .* not int \(5\)"),
        ({"brokers": b"localhost:9092"}, TypeError, r"brokers must be text .* not bytes"),
        ({"settings": {"brokers": "a:1"}}, TypeError, r"settings must be Settings, .* not dict"),
        ({"settings": {}}, TypeError, r"settings must be Settings, .* not dict"),
        ({"settings": "a:1"}, TypeError, r"settings must be Settings, .* not str"),
        ({"transport": 5}, TypeError, "transport must be a Transport, .* not 5"),
        ({"connect_seconds": "5"}, TypeError, r"connect_seconds must be .* not str \('5'\)"),
        ({"connect_seconds": None}, TypeError, "connect_seconds must be .* not NoneType"),
        ({"connect_seconds": True}, TypeError, "connect_seconds must be .* not bool"),
        ({"connect_seconds": -1}, ValueError, "connect_seconds must be .* not -1"),
        ({"connect_seconds": float("nan")}, ValueError, "connect_seconds must be .* not nan"),
    ],
)
def test_what_a_client_is_made_of_is_checked_and_named(
    given: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        PaymentsClient(**given)


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"limit": "5"}, TypeError, r"limit must be a whole number \(int\), not str \('5'\)"),
        ({"limit": 2.0}, TypeError, r"limit must be a whole number \(int\), not float"),
        ({"limit": True}, TypeError, "limit must be a whole number .* not bool"),
        ({"limit": None}, TypeError, "limit must be a whole number .* not NoneType"),
        ({"limit": 0}, ValueError, "limit must be 1 to 1,000, not 0"),
        ({"limit": 1001}, ValueError, "limit must be 1 to 1,000, not 1001"),
        ({"after": None}, TypeError, "after must be a whole number .* not NoneType"),
        ({"after": "1"}, TypeError, "after must be a whole number .* not str"),
        ({"after": -1}, ValueError, "after must be at least 0, not -1"),
    ],
)
async def test_bounds_of_a_page_are_checked_and_named_before_there_is_a_broker(
    given: dict[str, Any], kind: type[Exception], told: str
) -> None:
    async with PaymentsClient("localhost:1", connect_seconds=0) as client:
        with pytest.raises(kind, match=told):
            await client.entries("abc", **given)


async def test_names_are_checked_before_there_is_a_broker() -> None:
    wrong: Any
    async with PaymentsClient("localhost:1", connect_seconds=0) as client:
        for wrong in (None, 5, b"world/0"):
            with pytest.raises(TypeError, match=r"name must be text \(str\), world/N"):
                await client.counter_account(wrong)
            with pytest.raises(TypeError, match=r"name must be text \(str\), world/N"):
                await client.counter_balances(wrong)
            with pytest.raises(TypeError, match=r"account's id is text \(str\), not"):
                await client.account(wrong)
            with pytest.raises(TypeError, match=r"account's id is text \(str\), not"):
                await client.entries(wrong)
            with pytest.raises(TypeError, match=r"command_id must be text \(str\)"):
                await client.resume("p", wrong, Mark(0, 0))
            with pytest.raises(TypeError, match=r"mark must be Mark, what mark\(\) returned, not"):
                await client.resume("p", "c", wrong)
        with pytest.raises(InvalidCommand, match="world/N or sales/N"):
            await client.counter_account("abc")


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
    # An empty list would let a test pass that sent nothing.
    for look in (testbed.ledger, testbed.results, testbed.dead_letters):
        with pytest.raises(RuntimeError, match="async with PaymentsTestbed"):
            look()
    assert testbed.log.records("payments.commands") == []


async def test_what_a_test_bed_holds_can_be_read_after_its_block() -> None:
    async with PaymentsTestbed(opening_balance=1000) as testbed:
        await testbed.send("pay-1", {"type": "make", "account": "abc", "amount": 100})
    assert testbed.ledger("abc")[-1].balance == 900


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
