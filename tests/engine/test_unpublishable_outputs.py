"""Outputs that no worker could publish are refused in ``emit``, and their record is dead-lettered.

Were they journalled, every next owner would end at them too. Keys, values, topics and partitions:
``test_journal.py``.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from exactstage import Context, Record, Stage
from exactstage.testing import StageTestbed

YEAR_10_000_MS = 253_402_300_800_000


def emitting(**given: Any) -> Stage:
    """Return a stage that copies each record to ``out``, and gives ``emit`` this beside it."""

    def handle(record: Record, context: Context) -> None:
        if record.key == b"bad":
            context.emit("out", record.key, record.value, **given)
        else:
            context.emit("out", record.key, record.value)

    return Stage(
        name="copy",
        logic=handle,
        changelog="copy-changelog",
        dead_letters="copy-dead",
        public_inputs=("in",),
        outputs=("out",),
    )


@pytest.mark.parametrize(
    "given",
    [
        {"headers": [("trace", "text")]},
        {"headers": [("trace", 5)]},
        {"headers": [("trace", bytearray(b"x"))]},
        {"headers": [(b"trace", b"x")]},
        {"headers": [("\ud800", b"x")]},
        {"headers": [("trace",)]},
        {"headers": {"trace": b"x"}},
        {"headers": 5},
        {"type": 5},
        {"type": None},
        {"type": b"copied"},
        {"type": "\ud800"},
        {"time_ms": "now"},
        {"time_ms": 1.5},
        {"time_ms": None},
        {"time_ms": -2},
        {"time_ms": YEAR_10_000_MS},
    ],
    ids=repr,
)
async def test_what_no_worker_could_publish_is_refused_at_once(given: Mapping[str, Any]) -> None:
    async with StageTestbed(emitting(**given)) as bed:
        await bed.send("in", b"bad", b"1")
        await bed.send("in", b"good", b"2")
        [letter] = bed.records("copy-dead")
        [copied] = bed.records("out")
    assert (letter.key, copied.key) == (b"bad", b"good")


@pytest.mark.parametrize(
    "given",
    [
        {"headers": iter([("trace", b"x")])},
        {"headers": (("trace", b"x"),)},
        {"type": "gebucht.für.später", "headers": [("trace", b"x")]},
        {"time_ms": 0, "headers": [("trace", b"x")]},
        {"time_ms": YEAR_10_000_MS - 1, "headers": [("trace", b"x")]},
    ],
    ids=["iterator", "tuple", "type", "first time", "last time"],
)
async def test_what_can_be_published_is(given: Mapping[str, Any]) -> None:
    async with StageTestbed(emitting(**given)) as bed:
        await bed.send("in", b"bad", b"1")
        [copied] = bed.records("out")
    assert dict(copied.headers)["trace"] == b"x"


@pytest.mark.parametrize(
    ("now_ms", "written"),
    [(-2, b"1970-01-01T00:00:00.000Z"), (10**17, b"9999-12-31T23:59:59.999Z")],
)
async def test_a_record_whose_own_time_is_in_no_calendar_is_published(
    now_ms: int, written: bytes
) -> None:
    """Clients could write any time before the topic had LogAppendTime."""
    async with StageTestbed(emitting()) as bed:
        bed.now_ms = now_ms
        await bed.send("in", b"good", b"2")
        [copied] = bed.records("out")
    assert dict(copied.headers)["ce_time"] == written
