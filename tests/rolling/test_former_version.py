"""Rolling between two neighbouring versions, in both directions, without the other one's code.

``former.jsonl`` is what workers of the former build wrote to a broker, in the middle of which they
were killed (``record.py`` says how). Restored here: rows, checkpoints without identity and format,
messages without owner, commits that were not published. The other direction: what this build writes
is read by the former one's rules, kept in ``former.py``. Newer formats: ``tests/engine``.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exactstage.engine import Engine
from exactstage.log import Record, TopicPartition
from exactstage.reading import Delivery
from payments.domain.results import Outcome
from payments.stages import accounts_stage, payments_stage
from payments.testing import PaymentsTestbed
from tests.verify.recording import Recording

from . import former
from .record import APP, PARTITIONS, PAYMENTS, make

FIXTURE = Path(__file__).with_name("former.jsonl")
INPUTS = {"payments": ("commands", "inbox"), "accounts": ("transfers",)}
CARRIED_ON = "accounts.commands"
"""An input that the former build does not know: it keeps the position, and reads nothing of it."""
MESSAGES = ("payments.transfers", "payments.inbox")
SENDERS = {f"{stage}/{partition}" for stage in INPUTS for partition in range(PARTITIONS)}
OPENING = 1000
LIMIT_SECONDS = 60.0
NOBODY, NO_EPOCH = 10**9, 0


def data(text: str | None) -> bytes | None:
    """Return the bytes that ``record.py`` has written as text."""
    return None if text is None else text.encode("latin-1")


def lay_down(testbed: PaymentsTestbed, lines: list[dict[str, Any]]) -> None:
    """Put recorded records where they were, offset by offset."""
    ends = {TopicPartition(x["topic"], x["partition"]): x["end"] for x in lines if "end" in x}
    for line in lines:
        if "end" in line:
            continue
        at = TopicPartition(line["topic"], line["partition"])
        partition = testbed.log.partition(at)
        fill(testbed, at, line["offset"])
        headers = [(name, data(value)) for name, value in line["headers"]]
        testbed.clock.now_ms = line["time"]
        partition.store([(data(line["key"]), data(line["value"]), headers)], Record)
    for at, end in ends.items():
        fill(testbed, at, end)


def fill(testbed: PaymentsTestbed, at: TopicPartition, end: int) -> None:
    """Let control records stand for the offsets that have no record."""
    partition = testbed.log.partition(at)
    while partition.end < end:
        partition.mark(NOBODY, NO_EPOCH, commit=False)


@pytest.fixture
def taken_over() -> PaymentsTestbed:
    """Return an application on the topics of the former build, which is not started yet."""
    testbed = PaymentsTestbed(
        app_id=APP,
        topic_prefix=f"{APP}.",
        partitions=PARTITIONS,
        opening_balance=OPENING,
    )
    lay_down(testbed, [json.loads(line) for line in FIXTURE.read_text().splitlines()])
    return testbed


def entries(testbed: PaymentsTestbed, topic: str, partition: int) -> list[former.Entry]:
    """Return the records of one partition."""
    return [
        former.Entry(record.key, record.value, record.headers)
        for record in testbed.log.records(topic)
        if record.partition == partition
    ]


def commands_of(testbed: PaymentsTestbed) -> set[str]:
    """Return the ids of all commands that have one."""
    found = set()
    for record in testbed.log.records(f"{APP}.payments.commands"):
        found.add(json.loads(record.value or b"")["id"])
    return found


def answered(testbed: PaymentsTestbed) -> set[str]:
    """Return the ids of all commands that have a result; of a test bed that is not entered too."""
    results = testbed.log.records(f"{APP}.payments.results")
    return {command for r in results if (command := json.loads(r.value or b"")["command"])}


async def test_this_build_goes_on_from_what_the_former_one_left(
    taken_over: PaymentsTestbed,
) -> None:
    left = [json.loads(r.value or b"") for r in taken_over.log.records(f"{APP}.payments.results")]
    known = {result["payment"]: result for result in left}
    async with taken_over:
        await taken_over.quiet()
        answers = Counter(result.command for result in taken_over.results() if result.command)
        assert answers == Counter(commands_of(taken_over)), "each command has one result"
        assert len(answers) > len(left), "some were in flight, or not yet published"
        for number in range(PAYMENTS):
            payment = known[f"pay-{number}"]
            request = make(number) | {"amount": payment["amount"]}
            again = await taken_over.send(payment["payment"], request)
            assert again.replayed
            assert again.state == payment["state"]
        assert (await taken_over.send("new", make(0))).outcome is not Outcome.REJECTED
        report = Recording.of(taken_over).audit()
    assert report.ok, report.violations


@asynccontextmanager
async def sending_through_the_log(testbed: PaymentsTestbed) -> AsyncIterator[Engine]:
    """Run a worker that hands nothing over in memory, as one of several that share a topic."""
    failures: list[Exception] = []

    async def deliver(delivery: Delivery) -> None:
        await engine.handle(delivery)

    engine = await Engine.open(
        app_id=APP,
        stages=[payments_stage(testbed.settings), accounts_stage(testbed.settings)],
        log=testbed.log,
        deliver=deliver,
        on_failure=failures.append,
        local_delivery=False,
    )
    try:
        inputs = {topic for stage in engine.stages.values() for topic in stage.inputs}
        await engine.rebalance({TopicPartition(t, p) for t in inputs for p in range(PARTITIONS)})
        yield engine
        await engine.drain()
    finally:
        await engine.stop()
    assert not failures


async def test_the_former_build_can_read_what_this_one_writes(taken_over: PaymentsTestbed) -> None:
    """Also that its workers, in one commit with ours, understand each other's messages."""
    recorded = {topic: len(taken_over.log.records(f"{APP}.{topic}")) for topic in MESSAGES}
    async with sending_through_the_log(taken_over):
        for number in range(PAYMENTS):
            value = json.dumps(make(number) | {"id": f"back-{number}"}).encode()
            at = TopicPartition(f"{APP}.payments.commands", number % PARTITIONS)
            taken_over.log.produce(at, b"back-%d" % number, value)
        async with asyncio.timeout(LIMIT_SECONDS):
            while answered(taken_over) != commands_of(taken_over):
                await taken_over.log.grown(0.01)
    ledger = [json.loads(r.value or b"") for r in taken_over.log.records(f"{APP}.accounts.ledger")]
    balances = {entry["account"]: entry["balance"] for entry in ledger}
    for partition in range(PARTITIONS):
        for stage in INPUTS:
            require_restorable(taken_over, stage, partition, balances)
        for topic in ("payments.results", "accounts.ledger"):
            *_, end = entries(taken_over, f"{APP}.{topic}", partition)
            sender, commit, _ = former.visible_position(end)
            assert (sender, commit > 0) == (f"{topic.split('.')[0]}/{partition}", True)
    for topic, count in recorded.items():
        messages = [m for p in range(PARTITIONS) for m in entries(taken_over, f"{APP}.{topic}", p)]
        assert len(messages) > count, "some are new"
        assert {former.source_of(message)[0].sender for message in messages} <= SENDERS


def require_restorable(
    testbed: PaymentsTestbed, stage: str, partition: int, balances: dict[str, int]
) -> None:
    """Check that the former build would find in a journal what it needs, with the right values."""
    rows, checkpoints = former.restore(entries(testbed, f"{APP}-{stage}-changelog", partition))
    last = checkpoints[-1]
    assert last.published <= last.n
    for topic, position in last.inputs.items():
        known = {f"{APP}.payments.{name}" for name in INPUTS[stage]}
        assert topic in known | {f"{APP}.{CARRIED_ON}"}
        assert position <= testbed.log.partition(TopicPartition(topic, partition)).end
    recent = checkpoints[-former.SOURCE_ROTATION_CHECKPOINTS :]
    assert {name for each in recent for name in each.sources} <= SENDERS
    for key, row in rows.items():
        if stage == "payments":
            assert row.keys() >= former.PAYMENT_FIELDS
        elif key.decode() in balances:
            assert row.keys() >= former.ACCOUNT_FIELDS
            assert row["balance"] == balances[key.decode()]
