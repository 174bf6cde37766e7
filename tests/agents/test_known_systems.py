"""Conformance: what users of other payment systems report about holds and refunds, tried here.

Each test is one complaint, through the topics. ``docs/lifecycle.md`` has the table of them, which
``python -m tests.agents.test_known_systems`` prints.
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from payments.domain.results import Outcome, Reason
from payments.testing import PaymentsTestbed, Result

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
HOLD: dict[str, Any] = {"type": "authorize", "account": "abc", "amount": 100, "hold_seconds": 600}
CAPTURE: dict[str, Any] = {"type": "capture"}
WINDOW_SECONDS = 60.0

Test = Callable[[], Awaitable[None]]


class Complaint(NamedTuple):
    """What is reported of other systems, where, and what happens here instead."""

    what: str
    reports: tuple[str, ...]
    """Issues and pull requests: repository#number."""

    here: str


COMPLAINTS: list[Complaint] = []


def reported(what: str, *reports: str, here: str) -> Callable[[Test], Test]:
    """Note the complaint of a test."""

    def noted(test: Test) -> Test:
        COMPLAINTS.append(Complaint(what, reports, here))
        return test

    return noted


def rows() -> list[str]:
    """Return the rows of the table."""
    return [f"| {what} | {', '.join(reports)} | {here} |" for what, reports, here in COMPLAINTS]


def shop(**settings: Any) -> PaymentsTestbed:
    """Return a test bed whose accounts have 1,000 minor units."""
    return PaymentsTestbed(opening_balance=1000, **settings)


def held(payments: PaymentsTestbed) -> tuple[int, int]:
    """Return balance and held after the last entry."""
    last = payments.ledger("abc")[-1]
    return last.balance, last.held


def some(part: str, amount: int, *, final: bool = False) -> dict[str, Any]:
    """Return a capture of a part."""
    return {"type": "capture", "capture": part, "amount": amount, "final": final}


def refund(part: str, amount: int) -> dict[str, Any]:
    """Return a refund."""
    return {"type": "refund", "refund": part, "amount": amount}


def told(*results: Result) -> list[tuple[str, str | None]]:
    """Return outcomes and reasons."""
    return [(str(each.outcome), each.reason) for each in results]


@reported(
    "A hold lapses silently, and goods are shipped unpaid",
    "woocommerce-gateway-stripe#1378",
    "woocommerce-payments#739",
    "reaction#4726",
    "reaction#4764",
    "coopcycle-web#1388",
    here=(
        "Each result has `hold_expires`, a lapse is a result record, a notice may come before "
        "it, and a late capture is rejected with `hold_expired`."
    ),
)
async def test_a_hold_never_lapses_silently() -> None:
    async with shop(hold_notice_seconds=300) as payments:
        authorized = await payments.send("p1", HOLD)
        assert authorized.hold_expires == "2026-01-01T00:10:00.000Z"
        await payments.advance(300 + WINDOW_SECONDS)
        await payments.advance(300)
        *_, soon, lapsed = payments.results("p1")
        assert told(soon, lapsed) == [("hold_ends_soon", None), ("lapsed", "hold_expired")]
        late = await payments.send("p1", CAPTURE)
        assert told(late) == [("rejected", "hold_expired")]
        assert held(payments) == (1000, 0)


@reported(
    "After a partial capture the rest stays held",
    "hyperswitch#2036",
    here=(
        "A capture is final unless it says otherwise, and releases the rest in the same "
        "ledger entry."
    ),
)
async def test_a_final_capture_releases_the_rest() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", {**CAPTURE, "amount": 60})
        last = payments.ledger("abc")[-1]
        assert (last.kind, last.amount, last.held_change) == ("capture", -60, -100)
        assert held(payments) == (940, 0)


@reported(
    "A void of the rest loses what was captured, or is refused",
    "Checkout-PHP-SDK#76",
    "PayPal-PHP-SDK#98",
    here=("A void releases only what is held. What was captured stays, and can be refunded."),
)
async def test_a_void_keeps_what_was_captured() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", some("c1", 60))
        voided = await payments.send("p1", {"type": "void"})
        assert (voided.outcome, voided.state, voided.captured) == ("voided", "completed", 60)
        assert held(payments) == (940, 0)
        assert (await payments.send("p1", refund("r1", 60))).outcome is Outcome.REFUNDED


