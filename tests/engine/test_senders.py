"""What a receiver accepts from whom: forged messages (K6), senders that lost commits (O2)."""

import asyncio

import msgspec
import pytest

from exactstage.checkpoint import checkpoint_key
from exactstage.errors import NewerFormat, RecordsLost
from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.log import NO_HEADERS, Batch, Channel, Header, TopicPartition, Writer
from exactstage.memory import MemoryLog
from exactstage.outputs import Source
from exactstage.partitioner import partition_of
from exactstage.senders import Owner, owner_header, parse_owner, writer_number

from .harness import LIMIT_SECONDS, PARTITIONS, Worker, counted, new_log, until_counted
from .test_consistency import INSTALLED, forget
from .wordcount import word_count

RIGHT = partition_of(b"w0", PARTITIONS)
OTHER = (RIGHT + 1) % PARTITIONS
INBOX = TopicPartition("inbox", RIGHT)
SENDER = f"count/{OTHER}"
OTHERS_HEADER = owner_header(Owner("others/x", 1, 1))
BROKEN_HEADER: Header = ("src-owner", b"nonsense")


async def sent(log: MemoryLog, *headers: Header, at: TopicPartition = INBOX) -> None:
    """Write a message as a worker would: with a producer that has an identity."""
    record = (b"w0", b"x", list(headers))
    await log.append([Batch(at, await log.new_writer(), [record])], Channel.PUBLISH)


async def until(log: MemoryLog, worker: Worker) -> None:
    """Wait until a worker has failed."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while worker.failure is None:
            await log.grown(0.01)


@pytest.mark.parametrize(
    "headers",
    [
        [("src", b"count/77/1/0")],
        [("src", b"count/%d/1/0" % PARTITIONS)],
        [("src", b"others/1/1/0")],
        [("src", b"%s/999999/0" % SENDER.encode())],
        [OTHERS_HEADER, ("src", b"%s/999999/0" % SENDER.encode())],
        [BROKEN_HEADER, ("src", b"%s/999999/0" % SENDER.encode())],
        [OTHERS_HEADER, ("origin", b"words/0/0"), ("src", b"%s/999999/0" % SENDER.encode())],
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
async def test_a_forged_message_is_a_dead_letter_and_real_ones_are_still_taken(
    headers: list[Header], is_known: bool
) -> None:
    log, stage = new_log()
    worker = await Worker(log, stage, local_delivery=False).start()
    words = TopicPartition("words", OTHER)
    if is_known:
        log.produce(words, b"w0", b"x")
        await until_counted(log, 1, worker)
    await sent(log, *headers)
    log.produce(words, b"w0", b"x")
    await until_counted(log, 1 + is_known, worker)
    async with asyncio.timeout(LIMIT_SECONDS):
        while not log.records("dead-words"):
            await log.grown(0.01)
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [*range(1, 2 + is_known)]}
    [letter] = log.records("dead-words")
    assert dict(letter.headers)["__streams.errors.reason"] == b"foreign_record"
    assert [h for h in letter.headers if h in headers] == headers


async def test_a_message_of_a_producer_without_an_identity_is_a_dead_letter() -> None:
    log, stage = new_log()
    worker = await Worker(log, stage, local_delivery=False).start()
    [journal] = [j for j in worker.engine.owned.journals() if j.partition == OTHER]
    assert journal.owner is not None
    position: Header = ("src", b"%s/1/0" % SENDER.encode())
    log.produce(INBOX, b"w0", b"x", [owner_header(journal.owner), position])
    async with asyncio.timeout(LIMIT_SECONDS):
        while not log.records("dead-words"):
            await log.grown(0.01)
    await worker.stop()
    [letter] = log.records("dead-words")
    assert b"not idempotent" in (dict(letter.headers)["__streams.errors.message"] or b"")


async def test_a_message_of_the_version_before_is_taken_when_its_journal_has_sent_it() -> None:
    log, stage = new_log()
    at = TopicPartition(stage.changelog, OTHER)
    outputs = [["inbox", RIGHT, 2, 1, "", 0, [["origin", 9]]]]
    fields = {"n": 1, "published": 0, "inputs": {}, "sources": {}, "outputs": outputs}
    value = msgspec.json.encode(fields) + b"\nw0xwords/0/0"
    writer = await log.claim(f"words-{OTHER}", [])
    await log.append([Batch(at, writer, [(checkpoint_key(1), value, NO_HEADERS)])], Channel.JOURNAL)
    await sent(log, ("origin", b"words/0/0"), ("src", b"%s/1/0" % SENDER.encode()))
    worker = await Worker(log, stage, local_delivery=False).start()
    await until_counted(log, 1, worker)
    log.produce(TopicPartition("words", OTHER), b"w0", b"x")
    await until_counted(log, 2, worker)
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [1, 2]}
    assert not log.records("dead-words")


async def test_a_message_of_a_newer_version_ends_the_worker() -> None:
    log, stage = new_log()
    worker = await Worker(log, stage, local_delivery=False).start()
    await sent(log, ("src-owner", b"2/words/x/0/1"), ("src", b"%s/1/0" % SENDER.encode()))
    await until(log, worker)
    assert isinstance(worker.failure, NewerFormat)
    assert "a message has format 2, this version reads up to 1" in str(worker.failure)
    await worker.kill()


@pytest.mark.parametrize("receiver_is_new", [False, True])
async def test_a_sender_that_lost_commits_is_noticed_by_its_receivers(
    receiver_is_new: bool,
) -> None:
    """Nothing else tells: what was forwarded leaves no public record of its sender's own."""
    log, stage = new_log()
    receiver = await Worker(log, stage).start(range(RIGHT, RIGHT + 1))
    sender = await Worker(log, word_count()).start(range(OTHER, OTHER + 1))
    words = TopicPartition("words", OTHER)
    for number in range(1, 4):
        log.produce(words, b"w0", b"x")
        await until_counted(log, number, receiver)
    await sender.stop()
    if receiver_is_new:
        await receiver.stop()
    at = TopicPartition(stage.changelog, OTHER)
    while any(b'"outputs":[[' in (r.value or b"") for r in log.partition(at).records):
        forget(log, at, 1)
    log.partition(at)._producers.clear()
    # It goes on from where its journal ends now: it would send commit 3 and 4 again.
    next_owner = await Worker(log, word_count()).start(range(OTHER, OTHER + 1))
    if receiver_is_new:
        receiver = await Worker(log, stage).start(range(RIGHT, RIGHT + 1))
    await until(log, receiver)
    assert isinstance(receiver.failure, RecordsLost)
    assert f"of {SENDER}, but a later owner of {SENDER} began at commit" in str(receiver.failure)
    assert counted(log) == {b"w0": [1, 2, 3]}
    await next_owner.kill()
    await receiver.kill()


