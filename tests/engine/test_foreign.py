"""Records that another program wrote to a journal: named with their place and the way out (K5).

On a broker, from kcat and from an idempotent producer: ``tests/broker/test_identity.py``.
"""

import pytest

from exactstage.errors import JournalBroken
from exactstage.log import Batch, Channel, TopicPartition
from exactstage.memory import MemoryLog
from payments.app import create_app
from payments.testing import PaymentsTestbed

from .harness import PARTITIONS, Worker, new_log
from .test_consistency import use
from .test_takeover import JOURNAL
from .wordcount import word_count

OFFSET = 3


async def refused(log: MemoryLog) -> str:
    worker = Worker(log, word_count())
    await worker.open()
    with pytest.raises(JournalBroken) as refusal:
        await worker.assign(range(PARTITIONS))
    await worker.kill()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("is_idempotent", [False, True])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"bar"),
        (b"", b"bar"),
        (b"\0foo", b"bar"),
        (b"\0", b"bar"),
        (b"\x0064", b"bar"),
        (b"\x001", None),
        (b"\x001", b"bar"),
    ],
)
async def test_a_record_that_no_worker_can_have_written_is_named(
    key: bytes | None, value: bytes | None, is_idempotent: bool
) -> None:
    log, _ = new_log()
    await use(log)
    offset = log.end(JOURNAL)
    if is_idempotent:
        batch = Batch(JOURNAL, await log.new_writer(), [(key, value, [])])
        await log.append([batch], Channel.JOURNAL)
    else:
        log.produce(JOURNAL, key, value)
    message = await refused(log)
    assert message.startswith(f"{JOURNAL}/{offset} with the key {key!r} was written by no worker")
    assert message.endswith("payments journal repair")


@pytest.mark.parametrize("value", [b"bar", None])
async def test_a_row_of_a_producer_without_an_identity_is_named(value: bytes | None) -> None:
    log, _ = new_log()
    await use(log)
    offset = log.produce(JOURNAL, b"foo", value)
    message = await refused(log)
    assert message.startswith(f"{JOURNAL}/{offset} with the key b'foo' was written by no worker")
    assert "its producer is not idempotent" in message


@pytest.mark.parametrize("stage", ["payments", "accounts"])
async def test_a_row_that_the_stage_can_not_read_is_named(stage: str) -> None:
    """Of an idempotent producer, as Java's are by default: only the stage can tell."""
    async with PaymentsTestbed(opening_balance=1000) as testbed:
        await testbed.quiet()
    log, at = testbed.log, TopicPartition(f"payments-{stage}-changelog", 2)
    offset = log.end(at)
    batch = Batch(at, await log.new_writer(), [(b"foo", b"bar", [])])
    await log.append([batch], Channel.JOURNAL)
    next_owner = create_app(testbed.settings, log=log)
    line = rf"{at}/{offset} with the key b'foo' is a row that the stage {stage} can't read \("
    with pytest.raises(JournalBroken, match=line):
        async with next_owner.test_context():
            pass
