"""The client over a log in memory, with the whole application behind it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from payments.client import (
    AccountBalance,
    CounterBalance,
    DeadlineExceeded,
    InvalidCommand,
    LogTransport,
    PaymentsClient,
)
from payments.domain.results import Outcome
from payments.testing import PaymentsTestbed

pytest_plugins = ["payments.pytest_plugin"]


@pytest.fixture
async def client(payments_testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    async with payments_testbed.client() as opened:
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


async def test_a_balance_read_after_an_answer_sees_it(client: PaymentsClient) -> None:
    assert await client.account("abc") is None
    for number in range(1, 6):
        await client.make(f"pay-{number}", account="abc", amount=10)
        held = await client.account("abc")
        assert held == AccountBalance(
            account="abc", balance=100_000 - 10 * number, currency="EUR", sequence=number + 1
        )


async def test_ledger_pages_are_in_order_and_end(client: PaymentsClient) -> None:
    assert await client.entries("abc") is None
    for number in range(5):
        await client.deposit(f"in-{number}", account="abc", amount=1)
        await client.deposit(f"other-{number}", account=f"other-{number}", amount=1)
    seen: list[int] = []
    while page := await client.entries("abc", after=seen[-1] if seen else 0, limit=2):
        assert len(page) <= 2
        seen += [entry.sequence for entry in page]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert await client.entries("abc", after=6) == []
    (last,) = await client.entries("abc", after=5) or ()
    assert (last.kind, last.amount, last.balance) == ("deposit", 1, 100_005)


async def test_counter_accounts_have_a_balance_for_each_currency(client: PaymentsClient) -> None:
    await client.make("pay-1", account="abc", amount=10)
    await client.deposit("in-1", account="yen", amount=7, currency="JPY")
    held = [await client.counter_account(f"{c}/{p}") for c in ("world", "sales") for p in range(4)]
    total: dict[str, int] = {}
    for balances in held:
        for currency, amount in (balances or {}).items():
            total[currency] = total.get(currency, 0) + amount
    assert total == {"EUR": -99_990, "JPY": -7}
    assert await client.counter_account("sales/4") is None
    with pytest.raises(InvalidCommand):
        await client.account("sales/0")
    with pytest.raises(InvalidCommand):
        await client.counter_account("abc")


async def test_counter_accounts_have_the_opposite_of_what_is_held(client: PaymentsClient) -> None:
    await client.make("pay-1", account="abc", amount=10)
    await client.authorize("pay-2", account="abc", amount=1999)
    of_account = await client.account("abc")
    assert of_account is not None
    assert (of_account.held_decimal, of_account.available_decimal) == ("19.99", "979.91")
    found = [await client.counter_balances(f"sales/{number}") for number in range(4)]
    [[sales]] = [balances for balances in found if balances]
    assert sales == CounterBalance(account=sales.account, balance=10, currency="EUR", held=-1999)
    assert (sales.balance_decimal, sales.held_decimal) == ("0.10", "-19.99")
    assert await client.counter_account(sales.account) == {"EUR": 10}
    assert await client.counter_balances("sales/4") is None
    with pytest.raises(InvalidCommand):
        await client.counter_balances("abc")


async def test_a_command_is_handed_over_before_its_result_is_there(
    client: PaymentsClient, payments_testbed: PaymentsTestbed
) -> None:
    future = await client.submit("pay-1", {"type": "make", "account": "abc", "amount": 100})
    topic = payments_testbed.settings.topics.commands
    [record] = payments_testbed.records(topic)
    assert record.key == b"pay-1"
    assert (await future).outcome is Outcome.COMPLETED


async def test_a_command_that_can_not_be_handed_over_says_so_at_once(
    client: PaymentsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def append(*_: object) -> dict[object, object]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(LogTransport, "append", append)
    with pytest.raises(DeadlineExceeded):
        await client.submit("pay-1", {"type": "cancel"}, deadline_seconds=0.05)


async def test_calls_with_one_command_id_are_all_answered_by_its_first_result(
    client: PaymentsClient,
) -> None:
    calls = (client.get("pay-1", command_id="mine") for _ in range(3))
    results = await asyncio.gather(*calls)
    assert {(result.command, result.outcome) for result in results} == {("mine", Outcome.NOT_FOUND)}
    assert (await client.get("pay-1", command_id="mine")).outcome is Outcome.NOT_FOUND


async def test_thousands_of_calls_may_wait_for_one_payment(client: PaymentsClient) -> None:
    results = await asyncio.gather(*(client.get("pay-1") for _ in range(5000)))
    assert len({result.command for result in results}) == 5000
