"""What a takeover makes of a journal and of tails, however the log gives them out."""

from collections.abc import Sequence
from typing import Any

import pytest

from exactstage.checkpoint import Checkpoint, checkpoint_key, encode_checkpoint
from exactstage.errors import PositionLost
from exactstage.limits import RING
from exactstage.log import (
    NO_HEADERS,
    Batch,
    Bounds,
    Channel,
    Header,
    NewRecord,
    Record,
    TopicPartition,
)
from exactstage.memory import MemoryLog, MemoryReader
from exactstage.outputs import Output
from exactstage.tails import read_tails

from .harness import new_log
from .test_takeover import COUNTS, JOURNAL, journalled, output, published, published_as, take_over

LAST = 3 * RING + 5


class OneByOne(MemoryReader):
    """Gives out one record of each partition at a time, as a broker may with large ones."""

    def _take(self) -> dict[TopicPartition, Sequence[Record]]:
        fetched: dict[TopicPartition, Sequence[Record]] = {}
        for at, position in self._positions.items():
            partition = self._log.partition(at)
            records, self._positions[at] = partition.read(position, committed_only=True, limit=1)
            if records:
                fetched[at] = records
        return fetched


@pytest.fixture
def small_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_reader(log: MemoryLog, **_: Any) -> MemoryReader:
        return OneByOne(log, committed_only=True)

    monkeypatch.setattr(MemoryLog, "open_reader", open_reader)


@pytest.mark.usefixtures("small_fetches")
async def test_a_journal_is_read_to_its_fence_in_however_many_fetches() -> None:
    log, _ = new_log()
    await journalled(log, [(1, 0, [output(1)]), (2, 0, [output(2)]), (3, 0, [output(3)])])
    worker = await take_over(log)
    [journal] = worker.engine.owned.journals()
    assert journal.n >= 3
    await worker.stop()
    assert published(log) == [b"1", b"2", b"3"]


async def test_the_last_of_many_checkpoints_is_restored() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(n, n - 1, [output(n)]) for n in range(1, LAST + 1)])
    await published_as(log, writer, b"count/0/%d/0" % (LAST - 1), b"%d" % (LAST - 1))
    worker = await take_over(log)
    [journal] = worker.engine.owned.journals()
    assert journal.n >= LAST
    await worker.stop()
    assert published(log) == [b"%d" % (LAST - 1), b"%d" % LAST]


async def test_a_deleted_row_stays_deleted() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 1, [])])
    for key, row in ((b"gone", b"1"), (b"there", b"2"), (b"gone", None)):
        await log.append([Batch(JOURNAL, writer, [(key, row, NO_HEADERS)])], Channel.JOURNAL)
    worker = await take_over(log)
    [journal] = worker.engine.owned.journals()
    assert journal.rows == {b"there": b"2"}
    await worker.stop()


async def test_a_row_that_is_deleted_behind_a_foreign_record_stays_deleted() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 1, [])])
    await log.append([Batch(JOURNAL, writer, [(b"gone", b"1", NO_HEADERS)])], Channel.JOURNAL)
    log.produce(JOURNAL, b"there", b"of another program")
    for key, row in ((b"gone", None), (b"there", b"2")):  # The second replaces what is foreign.
        await log.append([Batch(JOURNAL, writer, [(key, row, NO_HEADERS)])], Channel.JOURNAL)
    worker = await take_over(log)
    [journal] = worker.engine.owned.journals()
    assert journal.rows == {b"there": b"2"}
    await worker.stop()


@pytest.mark.parametrize(
    "headers",
    [
        [("ce_id", b"count/1/9/9")],
        [("ce_id", b"other/0/9/9")],
        [("ce_id", None)],
        [("other", b"count/0/9/9")],
    ],
)
async def test_what_this_stage_has_not_written_is_no_tail(headers: list[Header]) -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 0, [output(1), output(2)])])
    await published_as(log, writer, b"count/0/1/0", b"1")
    log.produce(COUNTS, b"x", b"noise", headers)
    assert (await read_tails(log, {COUNTS: "count"}))[COUNTS].output_id == (1, 0)


async def test_the_engine_s_own_position_comes_before_one_that_a_record_brought_along() -> None:
    log, _ = new_log()
    log.produce(COUNTS, b"x", b"1", [("ce_id", b"count/0/1/0"), ("ce_id", b"count/0/9/9")])
    assert (await read_tails(log, {COUNTS: "count"}))[COUNTS].output_id == (1, 0)


@pytest.mark.parametrize("held", [Bounds(5, 9), Bounds(0, 2)])
async def test_inputs_that_the_broker_no_longer_has_are_an_error(
    held: Bounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, _ = new_log()
    writer = await log.claim("words-0", [])
    checkpoint = Checkpoint(1, 1, {"words": 3, "inbox": 0}, {}, [])
    value = encode_checkpoint(checkpoint)
    record = (checkpoint_key(1), value, NO_HEADERS)
    await log.append([Batch(JOURNAL, writer, [record])], Channel.JOURNAL)
    bounds = log.bounds

    async def bounds_of(at: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        found = dict(await bounds(at))
        return {tp: held if tp.topic == "words" else found[tp] for tp in at}

    monkeypatch.setattr(log, "bounds", bounds_of)
    with pytest.raises(PositionLost, match=f"has {held.first} to {held.end} there"):
        await take_over(log)


async def test_each_public_topic_goes_on_from_its_own_tail() -> None:
    log, _ = new_log()
    letter = Output("dead-words", 0, b"w", b"letter", "dead-letter", 0)
    writer = await journalled(log, [(1, 0, [output(1), letter, output(2)])])
    at = TopicPartition("dead-words", 0)
    record: NewRecord = (b"w", b"letter", [("ce_id", b"count/0/1/1")])
    await log.append([Batch(at, writer, [record])], Channel.PUBLISH)
    await (await take_over(log)).stop()
    assert published(log) == [b"1", b"2"]
    assert [found.value for found in log.records("dead-words")] == [b"letter"]
