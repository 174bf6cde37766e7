"""What a takeover publishes again, and what it refuses to go on from."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from exactstage.checkpoint import Checkpoint, checkpoint_key, encode_checkpoint
from exactstage.errors import FailStop, Fenced, JournalBroken, PositionLost
from exactstage.limits import MAX_COMMITS_AHEAD, RING, Limits
from exactstage.log import NO_HEADERS, Batch, Bounds, Channel, Header, TopicPartition, Writer
from exactstage.memory import MemoryLog
from exactstage.outputs import Output
from exactstage.stage import topics_of
from exactstage.tails import NOTHING, Tail, read_tails

from .harness import LIMIT_SECONDS, Worker, new_log
from .wordcount import word_count

JOURNAL = TopicPartition("words-count-changelog", 0)
COUNTS = TopicPartition("counts", 0)


def output(number: int) -> Output:
    return Output("counts", 0, b"w", b"%d" % number, "count", 0)


async def journalled(log: MemoryLog, commits: list[tuple[int, int, list[Output]]]) -> Writer:
    """Write checkpoints (n, published, outputs) as an earlier owner of partition 0."""
    writer = await log.claim("words-0", [COUNTS, TopicPartition("dead-words", 0)])
    for n, published, outputs in commits:
        checkpoint = Checkpoint(n, published, {"words": 0, "inbox": 0}, {}, outputs)
        record = (checkpoint_key(n), encode_checkpoint(checkpoint), NO_HEADERS)
        await log.append([Batch(JOURNAL, writer, [record])], Channel.JOURNAL)
    return writer


def published(log: MemoryLog) -> list[bytes | None]:
    return [record.value for record in log.records("counts")]


async def published_as(log: MemoryLog, writer: Writer, position: bytes, value: bytes) -> None:
    headers: list[Header] = [("ce_id", position)]
    record = (b"w", value, headers)
    await log.append([Batch(COUNTS, writer, [record])], Channel.PUBLISH)


async def take_over(log: MemoryLog) -> Worker:
    worker = Worker(log, word_count())
    await worker.open()
    await worker.assign(range(1))
    return worker


async def test_outputs_that_were_journalled_but_not_published_are_published_in_order() -> None:
    log, _ = new_log()
    await journalled(log, [(1, 0, [output(1)]), (2, 0, [output(2), output(3)]), (3, 0, [])])
    await (await take_over(log)).stop()
    assert published(log) == [b"1", b"2", b"3"]


async def test_public_outputs_are_published_only_past_the_tail() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 0, [output(1)]), (2, 0, [output(2), output(3)])])
    await published_as(log, writer, b"count/0/1/0", b"1")
    await published_as(log, writer, b"count/0/2/0", b"2")
    await (await take_over(log)).stop()
    assert published(log) == [b"1", b"2", b"3"]


async def test_what_the_journal_says_is_published_is_not_published_again() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 0, [output(1)]), (2, 1, [output(2)])])
    await published_as(log, writer, b"count/0/1/0", b"1")
    await (await take_over(log)).stop()
    assert published(log) == [b"1", b"2"]


async def test_the_tail_is_found_behind_records_and_control_records_of_others() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 0, [output(1), output(2)])])
    await published_as(log, writer, b"count/0/1/0", b"1")
    for index in range(40):
        log.produce(COUNTS, b"x", b"noise", [("ce_id", b"noise/%d" % index)])
        log.produce(COUNTS, b"x", b"noise")
    for _ in range(20):
        await log.claim("somebody-else", [COUNTS])
    assert (await read_tails(log, {COUNTS: "count"}))[COUNTS].output_id == (1, 0)
    await (await take_over(log)).stop()
    assert [value for value in published(log) if value != b"noise"] == [b"1", b"2"]


async def test_an_empty_partition_has_no_tail() -> None:
    log, _ = new_log()
    tails = await read_tails(log, {COUNTS: "count"})
    assert tails == {COUNTS: Tail(Bounds(0, 0), NOTHING)}


async def test_commits_ahead_fit_into_the_ring() -> None:
    assert MAX_COMMITS_AHEAD < RING - 1
    log, _ = new_log()
    commits = [(n, 0, [output(n)]) for n in range(1, MAX_COMMITS_AHEAD + 1)]
    await journalled(log, commits)
    await (await take_over(log)).stop()
    assert published(log) == [b"%d" % n for n in range(1, MAX_COMMITS_AHEAD + 1)]


async def test_a_missing_checkpoint_is_an_error_that_names_it() -> None:
    log, _ = new_log()
    await journalled(log, [(1, 0, [output(1)]), (3, 0, [output(3)])])
    with pytest.raises(JournalBroken, match=r"lacks the checkpoints \[2\] before 3"):
        await take_over(log)


@pytest.mark.parametrize(("missing", "is_needed"), [(38, False), (39, True), (99, True)])
async def test_the_checkpoints_that_have_all_sources_have_to_be_there(
    missing: int, is_needed: bool
) -> None:
    log, _ = new_log()
    commits = [(n, 100, list[Output]()) for n in range(101 - RING, 101) if n != missing]
    await journalled(log, commits)
    if is_needed:
        with pytest.raises(JournalBroken, match=rf"lacks the checkpoints \[{missing}\] before 100"):
            await take_over(log)
    else:
        await (await take_over(log)).stop()


async def test_rows_without_a_checkpoint_are_an_error() -> None:
    log, _ = new_log()
    log.produce(JOURNAL, b"w", b"1")
    with pytest.raises(JournalBroken, match="has rows but no checkpoint"):
        await take_over(log)


async def test_a_journal_record_without_a_key_is_an_error() -> None:
    log, _ = new_log()
    log.produce(JOURNAL, None, b"1")
    with pytest.raises(
        JournalBroken, match="words-count-changelog/0/0 with the key None was written by no"
    ):
        await take_over(log)


async def test_a_position_that_the_log_does_not_have_is_an_error() -> None:
    log, _ = new_log()
    writer = await log.claim("words-0", [])
    checkpoint = Checkpoint(1, 1, {"words": 7, "inbox": 0}, {}, [])
    record = (checkpoint_key(1), encode_checkpoint(checkpoint), NO_HEADERS)
    await log.append([Batch(JOURNAL, writer, [record])], Channel.JOURNAL)
    with pytest.raises(PositionLost, match="continues at words/0/7, but the broker has 0 to 0"):
        await take_over(log)


async def test_a_claim_that_is_lost_during_the_takeover_is_a_fence() -> None:
    log, stage = new_log()
    slow, fast = Worker(log, stage), Worker(log, stage)
    await slow.open()
    claims: list[str] = []
    claim = log.claim

    async def claim_and_lose(name: str, fenced: list[TopicPartition]) -> Writer:
        writer = await claim(name, fenced)
        if not claims:
            claims.append(name)
            await fast.start(range(1))
        return writer

    log.claim = claim_and_lose  # type: ignore[method-assign, assignment]
    with pytest.raises(Fenced):
        await slow.assign(range(1))
    assert fast.failure is None
    await fast.stop()


async def test_partitions_that_are_not_assigned_together_are_an_error() -> None:
    log, stage = new_log()
    worker = Worker(log, stage)
    await worker.open()
    with pytest.raises(
        FailStop, match="partition 1 of words was assigned to this worker, that of inbox was not"
    ):
        await worker.engine._rebalancing.assign({TopicPartition("words", 1)})


async def test_an_input_that_a_version_has_added_goes_with_its_partition() -> None:
    """A group with workers of the version before assigns it to anyone, or to none."""
    stage = replace(word_count(), public_inputs=("words", "more"), added_inputs=("more",))
    worker = Worker(MemoryLog(topics_of([stage]), 2), stage)
    await worker.open()
    assigned = {TopicPartition(topic, 1) for topic in stage.assigned_inputs}
    await worker.engine._rebalancing.assign({*assigned, TopicPartition("more", 0)})
    [journal] = worker.engine.owned.journals()
    assert journal.partition == 1
    assert journal.inputs == {"words": 0, "more": 0, "inbox": 0}


@pytest.mark.parametrize("added", [("inbox",), ("elsewhere",)])
def test_only_a_public_input_can_have_been_added(added: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="added inputs are some of its public ones"):
        replace(word_count(), added_inputs=added)


async def test_partitions_that_were_added_to_one_of_several_topics_are_named() -> None:
    log, stage = new_log()
    worker = Worker(log, stage)
    await worker.open()
    failure = worker.engine._rebalancing._not_together(9, ["commands"], ["inbox", "transfers"])
    assert "commands has more than " in str(failure)
    assert "inbox, transfers have not: " in str(failure)


async def test_topics_with_different_partition_counts_are_an_error() -> None:
    stage = word_count()
    log = MemoryLog(topics_of([stage]), 2)
    log._counts["words"] = 3
    with pytest.raises(FailStop, match=r"words has 3, the other 4 have 2; .* payments repartition"):
        await Worker(log, stage).open()


async def test_a_missing_topic_is_an_error() -> None:
    with pytest.raises(FailStop, match="there is no topic"):
        await Worker(MemoryLog([], 1), word_count()).open()


async def test_control_records_at_the_end_of_an_input_are_skipped_when_idle() -> None:
    log, _ = new_log()
    words = TopicPartition("words", 0)
    worker = await take_over(log)
    for _ in range(3):
        await log.claim("a-transactional-producer", [words])
    [journal] = worker.engine.owned.journals()
    async with asyncio.timeout(LIMIT_SECONDS):
        while journal.inputs["words"] < log.end(words) or not journal.published_on_record:
            await log.grown(0.01)
    assert journal.inputs["words"] == log.end(words) == 3
    await worker.stop()


async def test_a_takeover_that_a_newer_assignment_overtakes_claims_nothing_more() -> None:
    log, stage = new_log()
    worker = Worker(log, stage)
    await worker.open()
    claimed: list[str] = []
    claim = log.claim

    async def claim_and_be_revoked(name: str, fenced: list[TopicPartition]) -> Writer:
        claimed.append(name)
        await worker.engine.drain()
        return await claim(name, fenced)

    log.claim = claim_and_be_revoked  # type: ignore[method-assign, assignment]
    everything = {TopicPartition(topic, p) for topic in stage.inputs for p in range(3)}
    worker.engine._rebalancing._takeover._limits = Limits(concurrent_claims=1)
    assert await worker.engine._rebalancing.assign(everything) is None
    assert claimed == ["words-0"]
    assert not worker.engine.owned.partitions
    marks = [(record.offset, record.value) for record in log.records("words-count-changelog")]
    assert marks == [(0, None)] * 3, "marks of before the claims, and no fence"
    await worker.kill()


async def test_a_claim_that_has_moved_is_not_renewed() -> None:
    log, _ = new_log()
    worker = await take_over(log)
    [writer] = worker.engine.owned.writers().values()
    await log.claim("words-0", [])
    with pytest.raises(Fenced):
        await worker.engine.timers._renew(0, writer)
    worker.engine._rebalancing._release(0)
    await worker.engine.timers._renew(0, writer)
    assert worker.failure is None
    await worker.kill()


async def test_timers_stand_still_between_assignments_and_wait_for_no_released_journal() -> None:
    log, stage = new_log()
    worker = await take_over(log)
    [journal] = worker.engine.owned.journals()
    ticks: list[int] = []

    def tick(*_: object) -> bool:
        ticks.append(1)
        journal.is_full = True
        journal._may_grow.clear()
        return True

    await worker.engine.drain()  # Until then its own timers may tick.
    stage = worker.engine.stages["count"]
    stage.callbacks.tick = tick  # type: ignore[method-assign, assignment]
    await worker.engine.timers.tick_all()
    assert not ticks
    await worker.assign(range(1))
    waiting = asyncio.create_task(worker.engine.timers.tick(journal))
    async with asyncio.timeout(LIMIT_SECONDS):
        while not ticks:
            await log.grown(0.01)
        worker.engine._rebalancing._release(0)
        await waiting
    await worker.kill()


async def test_a_worker_that_is_asked_to_end_while_it_starts_closes_its_connections() -> None:
    class Silent(MemoryLog):
        """A broker that does not answer."""

        is_closed = False

        async def start(self, _: Sequence[str]) -> None:
            """Wait for ever."""
            await asyncio.Event().wait()

        async def close(self) -> None:
            """Note it."""
            self.is_closed = True

    stage = word_count()
    log = Silent(topics_of([stage]), 1)
    opening = asyncio.create_task(Worker(log, stage).open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert log.is_closed
    assert not log.records(stage.changelog)


async def test_a_restore_that_took_longer_than_tombstones_surely_stay_is_refused() -> None:
    """A row could have been read whose tombstone was compacted away before it was read."""

    class Forgetful(MemoryLog):
        async def require_configs(self, **_: object) -> float:
            """Keep no tombstone for any time."""
            return 0.0

    log = Forgetful(topics_of([word_count()]), 1)
    worker = Worker(log, word_count())
    await worker.open()
    with pytest.raises(FailStop, match=r"raise delete\.retention\.ms"):
        await worker.assign(range(1))
    await worker.kill()
