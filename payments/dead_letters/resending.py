"""Replays of an own stage's dead letters: the record is produced again, to an input of the stage.

The payments' letters are replayed as commands (``replaying``). What an own stage reads is its own
affair, so here a record is sent as it was received: key, value and headers, with one header more
that names the letter. By that header a second replay is recognised.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from exactstage.dead_letters import FOREIGN_RECORD, MISSING_POSITION
from exactstage.log import Header, NewRecord, TopicPartition
from payments.dead_letters.letter import DeadLetter, NotReplayable, RecordAddress
from payments.dead_letters.reading import DeadLetters, open_dead_letters
from payments.dead_letters.replaying import Correction
from payments.settings import Settings

REPLAY_OF = "replay-of"
"""Header of a record that was sent again: the position of its dead letter."""

_MESSAGE_HEADERS = {"src", "src-owner", "origin"}
"""Where the engine says who sent a message between stages; on a public input they mean nothing."""


class Resend(NamedTuple):
    """What is to be done with a letter: it has either a record and where it goes, or a refusal."""

    letter: DeadLetter
    at: TopicPartition | None
    record: NewRecord | None
    refusal: str | None = None


async def judge(
    letters: DeadLetters, letter: DeadLetter, correction: Correction, *, to: str | None, again: bool
) -> Resend:
    """Return what is to be done with a letter; ``again`` leaves out the look for a replay.

    Raises ``NoTopic`` when the topic where it goes is not there.
    """
    try:
        at, record = resend_of(letter, letters.not_for_replays, correction, to=to)
    except NotReplayable as fault:
        return Resend(letter, None, None, str(fault))
    count = letters.partition_count(at.topic)
    if at.partition >= count:
        return Resend(letter, None, None, f"there is no {at}: {at.topic} has {count} partitions")
    if not again:
        mark = (REPLAY_OF, str(letter.position).encode())
        earlier = await letters.marked(at.topic, mark, since_ms=letter.received_ms)
        if earlier is not None:
            refusal = f"it was replayed before, as {earlier} (--again sends it all the same)"
            return Resend(letter, None, None, refusal)
    return Resend(letter, at, record)


def resend_of(
    letter: DeadLetter, taken: frozenset[str], correction: Correction, *, to: str | None
) -> tuple[TopicPartition, NewRecord]:
    """Return where a replay of a letter goes, and what it sends. Raises ``NotReplayable``.

    ``taken`` are the topics that only workers of the payments may write, or whose records are
    commands: nothing is sent there.
    """
    if not letter.source:
        raise NotReplayable("no stage wrote it, so nobody knows where it came in")
    if letter.is_notice:
        message = (
            f"it is a whole batch or range, {letter.source} up to offset {letter.last_offset}: "
            f"whoever wrote it may send its records again"
        )
        raise NotReplayable(message)
    if letter.is_cut and correction.value is None:
        size = letter.facts["value.bytes"]
        raise NotReplayable(f"it was too large to be kept whole ({size} bytes): give its value")
    topic = to or letter.facts["topic"]
    if topic in taken:
        message = (
            f"it came in at {letter.source}, where only the payments' workers write"
            if to is None
            else f"{to} is a topic of the payments"
        )
        advice = "name another input of the stage with --to (docs/extend.md)"
        raise NotReplayable(f"{message}: {advice}")
    if to is None and letter.reason in {MISSING_POSITION, FOREIGN_RECORD}:
        message = (
            f"it came in at {letter.source}, where only the stages themselves write, and would be "
            f"refused again, {letter.reason}: name another input of the stage with --to"
        )
        raise NotReplayable(message)
    own = [(name, value) for name, value in letter.headers if name not in _MESSAGE_HEADERS]
    headers: list[Header] = [*own, (REPLAY_OF, str(letter.position).encode())]
    key = letter.key if correction.key is None else correction.key
    value = letter.value if correction.value is None else correction.value
    at = TopicPartition(topic, int(letter.facts["partition"]))
    return at, (key, value, headers)


async def replayed(
    settings: Settings, received_ms: Mapping[RecordAddress, int], places: Collection[str]
) -> frozenset[RecordAddress]:
    """Return the letters of which a replay is on one of these topics, as far as it is kept.

    ``received_ms`` says when the record of each came in.
    """
    if not received_ms or not places:
        return frozenset()
    marks = {str(position).encode(): position for position in received_ms}
    since_ms = min(received_ms.values())
    found: set[RecordAddress] = set()
    async with open_dead_letters(settings, sorted(places)) as letters:
        for topic in places:
            for value in await letters.header_values(topic, REPLAY_OF, since_ms):
                if value in marks:
                    found.add(marks[value])
    return frozenset(found)


async def send(letters: DeadLetters, resend: Resend) -> RecordAddress:
    """Produce the record; return where it is. Raises ``FailStop`` where the brokers refuse it."""
    assert resend.at is not None, "it is refused"
    assert resend.record is not None, "it is refused"
    offset = await letters.produce(resend.at, resend.record)
    return RecordAddress(*resend.at, offset)
