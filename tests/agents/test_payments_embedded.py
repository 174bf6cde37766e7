"""The application embedded: Faust test agents, the real engine, a log in memory."""

import asyncio
import json
from typing import Any

import pytest

from exactstage.log import Batch, Channel, Header, TopicPartition
from exactstage.partitioner import partition_of
from exactstage.senders import owner_header
from payments.domain.payment import decide
from payments.domain.results import Outcome, Reason
from payments.stages import accounts as accounts_stage
from payments.stages import payments as payments_stage
from payments.testing import PaymentsTestbed

pytest_plugins = ["payments.pytest_plugin"]
pytestmark = pytest.mark.usefixtures("rows_in_memory_and_on_disk")

MAKE: dict[str, Any] = {"type": "make", "account": "abc", "amount": 100}
CANCEL, GET = {"type": "cancel"}, {"type": "get"}
HOURS = 3600.0


async def test_a_make_takes_the_money_once(payments_testbed: PaymentsTestbed) -> None:
    first = await payments_testbed.send("p1", MAKE)
    again = await payments_testbed.send("p1", MAKE)
    assert (first.outcome, first.replayed) == (Outcome.COMPLETED, False)
    assert (again.outcome, again.replayed) == (Outcome.COMPLETED, True)
    entries = payments_testbed.ledger("abc")
    assert [(e.sequence, e.kind, e.amount, e.balance) for e in entries] == [
        (1, "opening", 100_000, 100_000),
        (2, "make", -100, 99_900),
    ]


async def test_the_command_id_is_the_position_of_its_record_unless_given(
    payments_testbed: PaymentsTestbed,
) -> None:
    right = partition_of(b"p1", 4)
    wrong = (right + 1) % 4
    assert (await payments_testbed.send("p1", MAKE)).command == f"payments.commands/{right}/0"
    assert (
        await payments_testbed.send("p1", MAKE, partition=wrong)
    ).command == f"payments.commands/{wrong}/0"
    assert (await payments_testbed.send("p1", {**MAKE, "id": "mine"})).command == "mine"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "deposit"}, Reason.DIFFERENT_TYPE),
        ({"account": "other"}, Reason.DIFFERENT_ACCOUNT),
        ({"amount": 101}, Reason.DIFFERENT_AMOUNT),
        ({"currency": "USD"}, Reason.DIFFERENT_CURRENCY),
        ({"account": "other", "amount": 101}, Reason.DIFFERENT_ACCOUNT),
    ],
)
async def test_the_same_id_with_another_request_is_refused_by_field(
    payments_testbed: PaymentsTestbed, change: dict[str, Any], reason: Reason
) -> None:
    await payments_testbed.send("p1", MAKE)
    refused = await payments_testbed.send("p1", {**MAKE, **change})
    assert (refused.outcome, refused.reason) == (Outcome.REJECTED, reason)
    assert (refused.account, refused.amount) == ("abc", 100)
    assert len(payments_testbed.ledger()) == 2


async def test_cancel_before_make_prevents_it(payments_testbed: PaymentsTestbed) -> None:
    assert (await payments_testbed.send("p1", CANCEL)).reason is Reason.PREVENTED
    made = await payments_testbed.send("p1", MAKE)
    assert (made.outcome, made.reason) == (Outcome.CANCELLED, Reason.PREVENTED)
    assert payments_testbed.ledger() == []


async def test_cancel_after_make_rolls_it_back(payments_testbed: PaymentsTestbed) -> None:
    await payments_testbed.send("p1", MAKE)
    assert (await payments_testbed.send("p1", CANCEL)).reason is Reason.ROLLED_BACK
    assert [(e.kind, e.amount) for e in payments_testbed.ledger("abc")] == [
        ("opening", 100_000),
        ("make", -100),
        ("rollback", 100),
    ]


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_concurrent_make_and_cancel_end_in_one_consistent_way(
    payments_testbed: PaymentsTestbed, *, cancel_first: bool
) -> None:
    order = [CANCEL, MAKE] if cancel_first else [MAKE, CANCEL]
    for command in [*order, MAKE, CANCEL]:
        payments_testbed.post("p1", command)
    await payments_testbed.quiet()
    results = payments_testbed.results("p1")
    assert len(results) == 4
    assert {r.outcome for r in results} == {Outcome.CANCELLED}
    assert sum(e.amount for e in payments_testbed.ledger() if e.payment == "p1") == 0
    assert (await payments_testbed.send("p1", GET)).state == "cancelled"


