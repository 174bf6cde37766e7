"""Reading: what is taken but not handled, and what becomes of it."""

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import pytest

from exactstage.errors import FailStop, UnreadableBatch
from exactstage.guarded_tasks import GuardedTasks
from exactstage.intake import Intake
from exactstage.limits import Limits
from exactstage.log import NO_ENDS, Record, TopicPartition
from exactstage.partitioner import partition_of
from exactstage.processing import Run
from exactstage.reading import Delivery, Reading
from exactstage.troubles import Trouble

from .harness import LIMIT_SECONDS, PARTITIONS, Worker, counted, new_log, until_counted
from .test_journal import new_journal

WORDS, NOISE = TopicPartition("words", 0), TopicPartition("noise", 0)
STAGE_OF = {"words": "count", "noise": "other"}


class Endless:
    """A reader that has one more record of each partition at every fetch."""

    def __init__(self) -> None:
        self._positions: dict[TopicPartition, int] = {}

    def claimants(self) -> Mapping[TopicPartition, AbstractSet[int]]:
        """Return nothing: there are no control records."""
        return {}

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return nothing: no leader is ever another one."""
        return {}

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        epochs: Mapping[TopicPartition, int] | None = None,
        *,
        ends: Mapping[TopicPartition, int] = NO_ENDS,
    ) -> None:
        """Begin there."""
        self._positions = dict(positions)

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return one record of each."""
        await asyncio.sleep(0)
        found = {at: [Record(*at, n, 0, b"k", b"v", ())] for at, n in self._positions.items()}
        self._positions = {at: n + 1 for at, n in self._positions.items()}
        return found

    def skip(self, batch: UnreadableBatch) -> None:
        """Nothing is unreadable."""

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: what is in memory answers at once."""
        return ()

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offsets."""
        return self._positions

    def seen_ends(self) -> Mapping[TopicPartition, int]:
        """Return nothing: there is no end."""
        return {}

    def end_asked(self, at: TopicPartition) -> float | None:
        """Return nothing: nobody has asked."""

    async def close(self) -> None:
        """Nothing to close."""


async def reading(at: list[TopicPartition]) -> tuple[Reading, list[Delivery]]:
    """Read until nothing more is delivered; return what was."""
    delivered: list[Delivery] = []

    async def deliver(delivery: Delivery) -> None:
        delivered.append(delivery)

    reader = Endless()
    reader.assign(dict.fromkeys(at, 7), {})
    made = Reading(reader, STAGE_OF, deliver, Limits(deliveries=2))
    task = asyncio.create_task(made.run())
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return made, delivered


@pytest.mark.parametrize("at", [[WORDS], [NOISE, WORDS]])
async def test_a_stage_that_handles_nothing_is_given_two_deliveries(
    at: list[TopicPartition],
) -> None:
    _, delivered = await reading(at)
    assert [d.stage for d in delivered].count("count") == 2


async def test_a_position_counts_as_handled_when_all_deliveries_of_the_stage_are() -> None:
    made, delivered = await reading([WORDS])
    assert made.handled() == {}
    while delivered:
        with delivered.pop().being_handled() as is_wanted:
            assert is_wanted
        assert made.handled() == {}, "one that waits for its turn is left"
    made.done("count")
    assert made.handled() == {WORDS: 10}


async def test_a_delivery_of_a_former_assignment_is_left_alone() -> None:
    made, delivered = await reading([WORDS])
    made.stopped = True
    with delivered.pop().being_handled() as is_wanted:
        assert not is_wanted
    async with asyncio.timeout(LIMIT_SECONDS):
        await made.handling_ended()


async def test_a_stop_waits_for_every_delivery_that_is_being_handled() -> None:
    made, delivered = await reading([WORDS])
    with delivered[0].being_handled():
        with delivered[1].being_handled():
            waiting = asyncio.create_task(made.handling_ended())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_a_delivery_whose_handling_fails_keeps_its_slot() -> None:
    made, delivered = await reading([WORDS])
    with pytest.raises(RuntimeError, match="can't"), delivered.pop().being_handled():
        raise RuntimeError("can't")
    with delivered.pop().being_handled():
        made.done("count")  # The one that waited for its turn.
    assert made.handled() == {}
    async with asyncio.timeout(LIMIT_SECONDS):
        await made.handling_ended()


async def test_what_begins_to_read_never_shows_positions_of_the_former_assignment() -> None:
    """A journal would take records for handled that were read then, and left."""
    reader = Endless()
    reader.assign({WORDS: 7, NOISE: 9})
    _, stage = new_log()

    async def leave(delivery: Delivery) -> None:
        del delivery

    tasks = GuardedTasks(lambda failure: pytest.fail(str(failure)))
    intake = Intake(reader=reader, stages=[stage], deliver=leave, limits=Limits(), tasks=tasks)
    journal = new_journal()
    journal.inputs = {"words": 3}
    intake.start([journal])
    assert intake.reading is not None
    assert intake.reading.handled() == {WORDS: 3}
    await intake.stop()
    intake.start([])
    assert intake.reading.handled() == {}
    await intake.stop()


async def test_a_record_that_is_delivered_again_is_not_handled_again() -> None:
    log, stage = new_log()
    worker = await Worker(log, stage).start()
    at = TopicPartition("words", partition_of(b"w0", PARTITIONS))
    for _ in range(3):
        log.produce(at, b"w0", b"x")
    await until_counted(log, 3, worker)
    handle = worker.engine._processing["count"].handle
    assert await handle([Run(at, log.records("words"))]) == 0
    log.produce(at, b"w0", b"x")
    await handle([Run(at, log.records("words")[1:])])
    await until_counted(log, 4, worker)
    await worker.stop()
    assert counted(log) == {b"w0": [1, 2, 3, 4]}


async def test_a_delivery_that_can_not_be_handled_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise FailStop("the log is gone")

    log, stage = new_log()
    monkeypatch.setattr(stage.callbacks, "handle", refuse)
    worker = await Worker(log, stage).start()
    log.produce(TopicPartition("words", partition_of(b"w0", PARTITIONS)), b"w0", b"x")
    async with asyncio.timeout(LIMIT_SECONDS):
        await worker.ended.wait()
    assert "the log is gone" in str(worker.failure)
    await worker.kill()