@reported(
    "A refund that is sent again pays twice, or takes the payment again",
    "blnk#152",
    "blnk#374",
    "medusa#16681",
    here=(
        "Each refund has an id of the sender's choice within the payment: the same id is "
        "answered again, and moves nothing."
    ),
)
async def test_a_refund_that_is_sent_again_moves_nothing() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", CAPTURE)
        entries = []
        for _ in range(3):
            assert (await payments.send("p1", refund("r1", 40))).outcome is Outcome.REFUNDED
            entries.append(len(payments.ledger("abc")))
        assert len(set(entries)) == 1
        assert held(payments) == (940, 0)
        other = await payments.send("p1", refund("r1", 41))
        assert told(other) == [("rejected", "different_amount")]


@reported(
    "Two honest refunds of one amount are impossible",
    "mangopay#60",
    here=("Another id is another refund, whatever its amount."),
)
async def test_two_refunds_of_one_amount_have_two_ids() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", CAPTURE)
        await payments.send("p1", refund("r1", 40))
        second = await payments.send("p1", refund("r2", 40))
        assert (second.outcome, second.replayed, second.refunded) == ("refunded", False, 80)
        assert held(payments) == (980, 0)


@reported(
    "More is captured than was authorized, or refunded than was captured",
    "killbill#333",
    "killbill#334",
    "hyperswitch#3120",
    here=(
        "The payment's own row decides, one transfer after the other: `over_capture`, "
        "`over_refund`; `payments verify` proves it from the topics."
    ),
)
async def test_no_more_is_captured_or_refunded_than_there_is() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        for number in range(4):  # At once: 120 of 100.
            payments.post("p1", some(f"c{number}", 30))
        await payments.quiet()
        captures = [each for each in payments.results("p1") if each.type == "capture"]
        assert sorted(told(*captures)) == sorted(
            [*[("captured", None)] * 3, ("rejected", Reason.OVER_CAPTURE)]
        )
        for number in range(4):  # 120 of 90.
            payments.post("p1", refund(f"r{number}", 30))
        await payments.quiet()
        refunds = [each for each in payments.results("p1") if each.type == "refund"]
        assert [each.outcome for each in refunds].count(Outcome.REFUNDED) == 3
        assert held(payments) == (1000, 10)


@reported(
    "Holds are left out when a balance is checked",
    "blnk#181",
    here=(
        "Only `available`, from which what is held is subtracted, declines a payment for lack of "
        "funds."
    ),
)
async def test_what_is_held_can_not_be_spent() -> None:
    async with shop() as payments:
        await payments.send("p1", {**HOLD, "amount": 950})
        make = {"type": "make", "account": "abc", "amount": 51}
        results = [
            await payments.send("p2", make),
            await payments.send("p3", {**HOLD, "amount": 51}),
            await payments.send("p1", CAPTURE),
        ]
        assert [str(each.outcome) for each in results] == ["declined", "declined", "captured"]
        assert held(payments) == (50, 0)


@reported(
    "A hold that was refused can be captured",
    "blnk#182",
    here=(
        "A capture needs an authorized payment: a declined one is `declined`, or unknown "
        "where declined payments are forgotten."
    ),
)
async def test_a_declined_authorize_can_not_be_captured() -> None:
    reasons = []
    for policy in ("pin", "retry"):
        async with shop(decline_policy=policy) as payments:
            await payments.send("p1", {**HOLD, "amount": 1001})
            captured = await payments.send("p1", CAPTURE)
            reasons += told(captured)
            assert [each.kind for each in payments.ledger("abc")] in ([], ["opening"])
    assert reasons == [("rejected", "declined"), ("rejected", "unknown_payment")]