async def test_a_declined_make_leaves_no_trace_and_may_be_tried_again(
    payments_testbed: PaymentsTestbed,
) -> None:
    declined = await payments_testbed.send("p1", {**MAKE, "amount": 100_001})
    assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.INSUFFICIENT_FUNDS)
    assert payments_testbed.ledger() == []
    assert (await payments_testbed.send("p1", MAKE)).outcome is Outcome.COMPLETED


async def test_a_declined_make_stays_declined_where_that_is_the_policy() -> None:
    async with PaymentsTestbed(opening_balance=50, decline_policy="pin") as payments:
        await payments.send("p1", MAKE)
        await payments.send("d1", {**MAKE, "type": "deposit"})
        again = await payments.send("p1", MAKE)
        assert (again.outcome, again.replayed) == (Outcome.DECLINED, True)


async def test_an_account_that_was_emptied_is_not_filled_again() -> None:
    async with PaymentsTestbed(opening_balance=100) as payments:
        assert (await payments.send("p1", MAKE)).outcome is Outcome.COMPLETED
        assert (await payments.send("p2", {**MAKE, "amount": 1})).outcome is Outcome.DECLINED


async def test_the_second_legs_are_kept_and_everything_adds_up_to_zero(
    payments_testbed: PaymentsTestbed,
) -> None:
    for number in range(30):
        kind = "deposit" if number % 3 == 0 else "make"
        account = f"acct-{number % 7}"
        payments_testbed.post(f"p{number}", {**MAKE, "type": kind, "account": account})
        if number % 4 == 0:
            payments_testbed.post(f"p{number}", CANCEL)
    await payments_testbed.quiet()
    total = 0
    for journal in payments_testbed.app.engine.owned.of("accounts").values():
        for key, row in journal.all_rows.items():
            values = json.loads(row)
            is_counter = key.startswith((b"sales/", b"world/"))
            total += sum(values["balances"].values()) if is_counter else values["balance"]
    assert total == 0
    assert len(payments_testbed.ledger()) > 30


async def test_a_payment_expires_with_a_notice_and_its_id_is_free_again(
    payments_testbed: PaymentsTestbed,
) -> None:
    await payments_testbed.send("p1", MAKE)
    await payments_testbed.advance(23 * HOURS)
    assert (await payments_testbed.send("p1", GET)).outcome is Outcome.FOUND
    await payments_testbed.advance(1 * HOURS + 120)
    notice = payments_testbed.results("p1")[-1]
    assert (notice.command, notice.type, notice.outcome) == (None, "expire", Outcome.EXPIRED)
    assert (await payments_testbed.send("p1", GET)).outcome is Outcome.NOT_FOUND
    again = await payments_testbed.send("p1", MAKE)
    assert (again.outcome, again.replayed) == (Outcome.COMPLETED, False)


async def test_a_change_puts_expiry_off(payments_testbed: PaymentsTestbed) -> None:
    await payments_testbed.send("p1", MAKE)
    await payments_testbed.advance(20 * HOURS)
    await payments_testbed.send("p1", CANCEL)
    await payments_testbed.advance(20 * HOURS)
    made = await payments_testbed.send("p1", MAKE)
    assert (made.outcome, made.replayed) == (Outcome.CANCELLED, True)


async def test_closing_a_large_window_loses_no_payment_and_lets_commands_through() -> None:
    async with PaymentsTestbed(opening_balance=10**9, partitions=1) as payments:
        count = 5000
        for number in range(count):
            payments.post(f"p{number}", {**MAKE, "account": f"a{number % 10}", "amount": 1})
        await payments.quiet()
        payments.clock.advance(25 * HOURS)
        closing = asyncio.create_task(payments.app.engine.timers.tick_all())
        await payments.log.grown(1.0)
        assert not closing.done()
        await payments.send("between", MAKE)
        await closing  # It stops where that command was not handled yet.
        await payments.app.engine.timers.tick_all()
        await payments.quiet()
        expired = [r.payment for r in payments.results() if r.outcome is Outcome.EXPIRED]
        assert sorted(expired) == sorted(f"p{number}" for number in range(count))
        [journal] = payments.app.engine.owned.of("payments").values()
        assert set(journal.all_rows) == {b"between"}


