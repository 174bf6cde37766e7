"""Commands for accounts, embedded: results, entries, dead letters, and what payments meet."""

from typing import Any

import pytest

from payments.domain.results import Outcome, Reason
from payments.testing import AccountResult, PaymentsTestbed


def shown(result: AccountResult) -> tuple[Any, ...]:
    return (
        result.outcome.value,
        result.reason and result.reason.value,
        result.replayed,
        result.status,
    )


async def test_an_account_is_opened_frozen_and_closed_by_command() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        send = payments.send_account
        assert shown(await send("abc", {"type": "get"})) == ("not_found", None, False, None)
        opened = await send("abc", {"type": "open", "credit_limit": 500, "id": "o1"})
        assert opened.model_dump(exclude={"time"}, mode="json") == {
            "account": "abc",
            "command": "o1",
            "type": "open",
            "outcome": "completed",
            "reason": None,
            "message": None,
            "replayed": False,
            "status": "open",
            "balance": 0,
            "held": 0,
            "credit_limit": 500,
            "available": 500,
            "currency": "EUR",
            "exponent": 2,
            "sequence": 1,
        }
        again = await send("abc", {"type": "open", "credit_limit": 500})
        assert shown(again) == ("completed", None, True, "open")
        assert again.command.startswith("accounts.commands/")
        await payments.send("p1", {"type": "authorize", "account": "abc", "amount": 400})
        assert (await send("abc", {"type": "close"})).reason is Reason.NOT_ZERO
        assert shown(await send("abc", {"type": "freeze"})) == ("completed", None, False, "frozen")
        declined = await payments.send("p2", {"type": "make", "account": "abc", "amount": 1})
        assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.ACCOUNT_FROZEN)
        captured = await payments.send("p1", {"type": "capture"})
        assert captured.outcome is Outcome.CAPTURED, "a hold is a promise"
        await payments.send("p3", {"type": "deposit", "account": "abc", "amount": 400})
        closed = await send("abc", {"type": "close"})
        assert (shown(closed), closed.available) == (("completed", None, False, "closed"), 0)
        late = await payments.send("p4", {"type": "deposit", "account": "abc", "amount": 1})
        assert (late.outcome, late.reason) == (Outcome.DECLINED, Reason.ACCOUNT_CLOSED)
        refunded = await payments.send("p1", {"type": "refund", "refund": "r1", "amount": 40})
        assert refunded.outcome is Outcome.REFUNDED
        found = await send("abc", {"type": "get"})
        assert (shown(found), found.balance) == (("found", None, False, "closed"), 40)
        async with payments.client() as client:
            balance = await client.account("abc")
        entries = payments.ledger("abc")
    assert balance is not None
    assert (balance.status, balance.credit_limit, balance.available) == ("closed", 0, 40)
    seen = [(e.sequence, e.kind, e.amount, e.available, e.status, e.credit_limit) for e in entries]
    assert seen == [
        (1, "open", 0, 500, "open", 500),
        (2, "hold", 0, 100, "open", 500),
        (3, "freeze", 0, 100, "frozen", 500),
        (4, "capture", -400, 100, "frozen", 500),
        (5, "deposit", 400, 500, "frozen", 500),
        (6, "close", 0, 0, "closed", 0),
        (7, "refund", 40, 40, "closed", 0),
    ]


async def test_any_partitioner_will_do() -> None:
    """A command on another partition is forwarded, and answered once, where its account is."""
    async with PaymentsTestbed() as payments:
        types = ("open", "freeze", "unfreeze", "close")
        for partition, type_ in enumerate(types):
            result = await payments.send_account("abc", {"type": type_}, partition=partition)
            assert shown(result)[0] == "completed"
            assert result.command == f"accounts.commands/{partition}/0"
        records = payments.records(payments.settings.topics.account_results)
    assert len(records) == len(types)
    assert len({record.partition for record in records}) == 1
    assert all(("ce_type", b"accounts.result") in record.headers for record in records)


@pytest.mark.parametrize("partition", range(4))
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY_VALUE),
        (b"no json", Reason.NOT_JSON),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.MISSING_TYPE),
        (b'{"type":"seize"}', Reason.UNKNOWN_TYPE),
        (b'{"type":"make"}', Reason.UNKNOWN_TYPE),
        (b'{"type":"freeze","type":"close"}', Reason.DUPLICATED_FIELD),
        (b'{"type":"freeze","amount":1}', Reason.UNKNOWN_FIELD),
        (b'{"type":"freeze","credit_limit":1}', Reason.UNKNOWN_FIELD),
        (b'{"type":"limit"}', Reason.MISSING_FIELD),
        (b'{"type":"limit","credit_limit":-1}', Reason.INVALID_CREDIT_LIMIT),
        (b'{"type":"limit","credit_limit":null}', Reason.INVALID_CREDIT_LIMIT),
        (b'{"type":"limit","credit_limit":true}', Reason.INVALID_CREDIT_LIMIT),
        (b'{"type":"limit","credit_limit":1.0}', Reason.INVALID_CREDIT_LIMIT),
        (b'{"type":"limit","credit_limit":1000000000000000001}', Reason.INVALID_CREDIT_LIMIT),
        (b'{"type":"open","currency":"ZZZ"}', Reason.UNKNOWN_CURRENCY),
        (b'{"type":"get","id":" x"}', Reason.INVALID_ID),
        (b'{"type":"get","id":"' + b"x" * 66_000 + b'"}', Reason.TOO_LARGE),
    ],
)
async def test_a_malformed_command_is_rejected_and_dead_lettered(
    value: bytes, reason: Reason, partition: int
) -> None:
    async with PaymentsTestbed() as payments:
        result = await payments.send_account("abc", value, partition=partition)
        [letter] = payments.dead_letters()
    assert (result.outcome, result.reason) == (Outcome.REJECTED, reason)
    assert result.message is not None
    assert (letter["reason"], letter["value"]) == (reason.value, value)
    assert (letter["topic"], letter["partition"]) == ("accounts.commands", str(partition))


async def test_a_counter_account_has_no_rules() -> None:
    async with PaymentsTestbed(opening_balance=10) as payments:
        await payments.send("p1", {"type": "make", "account": "abc", "amount": 1})
        result = await payments.send_account("sales/3", {"type": "freeze", "id": "mine"})
        [letter] = payments.dead_letters()
    assert (result.outcome, result.reason) == (Outcome.REJECTED, Reason.RESERVED_ACCOUNT)
    assert (result.command, result.type) == ("mine", "freeze")
    assert letter["reason"] == "reserved_account"


@pytest.mark.parametrize("key", [b"", b"\xff", b"bad\x07id"])
async def test_a_key_that_names_no_account_is_dead_lettered(key: bytes) -> None:
    async with PaymentsTestbed() as payments:
        payments.produce(payments.settings.topics.account_commands, key, b'{"type":"get"}')
        await payments.quiet()
        assert payments.account_results() == []
        [letter] = payments.dead_letters()
    assert letter["reason"] in {Reason.EMPTY_KEY, Reason.KEY_NOT_UTF8, Reason.KEY_NOT_PRINTABLE}
