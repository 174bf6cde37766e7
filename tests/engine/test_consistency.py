"""What a takeover refuses to go on from because it does not fit together (O1, O2, O4, O6).

The same on a broker, with topics deleted, emptied and made anew: ``tests/broker/test_identity.py``.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from random import Random

import msgspec
import pytest

from exactstage.checkpoint import Checkpoint, checkpoint_key, decode_checkpoint
from exactstage.consistency import Evidence, missing_messages, require_all_there
from exactstage.errors import FailStop, Fenced, JournalBroken, NotOurs, RecordsLost
from exactstage.identity import IDENTITY_EVERY, Identity
from exactstage.journal import Journal
from exactstage.limits import RING, Limits
from exactstage.log import NO_HEADERS, Batch, Bounds, Channel, Header, TopicPartition, Writer
from exactstage.memory import MemoryLog
from exactstage.memory.partition import MemoryPartition
from exactstage.outputs import INSTALLATION, Output
from exactstage.stage import topics_of

from .harness import (
    PARTITIONS,
    Killed,
    Worker,
    new_log,
    produce,
    until_counted,
)
from .test_takeover import COUNTS, JOURNAL, journalled, output, published_as, take_over
from .wordcount import word_count

INSTALLED = "words/id-of-words-count-changelog"


async def use(log: MemoryLog, count: int = 30) -> None:
    """Let a worker count some words, and end in order."""
    worker = await Worker(log, word_count()).start()
    seen = len(log.records("counts"))
    produce(log, count)
    await until_counted(log, seen + count, worker)
    await worker.stop()
    assert worker.failure is None


async def refused(log: MemoryLog, error: type[FailStop], *, app_id: str = "words") -> str:
    """Return the line with which a worker refuses to take over."""
    worker = Worker(log, word_count(app_id), app_id=app_id)
    with pytest.raises(error) as refusal:
        await worker.start()
    await worker.kill()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def checkpoints(log: MemoryLog, at: TopicPartition = JOURNAL) -> list[Checkpoint]:
    return [
        decode_checkpoint(record.value)
        for record in log.partition(at).records
        if record.value is not None and record.key is not None and record.key[:1] == b"\0"
    ]


async def retold(log: MemoryLog, changed: Mapping[str, object]) -> None:
    """Append a copy of the last checkpoint whose identity differs."""
    last = [r for r in log.partition(JOURNAL).records if r.value and b'"identity"' in r.value][-1]
    assert last.value is not None
    fields = msgspec.json.decode(last.value.partition(b"\n")[0])
    fields["n"] = max(c.n for c in checkpoints(log)) + 1
    fields["identity"] |= changed
    value = msgspec.json.encode(fields) + b"\n"
    writer = await log.claim("words-0", [])
    record = (checkpoint_key(fields["n"]), value, NO_HEADERS)
    await log.append([Batch(JOURNAL, writer, [record])], Channel.JOURNAL)


def forget(log: MemoryLog, at: TopicPartition, count: int) -> None:
    """Lose the last records of a partition, acknowledged or not."""
    kept = log.partition(at)
    del kept.records[-count:]
    del kept._offsets[-count:]
    kept.end = kept.records[-1].offset + 1 if kept.records else 0


async def test_the_ring_always_has_the_identity() -> None:
    log, _ = new_log()
    await use(log)
    worker = await take_over(log)
    [journal] = worker.engine.owned.journals()
    for _ in range(2 * RING):
        journal.published = journal.n
        commit = journal.seal()
        await log.append([commit.batch], Channel.JOURNAL)
    told = [c.n for c in checkpoints(log) if c.identity is not None]
    assert max(b - a for a, b in itertools.pairwise(told)) <= IDENTITY_EVERY
    assert checkpoints(log)[0].identity is not None
    await worker.kill()


async def test_an_empty_journal_says_at_once_what_it_is_written_for() -> None:
    log, _ = new_log()
    worker = Worker(log, word_count())
    await worker.open()
    await worker.engine._rebalancing.assign(
        {TopicPartition(topic, 0) for topic in worker.stage.inputs}
    )
    await worker.kill()
    identity = checkpoints(log)[0].identity
    assert identity is not None
    assert identity.installation == INSTALLED
    assert identity.topics["words"] == "id-of-words"


async def test_public_records_name_the_installation_behind_their_output_id() -> None:
    log, _ = new_log()
    await use(log)
    headers = [record.headers for record in log.records("counts")]
    assert {each[2] for each in headers} == {(INSTALLATION, INSTALLED.encode())}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"app": "others", "installation": "others/x"}, "of PAYMENTS_APP_ID others, but this"),
        ({"cluster": "elsewhere"}, "on cluster elsewhere, but this is cluster memory"),
        ({"partitions": 8}, "for 8 partitions of each topic, but there are 3"),
        ({"partition": 2}, "was written as count/2, not as count/0"),
        ({"stage": "others"}, "was written as others/0, not as count/0"),
        ({"rows": 2}, "has rows of format 2, this worker reads up to 1"),
        ({"topics": {"words": "another-id"}}, "words with the topic id another-id"),
        ({"topics": {"st.words": "an-id"}}, "with the topics st.words, but this worker has"),
    ],
)
async def test_a_journal_that_was_written_for_something_else_is_refused(
    changed: Mapping[str, object], line: str
) -> None:
    log, _ = new_log()
    await use(log)
    await retold(log, changed)
    message = await refused(log, NotOurs)
    assert line in message
    assert str(JOURNAL) in message


async def test_a_checkpoint_of_a_newer_format_is_refused_with_both_versions() -> None:
    log, _ = new_log()
    await use(log)
    value = msgspec.json.encode({"n": 1000, "published": 0, "format": 9}) + b"\n"
    log.produce(JOURNAL, checkpoint_key(1000), value)
    message = await refused(log, JournalBroken)
    assert "a checkpoint has format 9, this version reads up to 1" in message


async def test_a_topic_that_another_version_has_added_or_left_out_is_no_other_topic() -> None:
    log, _ = new_log()
    await use(log)
    await retold(log, {"topics": {topic: f"id-of-{topic}" for topic in ("words", "counts")}})
    await use(log)


async def test_topics_with_the_records_of_another_installation_are_refused() -> None:
    log, _ = new_log()
    await use(log)
    others = MemoryLog(["others-count-changelog"], PARTITIONS)
    log._partitions |= others._partitions
    log._counts |= others._counts
    log.topic_ids |= others.topic_ids
    message = await refused(log, NotOurs, app_id="others")
    assert f"was written by installation {INSTALLED}, but this worker belongs to that" in message
    assert "set PAYMENTS_APP_ID to words, or" in message
    assert not [r for at, p in log._partitions.items() for r in p.records if "others" in at.topic]
    await use(log)


async def test_a_journal_behind_its_public_topic_is_refused() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(n, n - 1, []) for n in range(1, 8)])
    await published_as(log, writer, b"count/0/9/0", b"9")
    assert "counts/0 is at commit 9 (offset " in (message := await refused(log, RecordsLost))
    assert "the journal words-count-changelog/0 ends at 7: acknowledged records" in message


async def test_a_journal_that_lost_its_last_batches_is_refused() -> None:
    log, _ = new_log()
    await use(log)
    words = {record.partition for record in log.records("counts")}
    at = TopicPartition(JOURNAL.topic, min(words))
    while log.partition(at).records[-1].key != checkpoint_key(1):
        forget(log, at, 1)
    assert "acknowledged records" in await refused(log, RecordsLost)


@pytest.mark.parametrize("left", [0, 1])
async def test_a_journal_that_lost_everything_is_refused(left: int) -> None:
    """Whether it begins at offset 0 again, or where its deleted records ended."""
    log, _ = new_log()
    await use(log)
    for partition in range(PARTITIONS):
        at = TopicPartition(JOURNAL.topic, partition)
        if left:
            log.partition(at).delete_before(log.end(at))
        else:
            log._partitions[at] = MemoryPartition(at, lambda: 0)
    assert "were lost" in await refused(log, RecordsLost)


async def test_an_emptied_journal_whose_public_topics_are_empty_is_refused() -> None:
    log, _ = new_log()
    await use(log, 3)
    for topic in (JOURNAL.topic, "counts"):
        for partition in range(PARTITIONS):
            at = TopicPartition(topic, partition)
            log.partition(at).delete_before(log.end(at))
    assert "begins at offset" in await refused(log, RecordsLost)


async def test_a_public_topic_that_lost_published_records_is_refused() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 0, [output(1)]), (2, 1, [output(2)]), (3, 2, [])])
    await published_as(log, writer, b"count/0/1/0", b"1")
    message = await refused(log, RecordsLost)
    assert "counts/0 ends with output 1/0 of count/0" in message
    assert "says that 2/0 was published" in message


async def test_published_records_that_retention_took_are_no_loss() -> None:
    log, _ = new_log()
    writer = await journalled(log, [(1, 0, [output(1)]), (2, 1, []), (3, 2, [])])
    await published_as(log, writer, b"count/0/1/0", b"1")
    log.partition(COUNTS).delete_before(log.end(COUNTS))
    await use(log)


async def test_a_sender_that_a_receiver_is_ahead_of_is_refused() -> None:
    log, _ = new_log()
    writer = await log.claim("words-0", [])
    value = msgspec.json.encode(
        {"n": 1, "published": 1, "inputs": {}, "sources": {"count/1": [9, 0]}, "outputs": []}
    )
    record = (checkpoint_key(1), value + b"\n", NO_HEADERS)
    await log.append([Batch(JOURNAL, writer, [record])], Channel.JOURNAL)
    message = await refused(log, RecordsLost)
    assert "has taken a message of commit 9 of count/1" in message
    assert "the journal words-count-changelog/1 ends at 0" in message


async def test_a_first_start_that_was_interrupted_anywhere_is_continued() -> None:
    for crash_at in range(1, 8):
        log, stage = new_log()
        log.crash_at, log.crash_mode = crash_at, "half"
        worker = Worker(log, stage)
        try:
            await worker.start()
        except Exception:  # noqa: BLE001 - it is gone, whatever it said
            await worker.kill()
        else:
            await worker.kill()
        log.crash_at = None
        await use(log)


async def test_journals_and_records_of_the_version_before_are_accepted() -> None:
    """As that version wrote them: no format, no identity, no ``ce_installation``."""
    log, _ = new_log()
    writer = await log.claim("words-0", [COUNTS])
    value = (
        b'{"n":1,"published":0,"inputs":{"words":0,"inbox":0},"sources":{"count/1":[1,0]},'
        b'"outputs":[["counts",0,2,1,"count",0]]}\nw01'
    )
    row = (b"w0", b"1", NO_HEADERS)
    other: Writer = await log.claim("words-1", [])
    first = b'{"n":1,"published":1,"inputs":{"words":0,"inbox":0},"sources":{},"outputs":[]}\n'
    at = TopicPartition(JOURNAL.topic, 1)
    await log.append([Batch(at, other, [(checkpoint_key(1), first, NO_HEADERS)])], Channel.JOURNAL)
    record = (checkpoint_key(1), value, NO_HEADERS)
    await log.append([Batch(JOURNAL, writer, [row, record])], Channel.JOURNAL)
    headers: list[Header] = [("ce_specversion", b"1.0"), ("ce_id", b"count/0/1/0")]
    headers += [("ce_source", b"/count/0"), ("ce_type", b"count")]
    await log.append([Batch(COUNTS, writer, [(b"w0", b"1", headers)])], Channel.PUBLISH)
    await use(log)
    assert checkpoints(log)[1].identity is not None


def two_stages(told: bool) -> list[Evidence]:
    """Return a journal that is at commit 50, and an empty one of another stage beside it."""
    found = []
    for stage, last in (("full", 50), ("empty", 0)):
        journal = Journal(
            stage=stage,
            partition=0,
            changelog=f"{stage}-changelog",
            public=frozenset(),
            emits=frozenset(),
            writer=Writer(1, 0),
            limits=Limits(),
        )
        topics = {"full-changelog": "a", "empty-changelog": "b"}
        identity = Identity("two/a", "two", "memory", stage, 0, 1, topics)
        journal.identify(identity)
        written = [Checkpoint(last, last, {}, {}, [], identity if told else None)] if last else []
        if written:
            journal.restore(written)
        found.append(Evidence(journal, written, Bounds(0, 1)))
    return found


def test_a_journal_beside_one_in_use_can_not_be_empty() -> None:
    with pytest.raises(RecordsLost, match="empty-changelog/0 holds no checkpoint, but full-change"):
        require_all_there(two_stages(told=True), [])


def test_the_version_before_left_a_journal_empty_that_had_nothing_to_store() -> None:
    evidence = two_stages(told=False)
    require_all_there(evidence, [])
    assert evidence[1].journal.n == 0, "and it is gone on from"


async def test_a_newer_owner_is_not_taken_for_a_loss() -> None:
    log, stage = new_log()
    await use(log)
    slow, fast = Worker(log, stage), Worker(log, stage)
    await slow.open()
    claim = log.claim

    async def claim_and_be_overtaken(name: str, fenced: list[TopicPartition]) -> Writer:
        writer = await claim(name, fenced)
        if name == "words-2" and not fast.is_open:
            log.claim = claim  # type: ignore[method-assign]
            seen = len(log.records("counts"))
            await fast.start()
            produce(log, 20)
            await until_counted(log, seen + 20, fast)
        return writer

    log.claim = claim_and_be_overtaken  # type: ignore[method-assign, assignment]
    with pytest.raises(Fenced):
        await slow.assign(range(PARTITIONS))
    assert fast.failure is None
    await fast.stop()
    await slow.kill()


async def test_a_partition_that_another_worker_had_meanwhile_is_fenced_and_no_loss() -> None:
    """Partitions that are kept over a rebalance keep their memory, which may be out of date."""
    log, stage = new_log()
    await use(log)
    slow, fast = Worker(log, stage), Worker(log, stage)
    await slow.open()
    await slow.assign(range(1))
    seen = len(log.records("counts"))
    await fast.start()
    produce(log, 60)
    await until_counted(log, seen + 60, fast)
    await fast.stop()
    with pytest.raises(Fenced):
        await slow.assign(range(PARTITIONS))
    await slow.kill()


def with_settings(log: MemoryLog, **settings: str) -> Worker:
    return Worker(log, replace(word_count(), settings=settings))


async def test_another_value_of_a_shared_setting_is_logged_and_accepted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also of a setting that another version does not have, and of a journal from before.

    That ``payments doctor`` and ``payments journal inspect`` show them:
    ``tests/recovery/test_skip_on_broker.py``.
    """
    log, _ = new_log()
    await use(log)
    caplog.clear()
    numbers = ", ".join(map(str, range(PARTITIONS)))
    for value, warned in [("1", 0), ("1", 0), ("2", PARTITIONS), ("2", 0), ("1", PARTITIONS)]:
        worker = await with_settings(log, LIMIT=value, ADDED="x").start()
        assert worker.engine.counts().settings_differ == ({"LIMIT": warned} if warned else {})
        await worker.stop()
        assert worker.failure is None
        told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert len(told) == bool(warned), "one line for all partitions"
        for line in told:
            before = {"1": "2", "2": "1"}[value]
            assert line.startswith(
                f"words-count-changelog: the last owner of partitions {numbers} "
            )
            assert f"decided with LIMIT={before}, this worker does with {value}: " in line
        caplog.clear()
    worker = await with_settings(log, LIMIT="1", OTHER="y").start()
    await worker.stop()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    identity = [c.identity for c in checkpoints(log) if c.identity is not None][-1]
    assert identity.settings == {"LIMIT": "1", "OTHER": "y"}