@reported(
    "Two callers at once capture twice",
    "medusa#13301",
    here=(
        "One transfer of a payment is in flight at a time. The second caller joins it, or is "
        "decided after it by what is left."
    ),
)
async def test_two_captures_at_once_take_the_money_once() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        for command in (CAPTURE, CAPTURE, {**CAPTURE, "capture": "another"}):
            payments.post("p1", command)
        await payments.quiet()
        captures = [each for each in payments.results("p1") if each.type == "capture"]
        assert sorted(
            (str(each.outcome), each.replayed, each.reason or "") for each in captures
        ) == [
            ("captured", False, ""),
            ("captured", True, ""),
            ("rejected", False, "nothing_held"),
        ]
        assert held(payments) == (900, 0)


@reported(
    "Balance and holds are never seen at one instant",
    "tigerbeetle#2693",
    here=("Both are in one row and one ledger entry, under one `sequence`."),
)
async def test_balance_and_held_change_in_one_record() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", some("c1", 60))
        await payments.send("p1", {"type": "void"})
        entries = payments.ledger("abc")
        seen = [(e.sequence, e.balance, e.held, e.held_change or 0) for e in entries]
        assert seen == [(1, 1000, 0, 0), (2, 1000, 100, 100), (3, 940, 40, -60), (4, 940, 0, -40)]
        async with payments.client() as client:
            account = await client.account("abc")
        assert account is not None
        assert (account.sequence, account.balance, account.held) == (4, 940, 0)


@reported(
    "A late payment revives a voided hold",
    "blnk#42",
    here=(
        "An authorize or capture of an ended hold is answered by how it ended; a new hold "
        "needs a new payment id."
    ),
)
async def test_an_ended_hold_is_not_revived() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", {"type": "void"})
        results = [await payments.send("p1", command) for command in (HOLD, CAPTURE)]
        assert told(*results) == [("cancelled", "voided"), ("rejected", "cancelled")]
        assert held(payments) == (1000, 0)


@reported(
    "The end of a hold races with its capture",
    "tigerbeetle#2000",
    here=(
        "Only the payments stage ends holds. The time at which the broker has appended the "
        "capture decides, whether the timer has run or not."
    ),
)
async def test_the_log_time_decides_between_a_capture_and_the_end_of_its_hold() -> None:
    outcomes = []
    for seconds, timer_first in ((599.999, False), (600, False), (600 + WINDOW_SECONDS, True)):
        async with shop() as payments:
            await payments.send("p1", HOLD)
            if timer_first:
                await payments.advance(seconds)
            else:
                payments.clock.advance(seconds)
            outcomes += told(await payments.send("p1", CAPTURE))
    late = ("rejected", "hold_expired")
    assert outcomes == [("captured", None), late, late]


@reported(
    "An account is closed or blocked, and its holds end in surprises",
    "tigerbeetle#3278",
    here=(
        "Freeze and close stop new makes and holds; captures, releases and refunds of existing "
        "payments go through. An account that holds money can't be closed."
    ),
)
async def test_a_hold_is_a_promise_also_of_a_frozen_account() -> None:
    async with shop() as payments:
        await payments.send("p1", HOLD)
        await payments.send("p2", HOLD)
        await payments.send_account("abc", {"type": "freeze"})
        refused = [
            await payments.send("p3", HOLD),
            await payments.send("p4", {"type": "make", "account": "abc", "amount": 1}),
        ]
        assert told(*refused) == [("declined", "account_frozen")] * 2
        assert (await payments.send_account("abc", {"type": "close"})).reason is Reason.NOT_ZERO
        results = [
            await payments.send("p1", some("c1", 60, final=True)),
            await payments.send("p2", {"type": "void"}),
            await payments.send("p1", refund("r1", 60)),
        ]
        assert [str(each.outcome) for each in results] == ["captured", "cancelled", "refunded"]
        assert held(payments) == (1000, 0)


def test_the_page_has_each_complaint() -> None:
    page = PAGE.read_text()
    assert len(COMPLAINTS) > 10
    for row in rows():
        assert row in page, "print the rows: python -m tests.agents.test_known_systems"


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")
