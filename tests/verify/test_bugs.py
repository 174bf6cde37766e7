"""Bugs put into the stages: the auditor tells of each, since it does not share their decisions."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from payments.domain.account import Account, CounterAccount, Entry, Posting, post
from payments.domain.payment import Decision, Payment, decide
from payments.domain.payment_table import State
from payments.domain.results import Answer, Outcome, Reason
from payments.stages import accounts as accounts_stage
from payments.stages import payments as payments_stage
from payments.testing import PaymentsTestbed
from payments.verify.findings import Kind

from .recording import CANCEL, MAKE, Recording, settled


def answers_twice(decision: Decision) -> Decision:
    return replace(decision, answers=decision.answers * 2)


def answers_nothing(decision: Decision) -> Decision:
    return replace(decision, answers=())


def moves_more(decision: Decision) -> Decision:
    transfer = decision.transfer
    if transfer is None or transfer.kind == "rollback":
        return decision
    more = type(transfer)(
        transfer.kind, transfer.account, 2 * transfer.amount, transfer.currency, transfer.counter
    )
    return replace(decision, transfer=more)


def cancels_without_moving_back(decision: Decision) -> Decision:
    payment = decision.payment
    if payment is None or payment.state is not State.REVERSING or decision.transfer is None:
        return decision
    cancelled = Payment(State.CANCELLED, payment.time_ms, payment.request, Reason.ROLLED_BACK)
    answers = [
        Answer(own, kind, Outcome.CANCELLED, Reason.ROLLED_BACK, state="cancelled")
        for own, kind, _ in payment.waiters
    ]
    return Decision(cancelled, tuple(answers))


def forgets_what_is_completed(decision: Decision) -> Decision:
    """Let a second make move the money again."""
    done = decision.payment is not None and decision.payment.state is State.COMPLETED
    return replace(decision, payment=None) if done else decision


def stores_nothing_of_a_cancel(decision: Decision) -> Decision:
    gone = decision.payment is not None and decision.payment.state is State.CANCELLED
    return replace(decision, payment=None) if gone else decision


async def record() -> Recording:
    async with PaymentsTestbed(opening_balance=1000, max_waiters=3) as payments:
        for number in range(3):
            payment = f"p{number}"
            await quietly(payments, payment, MAKE, MAKE, CANCEL, MAKE)
        await quietly(payments, "p9", CANCEL, MAKE)
        await quietly(payments, "p10", MAKE)
        await settled(payments)
        return Recording.of(payments)


async def quietly(payments: PaymentsTestbed, payment: str, *commands: dict[str, Any]) -> None:
    for command in commands:
        payments.post(payment, command)
        await payments.quiet()


async def test_without_a_bug_there_is_nothing() -> None:
    assert (await record()).found() == []


@pytest.mark.parametrize(
    ("bug", "kind"),
    [
        (answers_twice, Kind.SURPLUS_RESULT),
        (answers_nothing, Kind.MISSING_RESULT),
        (moves_more, Kind.WRONG_ENTRY),
        (cancels_without_moving_back, Kind.MISSING_ENTRY),
        (forgets_what_is_completed, Kind.MONEY_TWICE),
        (stores_nothing_of_a_cancel, Kind.CONTRADICTING_RESULT),
    ],
)
async def test_a_wrong_decision_is_found(
    monkeypatch: pytest.MonkeyPatch, bug: Callable[[Decision], Decision], kind: Kind
) -> None:
    def decide_wrongly(*arguments: Any, **options: Any) -> Decision:
        return bug(decide(*arguments, **options))

    monkeypatch.setattr(payments_stage, "decide", decide_wrongly)
    assert kind in {found for found, _ in (await record()).found()}


def with_account(posting: Posting, **changes: int) -> Posting:
    account = replace(posting.account, **changes)
    last = replace(posting.entries[-1], account=account)
    return Posting(account, (*posting.entries[:-1], last))


def one_number_too_far(posting: Posting) -> Posting:
    return with_account(posting, sequence=posting.account.sequence + 1)


def a_unit_too_much(posting: Posting) -> Posting:
    return with_account(posting, balance=posting.account.balance + 1)


@pytest.mark.parametrize(
    ("bug", "kind"),
    [
        (one_number_too_far, Kind.SEQUENCE_GAP),
        (a_unit_too_much, Kind.WRONG_BALANCE),
        (lambda posting: replace(posting, entries=posting.entries[:-1]), Kind.MISSING_ENTRY),
        (lambda posting: replace(posting, entries=posting.entries * 2), Kind.SEQUENCE_REPEATED),
    ],
)
async def test_a_wrong_posting_is_found(
    monkeypatch: pytest.MonkeyPatch, bug: Callable[[Posting], Posting], kind: Kind
) -> None:
    def post_wrongly(*arguments: Any, **options: Any) -> Posting | Reason:
        found = post(*arguments, **options)
        return found if isinstance(found, Reason) else bug(found)

    monkeypatch.setattr(accounts_stage, "post", post_wrongly)
    assert kind in {found for found, _ in (await record()).found()}


async def test_money_from_nowhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(row: CounterAccount | None, entry: Any) -> CounterAccount:
        return CounterAccount({}) if row is None else row

    monkeypatch.setattr(accounts_stage, "post_counter", forget)
    assert {Kind.NOT_ZERO, Kind.ROW_DIFFERS} == {found for found, _ in (await record()).found()}


async def test_an_account_that_goes_below_zero_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def post_unasked(account: Account | None, transfer: Any, *, opening: Any) -> Posting:
        before = account or Account(0, 0, transfer.currency)
        balance = before.balance + transfer.amount
        after = Account(balance, before.sequence + 1, before.currency)
        return Posting(after, (Entry(transfer, after),))

    monkeypatch.setattr(accounts_stage, "post", post_unasked)
    assert {found for found, _ in (await record()).found()} == {Kind.NEGATIVE_BALANCE}