async def test_a_receiver_that_knows_of_a_loss_is_refused_when_its_sender_has_caught_up() -> None:
    """The number of the sender's last commit says nothing any more: where its owner began does.

    Nor may the receiver go on by what is delivered locally, where no owner is named.
    """
    log, stage = new_log()
    receiver = await Worker(log, stage).start(range(RIGHT, RIGHT + 1))
    sender = await Worker(log, word_count()).start(range(OTHER, OTHER + 1))
    log.produce(TopicPartition("words", OTHER), b"w0", b"x")
    await until_counted(log, 1, receiver)
    await sender.stop()
    await receiver.stop()
    at = TopicPartition(stage.changelog, OTHER)
    while any(b'"outputs":[[' in (r.value or b"") for r in log.partition(at).records):
        forget(log, at, 1)
    log.partition(at)._producers.clear()
    sent = len(log.records("inbox"))
    next_owner = await Worker(log, word_count()).start(range(OTHER, OTHER + 1))
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(log.records("inbox")) == sent:
            await log.grown(0.01)
    [journal] = next_owner.engine.owned.journals()
    taken = int((dict(log.records("inbox")[0].headers)["src"] or b"").split(b"/")[2])
    assert journal.n >= taken, "it has as many commits as before"
    both = range(min(RIGHT, OTHER), max(RIGHT, OTHER) + 1)
    with pytest.raises(RecordsLost, match=f"a later owner of {SENDER} began at commit"):
        await next_owner.assign(both)
    assert counted(log) == {b"w0": [1]}
    await next_owner.kill()


# --- owners --------------------------------------------------------------------------------------


def receiver_of(*taken: tuple[int, Owner]) -> Journal:
    """Return a journal that has taken messages of these commits of ``count/1``, by owner."""
    journal = Journal(
        stage="count",
        partition=0,
        changelog="changelog",
        public=frozenset(),
        emits=frozenset(),
        writer=Writer(1, 0),
        limits=Limits(),
    )
    for n, owner in taken:
        journal.senders.meet(source(n), owner)
        journal.senders.accept_once(source(n))
    return journal


