"""One journal by itself: what a decision leaves in it, and what a commit then holds."""

from collections import deque
from random import Random
from typing import Any

import pytest

from exactstage.checkpoint import RESERVED, Checkpoint, decode_checkpoint
from exactstage.context import OutputRefused, RowRefused, RowTimers
from exactstage.journal import Journal
from exactstage.limits import RING, SOURCE_ROTATION_CHECKPOINTS, Limits
from exactstage.log import Writer
from exactstage.outputs import OutputId, Source


def new_journal(*, timers: RowTimers | None = None, **limits: int) -> Journal:
    return Journal(
        stage="count",
        partition=0,
        changelog="changelog",
        public=frozenset({"counts"}),
        emits=frozenset({"counts"}),
        writer=Writer(1, 0),
        limits=Limits(**limits),
        timers=timers,
    )


def emit(journal: Journal, value: bytes) -> None:
    journal.publish("counts", 0, b"w", value, "count", 0)


def sealed_rows(journal: Journal) -> list[tuple[bytes | None, bytes | None]]:
    """Seal the open commit; return its rows without the checkpoint."""
    *rows, (key, _, _) = journal.seal().batch.records
    assert key is not None
    assert key.startswith(RESERVED)
    return [(key, row) for key, row, _ in rows]


def test_nothing_is_left_of_a_decision_that_is_discarded() -> None:
    journal = new_journal()
    journal.put(b"w", b"1")
    emit(journal, b"1")
    journal.discard()
    journal.accept()
    assert not journal.is_open
    assert journal.get(b"w") is None
    journal.put(b"other", b"2")
    emit(journal, b"2")
    journal.accept()
    commit = journal.seal()
    assert [key for key, _, _ in commit.batch.records][:-1] == [b"other"]
    assert [output.value for output in commit.publication.outputs] == [b"2"]


def test_a_deleted_row_leaves_a_tombstone() -> None:
    journal = new_journal()
    journal.put(b"w", b"1")
    journal.accept()
    assert sealed_rows(journal) == [(b"w", b"1")]
    journal.delete(b"w")
    journal.accept()
    assert sealed_rows(journal) == [(b"w", None)]
    assert journal.get(b"w") is None


def test_a_commit_has_the_last_of_several_changes_of_a_row() -> None:
    journal = new_journal()
    for row in (b"1", b"2"):
        journal.put(b"w", row)
        journal.accept()
    assert sealed_rows(journal) == [(b"w", b"2")]


def test_a_decision_that_only_answers_is_published_too() -> None:
    journal = new_journal()
    emit(journal, b"1")
    journal.accept()
    commit = journal.seal()
    assert [output.value for output in commit.publication.outputs] == [b"1"]
    checkpoint = decode_checkpoint(commit.batch.records[-1][1] or b"")
    assert [output.value for output in checkpoint.outputs] == [b"1"]


@pytest.mark.parametrize("what", ["row", "output", "key"])
def test_a_commit_is_full_when_its_rows_and_outputs_reach_the_limit(what: str) -> None:
    journal = new_journal(commit_bytes=1000)
    large = b"x" * 1000
    if what == "output":
        emit(journal, large)
    else:
        journal.put(large if what == "key" else b"w", large if what == "row" else b"")
    before = journal.is_full
    journal.accept()
    assert (before, journal.is_full) == (False, True)
    journal.seal()
    assert not journal.is_full


@pytest.mark.parametrize(("key", "size"), [(b"", 1), (b"\0fence", 1), (b"\x007", 1), (b"w", 11)])
def test_a_row_that_can_not_be_stored_is_refused(key: bytes, size: int) -> None:
    with pytest.raises(RowRefused):
        new_journal(row_bytes=10).put(key, b"x" * size)


def test_a_row_of_the_largest_size_is_stored() -> None:
    journal = new_journal(row_bytes=10)
    journal.put(b"w", b"x" * 10)
    journal.accept()
    assert journal.get(b"w") == b"x" * 10


