"""Records that a made-up later version has written: new fields, types, outcomes, reasons, states.

The client keeps what it does not know as text, and everything that shows a result names it. Of the
same kind are records that another program wrote (``tests/client/test_following.py``) and journals
of a later row format (``tests/engine``).
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from pydantic import ValidationError

from payments.cli.payment import is_done, line_of
from payments.domain.results import Outcome, Reason
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.records.record_models import LedgerEntry, Result, entry_members
from payments.records.wording import sentence_of, worded
from payments.schemas.json_schema import standalone
from payments.testing import PaymentsTestbed
from tests.gateway.fake_service import FakeService

TIME = "2026-01-01T00:00:00.000Z"
AUTHORIZED: dict[str, Any] = {
    "payment": "p1",
    "command": "c1",
    "type": "preauthorize",
    "outcome": "preauthorized",
    "reason": "partly",
    "message": None,
    "replayed": False,
    "state": "blocked",
    "account": "abc",
    "amount": 100,
    "currency": "EUR",
    "exponent": 2,
    "time": TIME,
    "blocked": 100,
    "parts": [{"amount": 60}],
}
ENTRY: dict[str, Any] = {
    "account": "abc",
    "sequence": 2,
    "payment": "p1",
    "kind": "block",
    "amount": 0,
    "balance": 1000,
    "currency": "XXV",
    "exponent": 3,
    "counter_account": "sales/0",
    "time": TIME,
    "blocked_change": 100,
}


def later(**changes: Any) -> Result:
    return Result.model_validate_json(json.dumps(AUTHORIZED | changes))


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as running:
        yield running


def test_a_result_keeps_values_that_it_does_not_know_as_text() -> None:
    result = later()
    assert (result.type, result.outcome, result.reason, result.state) == (
        "preauthorize",
        "preauthorized",
        "partly",
        "blocked",
    )
    assert not isinstance(result.outcome, Outcome)
    assert not isinstance(result.reason, Reason)
    assert result.outcome.value == "preauthorized", "as a member of Outcome has it"
    shown = {name: AUTHORIZED.get(name) for name in Result.model_fields}
    assert result.model_dump(mode="json") == json.loads(result.model_dump_json()) == shown


def test_values_that_are_known_are_members_still() -> None:
    result = later(type="make", outcome="declined", reason="insufficient_funds", state=None)
    assert result.outcome is Outcome.DECLINED
    assert result.reason is Reason.INSUFFICIENT_FUNDS
    for reason in (Reason.PREVENTED, "prevented"):
        given = result.model_dump() | {"outcome": "cancelled", "reason": reason}
        assert Result(**given).reason is Reason.PREVENTED
    with pytest.raises(ValidationError):
        later(outcome=5)
    with pytest.raises(ValidationError):
        later(outcome=None)


def test_an_entry_of_an_unknown_kind_and_currency_is_read() -> None:
    entry = LedgerEntry.model_validate_json(json.dumps(ENTRY))
    assert (entry.kind, entry.exponent, entry.balance) == ("block", 3, 1000)
    assert entry_members(entry)["balance_decimal"] is None


@pytest.mark.parametrize(("name", "record"), [("result", AUTHORIZED), ("entry", ENTRY)])
def test_the_schema_names_the_known_values_and_accepts_later_ones(
    name: str, record: dict[str, Any]
) -> None:
    schema = standalone(name)
    jsonschema_rs.Draft202012Validator(schema).validate(record)
    assert "deposit" in json.dumps(schema["properties"]["type" if name == "result" else "kind"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"outcome": "completed"},
        {"outcome": "completed", "replayed": True},
        {"outcome": "cancelled", "state": "cancelled"},
        {"type": "cancel", "outcome": "cancelled", "state": "cancelled"},
        {"outcome": "expired", "type": "expire"},
        {"outcome": "found", "type": "get"},
        {"outcome": "found", "type": "get", "state": "cancelled"},
        {"outcome": "authorized", "type": "authorize"},
        {"outcome": "captured", "type": "capture"},
        {"outcome": "voided", "type": "void"},
        {"outcome": "refunded", "type": "refund"},
        {"outcome": "lapsed", "type": "lapse"},
        {"outcome": "declined"},
        {"outcome": "rejected"},
    ],
)
def test_the_sentence_says_nothing_about_money_that_it_can_not_know(
    changes: dict[str, Any],
) -> None:
    result = later(**changes)
    sentence = sentence_of(result)
    assert "p1" in sentence
    shown = [result.outcome.value, "partly", "blocked", "cancelled"]
    assert any(word in sentence for word in shown)
    claims = ("taken from", "put on", "moved back", "had moved", "stays where it is")
    for claim in (*claims, "held", "captured of", "refunded of", "released"):
        assert claim not in sentence
    assert worded(result).message in (sentence, None)


def test_the_command_shows_an_unknown_outcome_and_does_not_call_it_done() -> None:
    assert line_of(later()) == "p1: preauthorized (partly) 1.00 EUR account abc"
    assert not is_done(later(type="make"))


async def test_calls_watches_and_resumed_calls_get_a_result_of_a_later_version(
    testbed: PaymentsTestbed,
) -> None:
    async with testbed.client() as client:
        mark = await client.mark("p1")
        watch = client.watch("p1")
        testbed.produce("payments.results", b"p1", json.dumps(AUTHORIZED).encode())
        seen = await anext(watch)
        assert (seen.outcome, seen.state) == ("preauthorized", "blocked")
        assert seen.message is not None
        assert "a later version" in seen.message
        # The first result of a command counts, so the worker's own answer comes too late.
        answer = await client.make("p1", account="abc", amount=1, command_id="c1")
        assert answer.outcome is Outcome.COMPLETED
        found = await client.resume("p1", "c1", mark)
        assert found is not None
        assert (await found).outcome == "preauthorized"


async def test_a_page_has_entries_of_a_later_version(testbed: PaymentsTestbed) -> None:
    async with testbed.client() as client:
        await client.make("p0", account="abc", amount=1)
        entry = {**ENTRY, "sequence": 3}
        testbed.produce("accounts.ledger", b"abc", json.dumps(entry).encode())
        entries = await client.entries("abc")
    assert entries is not None
    assert [entry.kind for entry in entries] == ["opening", "make", "block"]


async def test_the_gateway_answers_an_unknown_outcome_with_502_and_the_result() -> None:
    service = FakeService()
    service.release.set()
    service.changes = {name: AUTHORIZED[name] for name in ("outcome", "reason", "state")}
    gateway = httpx.ASGITransport(Gateway(service, GatewaySettings()))
    async with httpx.AsyncClient(transport=gateway, base_url="http://gateway") as http:
        answer = await http.post("/v1/payments/p1", json={"account": "abc", "amount": 100})
        assert answer.status_code == 502
        body = answer.json()
        assert (body["type"], body["reason"]) == ("/problems/later-version", "partly")
        assert body["result"]["outcome"] == "preauthorized"
        service.changes = {"outcome": "found", "state": "blocked"}
        answer = await http.get("/v1/payments/p1")
        assert (answer.status_code, answer.json()["state"]) == (200, "blocked")