def source(n: int) -> Source:
    return Source("count/1", (n, 0))


def owner(base: int, epoch: int, producer_id: int = 7) -> Owner:
    return Owner(INSTALLED, base, writer_number(Writer(producer_id, epoch)))


@pytest.mark.parametrize(
    ("taken", "n", "comes", "is_newer"),
    [
        # A new owner sends again what may not be published, then continues.
        ([(5, owner(0, 0))], 5, owner(5, 1), True),
        ([(5, owner(0, 0))], 6, owner(6, 1), True),
        # An older owner's message comes late.
        ([(5, owner(0, 0)), (9, owner(5, 1))], 4, owner(0, 0), False),
        ([(5, owner(0, 0)), (9, owner(5, 1))], 5, owner(0, 0), False),
        # Two owners that began at the same commit: the first has journalled nothing.
        ([(5, owner(5, 1))], 6, owner(5, 2), True),
        ([(6, owner(5, 2))], 5, owner(5, 1), False),
        # The claim has another producer id now.
        ([(5, owner(0, 9))], 6, owner(5, 0, producer_id=3), True),
        ([(6, owner(5, 0, producer_id=3))], 5, owner(5, 9), False),
    ],
)
def test_messages_of_owners_that_come_one_after_the_other_are_in_order(
    taken: list[tuple[int, Owner]], n: int, comes: Owner, *, is_newer: bool
) -> None:
    senders = receiver_of(*taken).senders
    senders.meet(source(n), comes)
    assert senders.owners["count/1"] == (comes if is_newer else taken[-1][1])


@pytest.mark.parametrize(
    ("taken", "n", "comes"),
    [
        ([(9, owner(0, 0))], 8, owner(7, 1)),
        ([(9, owner(0, 0))], 12, owner(7, 1)),
        # The first owner's commit 8 is lost, the second one makes another.
        ([(8, owner(7, 1))], 8, owner(7, 2)),
        # A repeat in between, by an owner that sent nothing of its own.
        ([(9, owner(0, 0)), (9, owner(9, 1))], 8, owner(7, 2)),
        # The newer owner is heard first.
        ([(8, owner(7, 1))], 9, owner(0, 0)),
    ],
)
def test_an_owner_that_began_before_a_commit_that_was_taken_proves_a_loss(
    taken: list[tuple[int, Owner]], n: int, comes: Owner
) -> None:
    journal = receiver_of(*taken)
    with pytest.raises(RecordsLost, match="a later owner of count/1 began at commit 7"):
        journal.senders.meet(source(n), comes)


def test_a_late_message_of_an_owner_before_this_worker_proves_a_loss() -> None:
    """The receiver has never heard of the sender, which this worker owns from commit 7 on."""
    journal = receiver_of()
    journal.senders._owner_here = lambda _: owner(7, 1)
    with pytest.raises(RecordsLost, match="a later owner of count/1 began at commit 7"):
        journal.senders.meet(source(8), owner(0, 0))
    journal.senders.meet(source(7), owner(0, 0))


@pytest.mark.parametrize(
    ("taken", "here"),
    [
        # What this owner itself has sent, and what those before it have.
        ([(9, owner(7, 1))], owner(7, 1)),
        ([(7, owner(0, 0))], owner(7, 1)),
        # This worker has lost the sender without knowing it.
        ([(8, owner(7, 2))], owner(7, 1)),
    ],
)
def test_a_receiver_continues_with_a_sender_that_this_worker_owns(
    taken: list[tuple[int, Owner]], here: Owner
) -> None:
    journal = receiver_of(*taken)
    journal.senders.meet_here("count/1", here)
    newest = max(here, taken[-1][1], key=lambda each: each.writer)
    assert journal.senders.owners["count/1"] == newest


def test_a_worker_that_has_lost_a_sender_keeps_the_newer_owner_in_mind() -> None:
    journal = receiver_of((10, owner(5, 2)))
    journal.senders._owner_here = lambda _: owner(5, 1)
    journal.seal()
    journal.senders.meet(source(11), owner(5, 2))
    assert journal.senders.owners["count/1"] == owner(5, 2)


def test_an_owner_is_read_as_it_was_written() -> None:
    _, text = owner_header(owner(5, 3))
    assert text is not None
    assert parse_owner(text) == owner(5, 3)