def a_sender_and_a_receiver(taken: tuple[int, int], end: int) -> list[str]:
    """Return what is missing where commit 8 of the one has sent three messages to the other."""
    found = []
    told: list[tuple[str, dict[str, tuple[int, int]], list[Output]]] = [
        ("sender", {}, [output(number)._replace(topic="to-me") for number in range(3)]),
        ("receiver", {"sender/0": taken}, []),
    ]
    for name, sources, outputs in told:
        journal = Journal(
            stage=name,
            partition=0,
            changelog=f"{name}-changelog",
            public=frozenset(),
            emits=frozenset(),
            writer=Writer(1, 0),
            limits=Limits(),
        )
        written = [Checkpoint(8, 7, {}, {}, outputs), Checkpoint(9, 8, {"to-me": 5}, sources, [])]
        journal.restore(written)
        found.append(Evidence(journal, written, Bounds(0, 1)))
    stages = [replace(word_count(), name="receiver", internal_inputs=("to-me", "inbox"))]
    ends = {TopicPartition("to-me", 0): end, TopicPartition("inbox", 0): 0}
    found[1].journal.inputs["inbox"] = 0
    return missing_messages(found, stages, ends)


def test_messages_that_are_neither_taken_nor_in_the_log_are_missed_with_both_numbers() -> None:
    """Delivered locally, and lost with the receiver's last commits; or lost in the log unread.

    Of the same kind: a sender that is behind its receiver, above; what was read and is gone from
    the log is ``PositionLost``.
    """
    [line] = a_sender_and_a_receiver((8, 1), 5)
    assert line.startswith(
        "sender-changelog/0 was published up to 8/2 for to-me/0, but receiver-changelog/0 has read "
        "all of it and taken no more than 8/1"
    )
    assert "payments verify" in line


