"""Resending: replays an own stage's dead letters, by producing the record to an input of the stage.

The payments' letters are replayed as commands (``replaying``). The records of an own stage have a
format of their own, so here the record is sent as it was received: key, value and headers, with one
more header that names the letter. That header identifies a second replay.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from exactstage import Header, TopicPartition
from exactstage.inspection import FOREIGN_RECORD, MISSING_POSITION
from exactstage.log import NewRecord
from payments.dead_letters.letter import DeadLetter, NotReplayable
from payments.dead_letters.reading import DeadLetters, open_dead_letters
from payments.dead_letters.replaying import Correction
from payments.records.record_address import RecordAddress
from payments.settings import Settings

REPLAY_OF = "replay-of"
"""Header of a record that was sent again: the address of its dead letter."""

_MESSAGE_HEADERS = {"src", "src-owner", "origin"}
"""The engine's headers of a message between stages; on a public input they mean nothing."""


class Resend(NamedTuple):
    """The decision on a letter: either a record with its target, or a refusal."""

    letter: DeadLetter
    at: TopicPartition | None
    record: NewRecord | None
    refusal: str | None = None


async def judge(
    letters: DeadLetters, letter: DeadLetter, correction: Correction, *, to: str | None, again: bool
) -> Resend:
    """Return the decision on a letter; ``again`` leaves out the search for an earlier replay.

    Raises ``NoTopic`` when the target topic is not there.
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
    """Return the target and the record of a replay. Raises ``NotReplayable``.

    ``taken`` are the topics to which nothing is sent: only workers of the payments write there, or
    their records are commands.
    """
    if not letter.source:
        raise NotReplayable("no stage wrote it, so the topic where it came in is not known")
    if letter.is_notice:
        message = (
            f"it is a whole batch or range, {letter.source} up to offset {letter.last_offset}: "
            f"its producer may send the records again"
        )
        raise NotReplayable(message)
    if letter.is_truncated and correction.value is None:
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
    """Return the letters of which a replay is still on one of these topics.

    ``received_ms`` is the time at which the record of each came in.
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