def test_an_idle_journal_advances_but_never_goes_back() -> None:
    journal = new_journal()
    journal.inputs["words"] = 7
    journal.skip_to("words", 0)
    assert (journal.inputs["words"], journal.is_open) == (7, False)
    journal.skip_to("words", 9)
    assert (journal.inputs["words"], journal.is_open) == (9, True)


def test_a_journal_is_published_on_record_when_it_says_itself_that_its_outputs_are_published() -> (
    None
):
    journal = new_journal()
    emit(journal, b"1")
    journal.accept()
    assert not journal.published_on_record
    journal.seal()
    assert not journal.published_on_record
    journal.published = journal.n
    assert not journal.published_on_record, "only memory knows it so far"
    journal.seal()
    assert journal.published_on_record


def test_of_each_source_a_message_is_taken_once_and_in_order() -> None:
    journal = new_journal()
    taken = [
        journal.senders.accept_once(Source(name, position))
        for name, position in (
            ("a/0", (1, 0)),
            ("a/0", (1, 0)),
            ("a/0", (1, 1)),
            ("a/1", (1, 0)),
            ("a/0", (2, 0)),
            ("a/0", (1, 1)),
        )
    ]
    assert taken == [True, False, True, True, True, False]


@pytest.mark.parametrize("senders", [1, 5, 62, 63, 200])
def test_the_ring_has_every_source_position_and_no_checkpoint_has_many(
    senders: int,
) -> None:
    random = Random(senders)
    journal, ring, said = new_journal(), deque[Checkpoint](maxlen=RING), dict[str, OutputId]()
    for n in range(1, 400):
        # Most are heard of once, at the beginning; after that few are, and then nobody.
        heard = range(senders) if n == 1 else random.sample(range(senders), k=min(senders, n % 3))
        for number in heard if n < 200 else ():
            said[f"payments/{number}"] = (n, 0)
            assert journal.senders.accept_once(Source(f"payments/{number}", (n, 0)))
        journal.advance("words", n)
        journal.published = journal.n
        [(_, value, _)] = journal.seal().batch.records
        ring.append(decode_checkpoint(value or b""))
        if n > 1:
            assert len(ring[-1].sources) <= 2 + -(-senders // SOURCE_ROTATION_CHECKPOINTS)
        next_owner = new_journal()
        next_owner.restore(list(ring))
        assert next_owner.senders.positions == said
        if random.random() < 0.1:  # Now and then it changes hands.
            journal = next_owner


def test_what_no_broker_could_take_is_refused_before_it_is_staged() -> None:
    """It would end the process when it is written, at each start again; so it is one dead letter.

    Of the same kind: a topic that is not among the stage's outputs (``test_processing.py``).
    """
    journal = new_journal()
    text: Any = "text"
    nothing: Any = None
    calls: tuple[Any, ...] = (
        lambda: journal.put(text, b"1"),
        lambda: journal.put(b"w", text),
        lambda: journal.put(b"w", nothing),
        lambda: journal.delete(text),
        lambda: journal.publish("counts", 0, text, b"1", "count", 0),
        lambda: journal.publish("counts", 0, b"w", text, "count", 0),
    )
    for call in calls:
        with pytest.raises(TypeError, match="bytes"):  # A compiled build has its own words.
            call()
    journal.accept()
    assert not journal.is_open


def test_an_output_goes_to_a_partition_that_is_there_and_where_it_is_fenced() -> None:
    journal = Journal(
        stage="count",
        partition=1,
        changelog="changelog",
        public=frozenset({"counts"}),
        emits=frozenset({"counts", "asked"}),
        writer=Writer(1, 0),
        limits=Limits(),
        partitions=4,
    )
    for partition in (0, 3):
        journal.publish("asked", partition, b"w", b"1", "", 0)
    journal.publish("counts", 1, b"w", b"1", "count", 0)
    for partition in (4, -1):
        with pytest.raises(OutputRefused, match="there is no partition"):
            journal.publish("asked", partition, b"w", b"1", "", 0)
    with pytest.raises(OutputRefused, match="goes to the stage's own partition"):
        journal.publish("counts", 0, b"w", b"1", "count", 0)
