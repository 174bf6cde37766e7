"""The client over a log in memory, with the whole application behind it."""

from collections.abc import AsyncIterator

import pytest

from payments.client import InvalidCommand, LogTransport, PaymentsClient
from payments.domain.results import Outcome
from payments.testing import PaymentsTestbed

pytest_plugins = ["payments.pytest_plugin"]


@pytest.fixture
async def client(payments_testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    settings, log = payments_testbed.settings, payments_testbed.log
    async with PaymentsClient(settings=settings, transport=LogTransport(log)) as opened:
        yield opened


async def test_make_cancel_and_get_return_their_results(client: PaymentsClient) -> None:
    made = await client.make("pay-1", account="abc", amount=100)
    assert (made.outcome, made.state, made.amount) == (Outcome.COMPLETED, "completed", 100)
    cancelled = await client.cancel("pay-1")
    assert cancelled.outcome is Outcome.CANCELLED
    found = await client.get("pay-1")
    assert (found.outcome, found.state) == (Outcome.FOUND, "cancelled")
    assert (await client.get("pay-2")).outcome is Outcome.NOT_FOUND


async def test_a_deposit_puts_money_on_an_account(client: PaymentsClient) -> None:
    result = await client.deposit("in-1", account="abc", amount=5, currency="EUR")
    assert (result.type, result.outcome) == ("deposit", Outcome.COMPLETED)


async def test_an_invalid_command_names_its_field(client: PaymentsClient) -> None:
    with pytest.raises(InvalidCommand) as caught:
        await client.make("pay-1", account="abc", amount=0)
    assert (caught.value.field, caught.value.reason) == ("amount", "amount_not_positive")