@pytest.mark.parametrize(
    ("taken", "end"), [((8, 2), 5), ((9, 0), 5), ((8, 1), 6)], ids=["taken", "later", "unread"]
)
def test_messages_that_are_taken_or_may_be_in_the_log_are_not_missed(
    taken: tuple[int, int], end: int
) -> None:
    assert a_sender_and_a_receiver(taken, end) == []


async def test_the_second_app_id_on_topics_without_records_is_refused() -> None:
    """Before it decides anything, also where the first has claimed and not written yet.

    Topics that hold records of another installation, above, are the usual case.
    """
    log, _ = new_log()
    others = MemoryLog(["others-count-changelog"], PARTITIONS)
    log._partitions |= others._partitions
    log._counts |= others._counts
    log.topic_ids |= others.topic_ids
    first = await Worker(log, word_count()).start()
    message = await refused(log, NotOurs, app_id="others")
    assert "others-count-changelog/" in message
    assert "was claimed before (it ends at " in message
    assert not [r for at, p in log._partitions.items() for r in p.records if "others" in at.topic]
    produce(log, 30)
    await until_counted(log, 30, first)
    await first.stop()
    assert first.failure is None


class Interleaved(MemoryLog):
    """A log whose answers come in an order of a seed's choice."""

    def __init__(self, seed: int) -> None:
        apps = [topics_of([word_count(app)]) for app in ("words", "others")]
        super().__init__(dict.fromkeys(chain(*apps)), PARTITIONS)
        self._random = Random(seed)

    async def _wait(self) -> None:
        for _ in range(self._random.choice((0, 1, 5, 30))):
            await asyncio.sleep(0)

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what each partition holds, some time."""
        await self._wait()
        found = await super().bounds(at)
        await self._wait()
        return found

    async def claim(self, name: str, fenced: Sequence[TopicPartition]) -> Writer:
        """Claim, some time."""
        await self._wait()
        writer = await super().claim(name, fenced)
        await self._wait()
        return writer


@pytest.mark.parametrize("seed", range(60))
async def test_of_two_app_ids_that_start_in_the_same_moment_one_at_most_continues(
    seed: int,
) -> None:
    """Each claims before it looks who else has claimed.

    With workers as processes on a broker: ``tests/broker/test_identity.py``.
    """
    log = Interleaved(seed)
    workers = [Worker(log, word_count(app), app_id=app) for app in ("words", "others")]
    ends = await asyncio.gather(*(worker.start() for worker in workers), return_exceptions=True)
    refusals = [end for end in ends if not isinstance(end, Worker)]
    for worker in workers:
        await worker.kill()
    assert refusals, "both have passed"
    for refusal in refusals:
        assert isinstance(refusal, NotOurs)
        assert "another app id" in str(refusal)
    for worker, end in zip(workers, ends, strict=True):
        again = Worker(log, word_count(worker.app_id), app_id=worker.app_id)
        if end is worker:
            await again.start()
        else:
            with pytest.raises(NotOurs):
                await again.start()
        await again.kill()


async def test_a_first_takeover_that_ends_at_any_append_is_continued() -> None:
    """What it leaves, marks, claims or fences, is never taken for another installation's."""
    crash_at, crashed = 0, True
    while crashed:
        crash_at += 1
        log, stage = new_log()
        log.crash_at = crash_at
        for mode in ("after", "half", "before"):
            log.crash_mode = mode
            worker = Worker(log, stage)
            try:
                await worker.start()
                crashed = False
            except Killed:
                crashed = True
            await worker.kill()
            log.appends = 0
        log.crash_at = None
        await use(log)
    assert crash_at > 2
