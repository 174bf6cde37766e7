"""Records across versions: the former models read today's records, and today's read theirs.

``FormerResult`` and ``FormerEntry`` are the models as they were before a payment could hold money
or be refunded: a consumer that was not updated has them. Of the same kind: a made-up later version
(``test_later_versions.py``), rows of the journals (``test_rows_with_holds.py``), and a whole run of
the former build (``tests/rolling``).
"""

import json
from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, Strict

from payments.records.record_models import OF_A_HOLD, OF_A_LIFE, LedgerEntry, Result
from payments.testing import PaymentsTestbed
from tests.records import golden

FormerOutcome = StrEnum(
    "FormerOutcome", "COMPLETED DECLINED CANCELLED REJECTED FOUND NOT_FOUND EXPIRED"
)


class _Former(BaseModel, frozen=True, strict=True, extra="ignore"): ...


class FormerResult(_Former):
    """As the former version reads it."""

    payment: str
    command: str | None
    type: str | None
    outcome: Annotated[FormerOutcome, Strict(strict=False)] | str = Field(
        union_mode="left_to_right"
    )
    reason: str | None
    message: str | None
    replayed: bool
    state: str | None
    account: str | None
    amount: int | None
    currency: str | None
    exponent: int | None = None
    time: str


class FormerEntry(_Former):
    """As the former version reads it."""

    account: str
    sequence: int
    payment: str | None
    kind: str
    amount: int
    balance: int
    currency: str
    exponent: int | None = None
    counter_account: str
    time: str


def recorded(kind: str) -> list[Any]:
    """Return the recorded records of a kind, as bytes, by name."""
    return [
        pytest.param(line["value"].encode(), id=name.partition(": ")[2])
        for name, line in golden.recorded().items()
        if name.startswith(f"{kind}: ")
    ]


@pytest.mark.parametrize("value", recorded("result"))
def test_the_former_version_reads_results_of_today(value: bytes) -> None:
    read = FormerResult.model_validate_json(value).model_dump(mode="json")
    record = json.loads(value)
    assert read == {name: found for name, found in record.items() if name not in OF_A_LIFE}


@pytest.mark.parametrize("value", recorded("ledger entry"))
def test_the_former_version_reads_entries_of_today(value: bytes) -> None:
    read = FormerEntry.model_validate_json(value).model_dump(mode="json")
    record = json.loads(value)
    assert read == {name: found for name, found in record.items() if name not in OF_A_HOLD}


@pytest.mark.parametrize("value", recorded("result"))
def test_today_reads_results_of_the_former_version(value: bytes) -> None:
    before = FormerResult.model_validate_json(value)
    read = Result.model_validate_json(before.model_dump_json())
    assert read.model_dump(mode="json") == {
        **before.model_dump(mode="json"),
        **dict.fromkeys(OF_A_LIFE),
    }


@pytest.mark.parametrize("value", recorded("ledger entry"))
def test_today_reads_entries_of_the_former_version(value: bytes) -> None:
    before = FormerEntry.model_validate_json(value)
    read = LedgerEntry.model_validate_json(before.model_dump_json())
    assert read.model_dump(mode="json") == {
        **before.model_dump(mode="json"),
        **OF_A_HOLD,
        "available": before.balance,
        "status": "open",
        "credit_limit": 0,
    }


async def test_a_former_consumer_follows_the_balance_of_an_account_with_holds() -> None:
    """It adds amounts up, and knows nothing of holds; makes have no field that it does not know."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", {"type": "authorize", "account": "abc", "amount": 300})
        await payments.send("p2", {"type": "make", "account": "other", "amount": 10})
        await payments.send("p1", {"type": "capture", "amount": 200})
        await payments.send("p1", {"type": "refund", "refund": "r1", "amount": 50})
        await payments.send("p3", {"type": "make", "account": "abc", "amount": 10})
        await payments.send("p3", {"type": "cancel"})
        topics = payments.settings.topics
        entries = [record.value or b"" for record in payments.records(topics.ledger)]
        results = [record.value or b"" for record in payments.records(topics.results)]
    balances: dict[str, int] = {}
    for value in entries:
        entry = FormerEntry.model_validate_json(value)
        balances[entry.account] = balances.get(entry.account, 0) + entry.amount
        assert balances[entry.account] == entry.balance
    assert balances == {"abc": 850, "other": 990}
    for value in results:
        result = FormerResult.model_validate_json(value)
        if result.payment != "p1":
            assert isinstance(result.outcome, FormerOutcome)
            assert list(json.loads(value)) == list(FormerResult.model_fields)
