"""A rebuild from records of a made-up later version: refused, since it would lose what they mean.

Of the same kind: ``tests/verify/test_later_versions.py``; a worker that takes over refuses rows of
a later format (``tests/engine``).
"""

import json

import pytest
from msgspec import Struct
from pydantic import BaseModel

from exactstage.log import TopicPartition
from payments.records.record_models import AccountResult, Result
from payments.recovery.account_questions import AccountAnswered
from payments.recovery.errors import RecoveryRefused
from payments.recovery.lives import Life, ResultFields, read_result

from .rig import Installation

RESULTS, LEDGER = "payments.results", "accounts.ledger"
MAKE = {"type": "make", "account": "abc", "amount": 100}


async def written_by_a_later_version(topic: str, **changes: object) -> Installation:
    """Return an installation whose last record of a topic has other members too."""
    old = Installation(partitions=1)
    old.command("p1", MAKE)
    old.command("p2", MAKE)
    assert await old.work() is None
    new = Installation(old.time, partitions=1)
    for name in (old.settings.topics.commands, RESULTS, LEDGER):
        records = old.records(name)
        for record in records:
            value = record.value or b""
            if name == topic and record is records[-1]:
                value = json.dumps(json.loads(value) | changes).encode()
            new.produce(TopicPartition(*record[:2]), record.key, value, record.headers)
    return new


@pytest.mark.parametrize(
    ("topic", "changes"),
    [
        (RESULTS, {"type": "preauthorize"}),
        (RESULTS, {"outcome": "preauthorized"}),
        (RESULTS, {"reason": "partly"}),
        (RESULTS, {"state": "blocked"}),
        (RESULTS, {"blocked": 100}),
        (LEDGER, {"kind": "block"}),
        (LEDGER, {"blocked_change": 5}),
    ],
)
async def test_a_rebuild_is_refused_and_names_the_record_and_what_it_does_not_know(
    topic: str, changes: dict[str, object]
) -> None:
    installation = await written_by_a_later_version(topic, **changes)
    [name] = changes
    where = rf"{topic}/0/\d+ has what this version does not know \({name} '{changes[name]}'\)"
    with pytest.raises(RecoveryRefused, match=rf"{where}.*use the version of the workers"):
        await installation.rebuild()


@pytest.mark.parametrize("topic", [RESULTS, LEDGER])
async def test_a_field_that_is_null_changes_nothing(topic: str) -> None:
    installation = await written_by_a_later_version(topic, blocked=None)
    await installation.rebuild()
    assert await installation.work() is None
    await installation.require_clean()


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        (ResultFields, Result),
        (AccountAnswered, AccountResult),
    ],
)
def test_the_fast_decoders_know_every_field_of_this_version(
    fields: type[Struct], model: type[BaseModel]
) -> None:
    """They refuse the others, so that each such record would be decoded a second time, slowly."""
    assert set(fields.__struct_fields__) == set(model.model_fields)


def test_a_part_has_the_amount_that_its_result_names() -> None:
    """The first result that is left may show the sum of several."""
    result = {
        "payment": "p1",
        "command": "c2",
        "type": "refund",
        "outcome": "refunded",
        "reason": None,
        "message": None,
        "replayed": False,
        "state": "completed",
        "account": "abc",
        "amount": 100,
        "currency": "EUR",
        "time": "2026-01-01T00:00:00.000Z",
        "captured": 100,
        "refunded": 30,
        "part": "r2",
        "part_amount": 10,
    }
    life = Life()
    life.read(read_result(json.dumps(result).encode()))
    [part] = life.parts
    assert (part.id, part.moved) == ("r2", 10)