BAD_VALUES: dict[str, tuple[bytes | None, Reason]] = {
    "not JSON": (b"{oops", Reason.NOT_JSON),
    "not UTF-8": (b'{"type":"\xff"}', Reason.NOT_UTF8),
    "empty": (b"", Reason.EMPTY_VALUE),
    "null": (None, Reason.NULL_VALUE),
    "unknown type": (b'{"type":"steal"}', Reason.UNKNOWN_TYPE),
    "unknown field": (b'{"type":"cancel","amount":1}', Reason.UNKNOWN_FIELD),
    "missing field": (b'{"type":"make","account":"abc"}', Reason.MISSING_FIELD),
    "duplicated field": (
        b'{"type":"make","account":"abc","amount":1,"amount":2}',
        Reason.DUPLICATED_FIELD,
    ),
    "amount 0": (b'{"type":"make","account":"abc","amount":0}', Reason.AMOUNT_NOT_POSITIVE),
    "negative": (b'{"type":"make","account":"abc","amount":-1}', Reason.AMOUNT_NOT_POSITIVE),
    "fractional": (b'{"type":"make","account":"abc","amount":1.5}', Reason.AMOUNT_NOT_INTEGER),
    "string": (b'{"type":"make","account":"abc","amount":"1"}', Reason.AMOUNT_NOT_INTEGER),
    "boolean": (b'{"type":"make","account":"abc","amount":true}', Reason.AMOUNT_NOT_INTEGER),
    "over 10^15": (
        b'{"type":"make","account":"abc","amount":1000000000000001}',
        Reason.AMOUNT_TOO_LARGE,
    ),
    "NaN": (b'{"type":"make","account":"abc","amount":NaN}', Reason.AMOUNT_NOT_INTEGER),
    "1e400": (b'{"type":"make","account":"abc","amount":1e400}', Reason.AMOUNT_NOT_INTEGER),
    "deeply nested": (b"[" * 60_000, Reason.TOO_DEEP),
    "64 KiB and a byte": (b'{"type":"get"' + b" " * 65_523 + b"}", Reason.TOO_LARGE),
    "account empty": (b'{"type":"make","account":"","amount":1}', Reason.EMPTY_ACCOUNT),
    "counter-account": (
        b'{"type":"make","account":"sales/0","amount":1}',
        Reason.RESERVED_ACCOUNT,
    ),
    "currency unknown": (
        b'{"type":"make","account":"abc","amount":1,"currency":"XYZ"}',
        Reason.UNKNOWN_CURRENCY,
    ),
    "id of the wrong type": (b'{"type":"get","id":7}', Reason.INVALID_ID),
}


