"""The commands for accounts, by the client: results, repeats, refusals, an own connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exactstage.errors import FailStop, NotAuthorized, NoTopic
from payments.client import (
    AccountResult,
    BrokersUnavailable,
    ClientClosed,
    InvalidCommand,
    LogTransport,
    Outcome,
    PaymentsClient,
    Reason,
    RightsMissing,
)
from payments.testing import PaymentsTestbed


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed() as running:
        yield running


@pytest.fixture
async def client(testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    async with testbed.client() as opened:
        yield opened


async def test_an_account_is_opened_limited_frozen_and_closed(client: PaymentsClient) -> None:
    opened = await client.open_account("abc", currency="JPY", credit_limit=50)
    assert isinstance(opened, AccountResult)
    assert (opened.outcome, opened.status, opened.replayed) == (Outcome.COMPLETED, "open", False)
    assert (opened.balance, opened.credit_limit, opened.available) == (0, 50, 50)
    assert (opened.currency, opened.exponent, opened.message) == ("JPY", 0, None)
    made = await client.make("p1", account="abc", amount=50, currency="JPY")
    assert made.outcome is Outcome.COMPLETED
    declined = await client.authorize("p2", account="abc", amount=1, currency="JPY")
    assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.INSUFFICIENT_FUNDS)
    assert (await client.set_credit_limit("abc", credit_limit=60)).available == 10
    assert (await client.freeze_account("abc")).status == "frozen"
    for call in (client.make, client.authorize):
        declined = await call("p3", account="abc", amount=1, currency="JPY")
        assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.ACCOUNT_FROZEN)
        assert declined.message == (
            "payment p3 is declined: account abc is frozen; no money was moved"
        )
    now = await client.account("abc")
    assert now is not None
    assert (now.status, now.credit_limit, now.available) == ("frozen", 60, 10)
    assert (now.credit_limit_decimal, now.available_decimal) == ("60", "10")
    assert (await client.unfreeze_account("abc")).status == "open"
    refused = await client.close_account("abc")
    assert (refused.outcome, refused.reason) == (Outcome.REJECTED, Reason.NOT_ZERO)
    await client.deposit("in", account="abc", amount=50, currency="JPY")
    closed = await client.close_account("abc")
    assert (closed.status, closed.credit_limit) == ("closed", 0)
    declined = await client.deposit("in-2", account="abc", amount=5, currency="JPY")
    assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.ACCOUNT_CLOSED)


async def test_what_is_sent_again_changes_nothing_and_says_so(client: PaymentsClient) -> None:
    for replayed in (False, True):
        assert (await client.open_account("abc")).replayed is replayed
    for replayed in (False, True):
        frozen = await client.freeze_account("abc")
        assert frozen.replayed is replayed
    assert frozen.message == "account abc was frozen before, and nothing was changed: 0.00 EUR"
    other = await client.open_account("abc", credit_limit=5)
    assert (other.outcome, other.reason) == (Outcome.REJECTED, Reason.DIFFERENT_LIMIT)
    found = await client.account_commands.send("abc", {"type": "get"})
    assert (found.outcome, found.message) == (Outcome.FOUND, "account abc is frozen: 0.00 EUR")
    missing = await client.account_commands.send("nobody", {"type": "get"})
    assert (missing.outcome, missing.message) == (Outcome.NOT_FOUND, "there is no account nobody")


async def test_what_the_worker_would_reject_is_not_sent(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    wrong: Any
    for account, fields, field in (
        ("sales/3", {}, "account"),
        ("\0", {}, "account"),
        ("abc", {"credit_limit": -1}, "credit_limit"),
        ("abc", {"credit_limit": 1.5}, "credit_limit"),
        ("abc", {"currency": "euro"}, "currency"),
        ("abc", {"command_id": "\0"}, "id"),
    ):
        with pytest.raises(InvalidCommand) as refused:
            await client.open_account(account, **fields)
        assert refused.value.field == field
    for wrong in (None, 5, b"abc"):
        with pytest.raises(TypeError, match="account's id is text"):
            await client.freeze_account(wrong)
    assert testbed.account_results() == []


async def test_a_command_that_was_submitted_is_found_again_after_its_mark(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    commands = client.account_commands
    mark = await commands.mark("abc")
    submitted = await commands.submit("abc", {"type": "open", "id": "first"})
    assert (await submitted).status == "open"
    async with testbed.client() as other:
        resumed = await other.account_commands.resume("abc", "first", mark)
        assert resumed is not None
        assert (await resumed).status == "open"
        assert await other.account_commands.resume("abc", "second", mark) is None


async def test_a_payment_and_an_account_may_have_one_id_and_one_command_id(
    client: PaymentsClient,
) -> None:
    await client.open_account("abc", credit_limit=10, command_id="c1")
    made = await client.make("abc", account="abc", amount=1, command_id="c1")
    assert (made.payment, made.outcome) == ("abc", Outcome.COMPLETED)


async def test_a_closed_client_sends_nothing(testbed: PaymentsTestbed) -> None:
    async with testbed.client() as client:
        commands = client.account_commands
        await client.open_account("abc")
    with pytest.raises(ClientClosed):
        await client.freeze_account("abc")
    with pytest.raises(ClientClosed):
        await commands.send("abc", {"type": "get"})


class WithoutTopics(LogTransport):
    """A cluster of a version that had no commands for accounts, or a user without a right."""

    refusal: Exception | None

    async def open(self, topics: Any) -> None:
        """Refuse the topics of these commands."""
        if self.refusal and any(topic.endswith("accounts.commands") for topic in topics):
            raise self.refusal
        await super().open(topics)


async def test_where_the_topics_are_missing_payments_work_and_the_call_says_why(
    testbed: PaymentsTestbed,
) -> None:
    transport = WithoutTopics(testbed.log)
    transport.refusal = NoTopic("there is no topic accounts.commands")
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        assert client.trouble() is None
        with pytest.raises(BrokersUnavailable, match=r"no topic accounts\.commands"):
            await client.freeze_account("abc")
        await client.deposit("in", account="abc", amount=5)
        assert client.healthy()
        assert client.trouble() is None, "nothing is tried before the next command"


def connections() -> int:
    """Return how many connections are kept, or tried again and again."""
    return sum(task.get_name() == "payments client" for task in asyncio.all_tasks())


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (NoTopic("there is no topic accounts.commands"), BrokersUnavailable),
        (NotAuthorized("not authorized: this user lacks WRITE"), RightsMissing),
    ],
)
async def test_a_command_that_was_refused_leaves_no_connection_and_the_next_one_tries_again(
    testbed: PaymentsTestbed, refusal: FailStop, error: type[Exception]
) -> None:
    transport = WithoutTopics(testbed.log)
    transport.refusal = refusal
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        for _ in range(2):
            both = client.freeze_account("abc"), client.open_account("abc")
            ended = await asyncio.gather(*both, return_exceptions=True)
            assert [type(each) for each in ended] == [error, error]
            assert connections() == 1
        transport.refusal = None
        assert (await client.open_account("abc")).status == "open"
        assert connections() == 2
