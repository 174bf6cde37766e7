"""The application started again on the same log: what is stored goes on as if nothing had been."""

from typing import Any

import pytest

from payments.app import create_app
from payments.domain.results import Outcome, Reason
from payments.testing import PaymentsTestbed

pytestmark = pytest.mark.usefixtures("rows_in_memory_and_on_disk")

MAKE: dict[str, Any] = {"type": "make", "account": "abc", "amount": 100}
CANCEL, GET = {"type": "cancel"}, {"type": "get"}
HOURS = 3600.0


class Restarted(PaymentsTestbed):
    """Another process of the same installation: nothing but the log and the time is left."""

    def __init__(self, former: PaymentsTestbed) -> None:
        super().__init__()
        self.settings, self.log, self.clock = former.settings, former.log, former.clock
        self.app = create_app(self.settings, log=self.log)


async def outcome(payments: PaymentsTestbed, payment: str) -> str:
    return (await payments.send(payment, GET)).outcome


def expired(payments: PaymentsTestbed) -> list[str]:
    return [r.payment for r in payments.results() if r.outcome is Outcome.EXPIRED]


async def test_what_was_stored_before_a_restart_expires_at_its_own_time() -> None:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as first:
        await first.send("p1", MAKE)
        await first.advance(10 * HOURS)
        await first.send("p2", MAKE)
    async with Restarted(first) as second:
        await second.advance(13 * HOURS)
        assert expired(second) == []
        await second.advance(1 * HOURS + 120)
        assert expired(second) == ["p1"]
        await second.advance(10 * HOURS)
        assert expired(second) == ["p1", "p2"]
    async with Restarted(second) as third:
        assert await outcome(third, "p1") is Outcome.NOT_FOUND
        await third.advance(48 * HOURS)
        assert expired(third) == ["p1", "p2"]


async def test_a_payment_that_changed_late_expires_once_with_its_last_window() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        await payments.advance(20 * HOURS)
        await payments.send("p1", CANCEL)
        await payments.advance(23 * HOURS)
        assert expired(payments) == []
        await payments.advance(1 * HOURS + 120)
        assert expired(payments) == ["p1"]
        assert await outcome(payments, "p1") is Outcome.NOT_FOUND


async def test_payments_and_accounts_go_on_after_a_restart() -> None:
    async with PaymentsTestbed(opening_balance=1000) as first:
        await first.send("p1", MAKE)
        await first.send("p2", MAKE)
        await first.send("p2", CANCEL)
        assert (await first.send("p3", {**MAKE, "amount": 5000})).outcome is Outcome.DECLINED
    async with Restarted(first) as second:
        made = await second.send("p1", MAKE)
        assert (made.outcome, made.replayed) == (Outcome.COMPLETED, True)
        undone = await second.send("p2", CANCEL)
        assert (undone.reason, undone.replayed) == (Reason.ROLLED_BACK, True)
        assert await outcome(second, "p3") is Outcome.NOT_FOUND
        await second.send("p4", MAKE)
        assert [(e.payment, e.sequence, e.balance) for e in second.ledger("abc")] == [
            (None, 1, 1000),
            ("p1", 2, 900),
            ("p2", 3, 800),
            ("p2", 4, 900),
            ("p4", 5, 800),
        ]
