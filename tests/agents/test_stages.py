"""What the stages say to whoever runs them."""

import pytest

from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.log import Record, Writer
from exactstage.outputs import Source
from exactstage.stage import Refused
from payments.domain.account import CounterAccount, Settled, Transfer
from payments.domain.payment import Payment
from payments.domain.payment_table import State
from payments.domain.results import Reason, Request
from payments.records.internal_codec import (
    decode_counter,
    encode_payment,
    encode_settled,
    encode_transfer,
)
from payments.settings import Settings
from payments.stages.accounts import AccountsLogic
from payments.stages.payments import PaymentsLogic


def new_journal(stage: str) -> Journal:
    return Journal(
        stage=stage,
        partition=0,
        changelog=f"{stage}-changelog",
        public=frozenset(),
        emits=frozenset({"payments.inbox", "payments.results", "accounts.ledger"}),
        writer=Writer(1, 0),
        limits=Limits(),
    )


async def test_what_can_not_be_is_said_only_when_it_is_journalled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logic = PaymentsLogic(Settings())
    logic.restored(0, {})
    journal = new_journal("payments")
    settlement = b'{"ok":true,"reason":null}'
    with pytest.raises(Refused):
        logic.handle(Record("payments.inbox", 0, 0, 0, b"pay-1", settlement, ()), journal)
    # A worker that has lost the partition gets no further: its append is refused.
    assert not caplog.records
    for callback in journal.seal().callbacks:
        callback()
    [said] = caplog.records
    assert said.levelname == "ERROR"
    assert "'pay-1' met what can't be, settled_ok in state None" in said.getMessage()


def test_no_notice_of_a_lapse_has_a_time_before_the_end_of_its_hold() -> None:
    logic, journal = PaymentsLogic(Settings()), new_journal("payments")
    logic.restored(0, {})
    request = Request("authorize", "abc", 100, "EUR")
    end_ms, reason = 600_000, Reason.HOLD_EXPIRED
    releasing = Payment(State.RELEASING, end_ms, request, reason, (), end_ms, 100)
    journal.put(b"pay-1", encode_payment(releasing))
    journal.accept()
    # The broker that wrote the settlement is behind the one that wrote the command.
    settlement = encode_settled(Settled(ok=True))
    logic.handle(Record("payments.inbox", 0, 0, end_ms - 1, b"pay-1", settlement, ()), journal)
    journal.accept()
    [notice] = journal.seal().publication.outputs
    assert (notice.topic, notice.time_ms) == ("payments.results", end_ms)


def deposit(logic: AccountsLogic, journal: Journal, amount: int) -> None:
    """Post a deposit as the engine would."""
    value = encode_transfer(Transfer("deposit", "abc", amount, "EUR", "world"), "pay-1")
    journal.source = Source("payments/0", (1, 0))
    logic.handle(Record("payments.transfers", 0, 0, 0, b"abc", value, ()), journal)
    journal.accept()


def second_leg(journal: Journal) -> int:
    """Cut the open commit, and return what its row of the counter-account says."""
    [row] = [row for key, row, _ in journal.seal().batch.records if key == b"world/0"]
    assert row is not None
    counter: CounterAccount = decode_counter(row)
    return counter.balances["EUR"]


def test_second_legs_are_written_once_a_group_and_go_on_from_the_last() -> None:
    logic, journal = AccountsLogic(Settings()), new_journal("accounts")
    deposit(logic, journal, 5)
    deposit(logic, journal, 7)
    assert second_leg(journal) == -12
    deposit(logic, journal, 1)
    assert second_leg(journal) == -13


def test_second_legs_that_were_not_journalled_are_gone_with_their_partition() -> None:
    logic, lost, heir = AccountsLogic(Settings()), new_journal("accounts"), new_journal("accounts")
    deposit(logic, lost, 5)
    logic.released(0)
    deposit(logic, heir, 7)
    assert second_leg(heir) == -7


def test_a_transfer_that_meets_a_bug_leaves_the_second_legs_alone() -> None:
    logic, journal = AccountsLogic(Settings()), new_journal("accounts")
    transfer = encode_transfer(Transfer("deposit", "abc", 5, "EUR", "world"), "pay-1")
    with pytest.raises(AssertionError, match="come from the payments stage"):
        logic.handle(Record("payments.transfers", 0, 0, 0, b"abc", transfer, ()), journal)
    journal.discard()
    deposit(logic, journal, 7)
    assert second_leg(journal) == -7