@pytest.mark.parametrize(("value", "reason"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
@pytest.mark.parametrize("wrong_partition", [False, True])
async def test_bad_input_is_answered_and_put_aside_and_the_next_command_works(
    payments_testbed: PaymentsTestbed,
    value: bytes | None,
    reason: Reason,
    *,
    wrong_partition: bool,
) -> None:
    partition = (partition_of(b"p1", 4) + wrong_partition) % 4
    payments_testbed.produce("payments.commands", b"p1", value, partition=partition)
    await payments_testbed.quiet()
    [result] = payments_testbed.results("p1")
    assert (result.outcome, result.reason) == (Outcome.REJECTED, reason)
    assert result.message
    [letter] = payments_testbed.dead_letters()
    assert (letter["key"], letter["value"], letter["reason"]) == (b"p1", value, reason)
    assert letter["topic"] == "payments.commands"
    assert letter["partition"] == str(partition)
    assert payments_testbed.ledger() == []
    assert (await payments_testbed.send("p1", MAKE)).outcome is Outcome.COMPLETED


BAD_KEYS: dict[str, tuple[bytes | None, Reason]] = {
    "null": (None, Reason.NULL_KEY),
    "empty": (b"", Reason.EMPTY_KEY),
    "not UTF-8": (b"\xff", Reason.KEY_NOT_UTF8),
    "over 255 characters": (b"k" * 256, Reason.KEY_TOO_LONG),
    "control characters": (b"a\x00b", Reason.KEY_NOT_PRINTABLE),
}


@pytest.mark.parametrize(("key", "reason"), BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_a_key_that_is_no_payment_id_is_put_aside(
    payments_testbed: PaymentsTestbed, key: bytes | None, reason: Reason
) -> None:
    payments_testbed.produce("payments.commands", key, json.dumps(MAKE).encode())
    assert (await payments_testbed.send("p1", MAKE)).outcome is Outcome.COMPLETED
    [letter] = payments_testbed.dead_letters()
    assert (letter["key"], letter["reason"]) == (key, reason)
    assert len(payments_testbed.results()) == 1


async def test_a_currency_that_is_not_the_accounts_is_declined(
    payments_testbed: PaymentsTestbed,
) -> None:
    await payments_testbed.send("p1", MAKE)
    declined = await payments_testbed.send("p2", {**MAKE, "currency": "USD"})
    assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.WRONG_CURRENCY)


@pytest.fixture
def broken_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the domain raise for payments that are called ``bug``."""

    def decide_or_fail(payment: Any, message: Any, **options: Any) -> Any:
        if getattr(message, "id", "") == "bug":
            raise ZeroDivisionError("a bug")
        return decide(payment, message, **options)

    monkeypatch.setattr(payments_stage, "decide", decide_or_fail)


@pytest.mark.usefixtures("broken_domain")
async def test_a_bug_in_the_domain_is_answered_and_put_aside_with_its_traceback(
    payments_testbed: PaymentsTestbed, caplog: pytest.LogCaptureFixture
) -> None:
    await payments_testbed.send("p1", MAKE)
    failed = await payments_testbed.send("p1", {**CANCEL, "id": "bug"})
    assert (failed.outcome, failed.reason) == (Outcome.REJECTED, Reason.INTERNAL_ERROR)
    [letter] = payments_testbed.dead_letters()
    assert letter["reason"] == "internal_error"
    assert "ZeroDivisionError: a bug" in letter["stacktrace"]
    assert "payments can't handle payments.commands" in caplog.text
    assert (await payments_testbed.send("p1", GET)).state == "completed"


async def test_a_settlement_that_nobody_waits_for_is_a_dead_letter(
    payments_testbed: PaymentsTestbed,
) -> None:
    await payments_testbed.send("p1", MAKE)
    log, sender = payments_testbed.log, payments_testbed.app.engine.owned.owners.get("accounts/0")
    assert sender is not None
    headers: list[Header] = [owner_header(sender), ("src", b"accounts/0/999999/0")]
    at = TopicPartition("payments.inbox", partition_of(b"p1", 4))
    record = (b"p1", b'{"ok":true,"reason":null}', headers)
    await log.append([Batch(at, await log.new_writer(), [record])], Channel.PUBLISH)
    assert (await payments_testbed.send("p1", GET)).state == "completed"
    [letter] = payments_testbed.dead_letters()
    assert letter["reason"] == "impossible"


async def test_a_transfer_that_can_not_be_read_does_not_leave_its_payment_waiting(
    payments_testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(accounts_stage, "post", fail)
    declined = await payments_testbed.send("p1", MAKE)
    assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.INTERNAL_ERROR)
    [letter] = payments_testbed.dead_letters()
    assert letter["reason"] == "internal_error"


async def test_public_records_carry_cloudevents_headers(payments_testbed: PaymentsTestbed) -> None:
    await payments_testbed.send("p1", MAKE)
    payments_testbed.produce("payments.commands", b"p1", b"bad")
    await payments_testbed.quiet()
    for topic in ("payments.results", "accounts.ledger", "payments.dead-letters"):
        for record in payments_testbed.records(topic):
            headers = dict(record.headers)
            assert headers["ce_specversion"] == b"1.0"
            assert (headers["ce_id"] or b"").count(b"/") == 3
            assert headers["ce_subject"] == record.key
            assert {"ce_type", "ce_source", "ce_time"} <= set(headers)


async def test_too_many_waiters_are_refused() -> None:
    async with PaymentsTestbed(opening_balance=1000, max_waiters=3) as payments:
        for _ in range(6):
            payments.post("p1", MAKE)
        await payments.quiet()
        outcomes = sorted(r.outcome for r in payments.results("p1"))
        assert outcomes.count(Outcome.COMPLETED) + outcomes.count(Outcome.REJECTED) == 6
        assert len(payments.ledger()) == 2
