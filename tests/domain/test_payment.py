"""The rules of payments that are not in the table."""

import pytest

from payments.domain.account import Settled, Transfer
from payments.domain.commands import Cancel, Command, Deposit, Get, Make
from payments.domain.payment import Policy
from payments.domain.results import Outcome, Reason
from tests.domain.expectations import MAKE, REQUEST, ROWS, WAITING, run, send


@pytest.mark.parametrize(
    ("row", "command", "waiter"),
    [
        ("none", MAKE, ("x", "make", False)),
        ("none", Deposit(account="abc", amount=1, currency="EUR"), ("x", "deposit", False)),
        ("pending", MAKE, ("x", "make", True)),
        ("pending", Cancel(), ("x", "cancel", False)),
        ("cancelling", MAKE, ("x", "make", True)),
        ("cancelling", Cancel(), ("x", "cancel", True)),
        ("reversing", MAKE, ("x", "make", True)),
        ("reversing", Cancel(), ("x", "cancel", True)),
        ("completed", Cancel(), ("x", "cancel", False)),
    ],
)
def test_a_command_that_waits_comes_last_and_knows_whether_it_repeats(
    row: str, command: Command, waiter: tuple[str, str, bool]
) -> None:
    before, after = ROWS[row], send(ROWS[row], command).payment
    assert after is not None
    assert after.waiters == (*(before.waiters if before else ()), waiter)


@pytest.mark.parametrize("row", [row for row, payment in ROWS.items() if payment])
@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        (
            Deposit(account="abc", amount=100, currency="EUR"),
            Reason.DIFFERENT_TYPE,
            "make, not dep",
        ),
        (Deposit(account="z", amount=9, currency="USD"), Reason.DIFFERENT_TYPE, "make, not dep"),
        (Make(account="z", amount=9, currency="USD"), Reason.DIFFERENT_ACCOUNT, "abc, not z"),
        (
            Make(account="abc", amount=9, currency="USD"),
            Reason.DIFFERENT_AMOUNT,
            "1.00 EUR, not 0.0",
        ),
        (Make(account="abc", amount=100, currency="USD"), Reason.DIFFERENT_CURRENCY, "EUR, not US"),
    ],
)
def test_another_request_is_rejected_by_the_first_field_that_differs(
    row: str, command: Command, reason: Reason, words: str
) -> None:
    before = ROWS[row]
    assert before is not None
    if before.request is None:
        assert send(before, command).answers[0].outcome is Outcome.CANCELLED
        return
    decision = send(before, command)
    assert decision.payment is before
    assert decision.transfer is None
    (answer,) = decision.answers
    assert (answer.outcome, answer.reason, answer.replayed) == (Outcome.REJECTED, reason, False)
    assert (answer.state, answer.request) == (before.state, REQUEST)
    assert (answer.command, answer.type) == ("x", command.type)
    assert words in (answer.message or "")


@pytest.mark.parametrize("command", [MAKE, Cancel()])
@pytest.mark.parametrize("row", sorted(WAITING))
def test_a_command_too_many_is_rejected_and_changes_nothing(row: str, command: Command) -> None:
    before = ROWS[row]
    assert before is not None
    full = Policy("retry", max_waiters=len(before.waiters))
    decision = send(before, command, full)
    assert decision.payment is before
    (answer,) = decision.answers
    assert (answer.outcome, answer.reason) == (Outcome.REJECTED, Reason.TOO_MANY_WAITING)
    assert (answer.state, answer.replayed) == (before.state, False)
    waiting = f"{len(before.waiters)} commands wait for this payment"
    assert answer.message == f"{waiting}; send it again when it has settled"
    room = Policy("retry", max_waiters=len(before.waiters) + 1)
    assert send(before, command, room).answers == ()


def test_a_request_that_differs_is_told_before_a_full_queue() -> None:
    other = Make(account="abc", amount=9, currency="EUR")
    (answer,) = send(ROWS["pending"], other, Policy("retry", max_waiters=1)).answers
    assert answer.reason is Reason.DIFFERENT_AMOUNT


def test_a_get_is_answered_however_many_wait() -> None:
    (answer,) = send(ROWS["reversing"], Get(), Policy("retry", max_waiters=1)).answers
    assert answer.outcome is Outcome.FOUND


def test_a_deposit_moves_money_the_other_way_and_back() -> None:
    started = send(None, Deposit(account="abc", amount=100, currency="EUR"))
    assert started.transfer == Transfer("deposit", "abc", 100, "EUR", "world")
    completed = run(started.payment, Settled(ok=True)).payment
    undone = send(completed, Cancel())
    assert undone.transfer == Transfer("rollback", "abc", -100, "EUR", "world")


def test_a_cancel_whose_money_can_not_be_moved_back_is_rejected_and_told_why() -> None:
    settled = Settled(ok=False, reason=Reason.INSUFFICIENT_FUNDS)
    messages = {a.type: (a.outcome, a.message) for a in run(ROWS["reversing"], settled).answers}
    assert messages == {
        "make": (Outcome.COMPLETED, None),
        "cancel": (Outcome.REJECTED, "the money can't be moved back"),
    }
