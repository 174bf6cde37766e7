"""Progress: a timer knows up to which time the inputs of its partition are read.

Of the same kind: ``tests/agents/test_holds.py``, where a timer must not overtake a capture.
"""

import asyncio
from collections import deque
from types import SimpleNamespace

import pytest

from exactstage import Context, Record, Stage, TopicPartition
from exactstage.kafka.reader import KafkaReader
from exactstage.kafka.wire import FetchedBytes
from exactstage.local_delivery import LocalQueue, LocalRun
from exactstage.outputs import Source
from exactstage.pipeline import CommitRound
from exactstage.progress import Progress
from exactstage.reading import EndSeen
from exactstage.testing import START_MS, StageTestbed

from .slow_reads import SlowReads
from .test_kafka_errors import AT, NEXT, Brokers

HOUR_MS = 3_600_000


class Ticking:
    """Notes at each tick how far the inputs are read."""

    def __init__(self) -> None:
        self.until_ms: list[int] = []

    def handle(self, record: Record, context: Context) -> None:
        """Do nothing."""

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """Note how far."""
        assert context.read_until_ms <= now_ms
        assert limit > 0
        self.until_ms.append(context.read_until_ms)
        return False


def stage_of(logic: Ticking) -> Stage:
    return Stage(
        "ticking",
        logic,
        changelog="changelog",
        dead_letters="dead",
        public_inputs=("words",),
        internal_inputs=("inbox",),
        forward_to="inbox",
    )


async def until_ms(bed: StageTestbed, logic: Ticking) -> int:
    """Return how far the inputs are read at a tick of now."""
    ticks = len(logic.until_ms)
    async with asyncio.timeout(10):
        while len(logic.until_ms) < ticks + 2:  # One may have begun before.
            await bed.log.grown(0.005)
    return logic.until_ms[-1]


async def test_inputs_without_a_backlog_are_read_up_to_now() -> None:
    logic = Ticking()
    async with StageTestbed(stage_of(logic), partitions=1) as bed:
        assert await until_ms(bed, logic) == START_MS
        await bed.send("words", b"a")
        await bed.advance(3600)
        assert logic.until_ms[-1] == START_MS + HOUR_MS


async def test_nothing_is_known_before_a_backlog_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    logic = Ticking()
    bed = StageTestbed(stage_of(logic), partitions=1)
    reads = SlowReads(bed.log, monkeypatch)
    bed.log.produce(TopicPartition("words", 0), b"a", b"")
    bed.now_ms += HOUR_MS
    async with bed:
        assert await until_ms(bed, logic) == 0
        reads.opened.set()
        await bed.settle()
        assert await until_ms(bed, logic) == START_MS + HOUR_MS


async def test_in_a_backlog_without_an_end_the_last_record_says_how_far_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logic = Ticking()
    bed = StageTestbed(stage_of(logic), partitions=1)
    reads = SlowReads(bed.log, monkeypatch)
    for topic in ("words", "inbox"):  # The inbox has a foreign record: it counts as read too.
        bed.log.produce(TopicPartition(topic, 0), b"a", b"")
        bed.now_ms += 1000
    bed.now_ms += HOUR_MS
    async with bed:
        reads.unread = 1000
        reads.opened.set()
        await bed.settle()
        assert await until_ms(bed, logic) == START_MS


async def test_what_was_appended_since_the_last_question_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logic = Ticking()
    bed = StageTestbed(stage_of(logic), partitions=1)
    reads = SlowReads(bed.log, monkeypatch)
    reads.opened.set()
    reads.late_seconds = 3.0
    async with bed:
        assert START_MS - 3100 < await until_ms(bed, logic) <= START_MS - 3000


async def test_a_timer_does_not_overtake_what_waits_in_memory() -> None:
    logic = Ticking()
    reading = SimpleNamespace(end_seen=lambda _: EndSeen(0, 0.0), position=lambda *_: 0)
    local_delivery = SimpleNamespace(oldest_ms={AT: 7, NEXT: None}.get)
    stages = {"ticking": stage_of(logic)}
    progress = Progress(stages, SimpleNamespace(reading=reading), local_delivery)  # type: ignore[arg-type]
    found = [
        progress.read_until_ms(
            SimpleNamespace(
                stage="ticking", partition=at.partition, inputs={}, reached={"words": 9, "inbox": 9}
            ),  # type: ignore[arg-type]
            9,
        )
        for at in (AT, NEXT)
    ]
    assert found == [7, 9]


async def test_a_message_that_waits_in_memory_is_not_handled_yet() -> None:
    queue = LocalQueue()
    at, other = TopicPartition("inbox", 0), TopicPartition("inbox", 1)
    for number, time_ms in ((0, 7), (1, 9)):
        record = Record(*at, -1, time_ms, b"a", b"", ())
        messages = deque([(record, Source("ticking/0", (1, number)))])
        queue.add(LocalRun(at, CommitRound(()), messages))
    assert (queue.oldest_ms(at), queue.oldest_ms(other)) == (7, None)
    (await queue.first()).messages.popleft()
    assert queue.oldest_ms(at) == 9


async def test_the_end_of_a_partition_is_that_of_its_leaders_last_answer() -> None:
    parts = [FetchedBytes(*AT, 0, [], b"", 9, 9), FetchedBytes(*NEXT, 0, [], b"", 4, 4)]
    reading = KafkaReader(Brokers([(0, parts)]), committed_only=True)  # type: ignore[arg-type]
    positions = {AT: 5, NEXT: 5}
    reading.assign(positions)
    await reading._fetch(1, positions)
    # A leader that ends before the position is a new one, which does not show all that it has.
    assert reading.end_asked(AT) is not None
    assert reading.end_asked(NEXT) is None
    assert reading.seen_ends() == {AT: 9, NEXT: 4}
    reading.assign(positions)
    assert reading.seen_ends() == {}
    assert reading.end_asked(AT) is None
    await reading.close()
