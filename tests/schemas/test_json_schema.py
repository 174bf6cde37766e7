"""The published schemas: what is recorded fits them, what is malformed does not."""

import json
from typing import Any

import jsonschema_rs
import pytest

from payments.domain.results import Reason
from payments.schemas.json_schema import DIALECT, SCHEMAS, standalone
from payments.testing import PaymentsTestbed
from tests.records.test_malformed import BAD

MAKE = {"type": "make", "account": "abc", "amount": 100}
AUTHORIZE = {**MAKE, "type": "authorize"}
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("p1", MAKE),
    ("p1", MAKE),
    ("p1", {**MAKE, "amount": 5, "id": "c 1", "currency": None}),
    ("p1", {"type": "cancel", "id": None}),
    ("p2", {"type": "cancel"}),
    ("p3", {**MAKE, "amount": 10**15, "currency": "EUR"}),
    ("p4", {**MAKE, "type": "deposit", "account": "é/ü"}),
    ("p4", {"type": "get"}),
    ("p5", {"type": "get"}),
    ("h1", {**AUTHORIZE, "metadata": {"order": "o 7", "é": ""}}),
    ("h1", {"type": "capture", "capture": "c 1", "amount": 60, "final": False}),
    ("h1", {"type": "capture", "capture": "c 1", "amount": 60, "final": False}),
    ("h1", {"type": "refund", "refund": "r1", "amount": 20}),
    ("h1", {"type": "void"}),
    ("h1", {"type": "refund", "refund": "r2", "amount": None}),
    ("h2", {**AUTHORIZE, "hold_seconds": 31_536_000, "metadata": None}),
    ("h2", {"type": "capture", "amount": 101}),
    ("h2", {"type": "capture"}),
    ("h3", {**AUTHORIZE, "hold_seconds": 1}),
    ("h4", {**AUTHORIZE, "hold_seconds": 200}),
]
NOT_ABOUT_FIELDS = {
    Reason.NULL_VALUE,
    Reason.EMPTY_VALUE,
    Reason.TOO_LARGE,
    Reason.NOT_UTF8,
    Reason.NOT_JSON,
    Reason.TOO_DEEP,
    Reason.DUPLICATED_FIELD,
}
NOT_SEEN_BY_A_SCHEMA = (
    # Whole numbers with a point.
    b'"amount":100.0}',
    b'"amount":1e2}',
    b'"hold_seconds":1.0}',
    # Metadata: a name that is given twice, half of a surrogate pair, too many bytes.
    b'"metadata":{"a":"b","a":"b"}}',
    b'"metadata":{"a":"\\ud800"}}',
    b'\\u00e9"}}',
)


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(standalone(name), validate_formats=True)


async def recorded_run() -> PaymentsTestbed:
    times = {"retention_seconds": 60, "hold_notice_seconds": 150}
    async with PaymentsTestbed(opening_balance=1000, **times) as payments:
        for payment, command in COMMANDS:
            await payments.send(payment, command)
        await payments.send("p6", b'{"type":"make"}')
        await payments.send("p7", b"\xff")
        await payments.advance(120)
        await payments.advance(180)
    return payments


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one_of_the_dialect_that_it_names(name: str) -> None:
    schema = standalone(name)
    assert schema["$schema"] == DIALECT
    assert jsonschema_rs.meta.is_valid(schema)
    assert schema["description"]


@pytest.mark.parametrize("command", [command for _, command in COMMANDS])
def test_every_command_of_a_recorded_run_is_valid(command: dict[str, Any]) -> None:
    validator("command").validate(command)


async def test_everything_that_a_recorded_run_published_is_valid() -> None:
    run = await recorded_run()
    seen = {"payments.results": "result", "accounts.ledger": "entry"}
    for topic, name in seen.items():
        values = [json.loads(record.value or b"") for record in run.records(topic)]
        assert len(values) >= 5
        for value in values:
            validator(name).validate(value)
    outcomes = {result.outcome.value for result in run.results()}
    assert outcomes == set(standalone("result")["$defs"]["Outcome"]["enum"])
    for topic in (*seen, "payments.dead-letters"):
        for record in run.records(topic):
            headers = {name: (value or b"").decode() for name, value in record.headers}
            validator("event-headers").validate(headers)
    letters = run.records("payments.dead-letters")
    assert len(letters) == 2
    for letter in letters:
        headers = {name: (value or b"").decode() for name, value in letter.headers}
        validator("dead-letter-headers").validate(headers)


@pytest.mark.parametrize(
    "value",
    [
        value
        for value, reason, _ in BAD
        if value and reason not in NOT_ABOUT_FIELDS
        if not value.endswith(NOT_SEEN_BY_A_SCHEMA)
    ],
)
def test_no_command_with_a_malformed_field_is_valid(value: bytes) -> None:
    command = json.loads(value, parse_int=lambda digits: int(digits[:400]))
    # Half of a surrogate pair and an abyss of arrays: the validator can't even be given them.
    with pytest.raises((jsonschema_rs.ValidationError, ValueError)):
        validator("command").validate(command)
