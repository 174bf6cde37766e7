"""Skipping: moves a journal past a range of an input that can't be read any more, or must not be.

The partition is taken over as a worker would do it. One more commit moves the journal's offset and
publishes a notice on the dead letters, which names the range; ``payments verify`` reads the notice.
The records of the range are never carried out.

Where the input was truncated, so that it lost handled records, and has grown again, nothing is
skipped: the journal goes back to the truncation, since all records after it are new. The journal
gets a note for ``payments verify`` that the commands of earlier results may be gone.
"""

from typing import Any, NamedTuple

from exactstage import Header, Limits, Log, Stage, TopicPartition
from exactstage.inspection import DEAD_LETTER_TYPE, HEADER_PREFIX, Checkpoint, Output
from exactstage.log import Bounds
from exactstage.recovery import skip_input
from payments.records.recovery_notes import (
    SKIPPED,
    encode_note,
    encode_skip_notice,
    note_without_commands,
)

from .errors import RecoveryRefused
from .inspecting import read_held

INTERNAL_WARNING = (
    "Warning: this topic carries messages between the stages. A payment whose message is skipped "
    "waits for ever, and so do its commands; payments rebuild finds such payments and carries them "
    "out, so prefer it where the ledger and the results are whole."
)


class Skip(NamedTuple):
    """A range of an input that is skipped: ``first`` to before ``end``; it may be empty."""

    stage: Stage
    at: TopicPartition
    first: int
    end: int
    held: Bounds
    """What the broker has of the partition."""

    position: int
    """The journal's next offset before the skip."""

    @property
    def goes_back(self) -> bool:
        """Whether handled records are lost, and others have their offsets."""
        return self.end < self.position

    @property
    def readable(self) -> int:
        """Records of the range that could still be read and handled, control records included."""
        return max(0, min(self.end, self.held.end) - max(self.first, self.held.first))

    def __str__(self) -> str:
        """Return one line."""
        if self.first == self.end:
            return (
                f"{self.at} continues at {self.end}, not at {self.position}: the records that were "
                f"handled from there on are lost, those there now are new; nothing is skipped"
            )
        there = f"{self.readable} of them could still be read" if self.readable else "all are gone"
        return f"offsets {self.first} to {self.end - 1} of {self.at} ({there})"

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return {
            "stage": self.stage.name,
            "topic": self.at.topic,
            "partition": self.at.partition,
            "from": self.first,
            "to": self.end,
            "readable": self.readable,
            "position": self.position,
        }


async def plan(log: Log, stages: list[Stage], at: TopicPartition, to: int | None) -> Skip:
    """Return the skip up to ``to``; None means just the lost records.

    Raises ``RecoveryRefused`` where nothing is to be skipped, or it would repeat what was handled.
    """
    stage = next((each for each in stages if at.topic in each.inputs), None)
    if stage is None:
        inputs = ", ".join(topic for each in stages for topic in each.inputs)
        message = f"{at.topic} is no input of a stage: {inputs} are"
        raise RecoveryRefused(message)
    count = log.partition_count(at.topic)
    if at.partition >= count:
        message = f"{at.topic} has {count} partitions, the last one is {count - 1}"
        raise RecoveryRefused(message)
    journal = TopicPartition(stage.changelog, at.partition)
    last = (await read_held(log, [journal]))[journal].last
    held = (await log.bounds([at]))[at]
    if last is None:
        message = f"{journal} has no checkpoint, so nothing was handled yet: start a worker"
        raise RecoveryRefused(message)
    position, truncated = _position(last, at), await _truncated_at(log, last, at)
    return _checked(stage, at, position, to, held, truncated)


def _position(last: Checkpoint, at: TopicPartition) -> int:
    return last.inputs.get(at.topic, 0)


async def _truncated_at(log: Log, last: Checkpoint, at: TopicPartition) -> int | None:
    """Return where the epoch of the last handled records ends now; None where not known."""
    if (epoch := last.epochs.get(at.topic)) is None:
        return None
    return (await log.epoch_ends({at: epoch})).get(at)


def _checked(  # noqa: PLR0917 - each is of another kind
    stage: Stage,
    at: TopicPartition,
    position: int,
    to: int | None,
    held: Bounds,
    truncated: int | None,
) -> Skip:
    before = position
    if truncated is not None and truncated < position:
        position = max(truncated, held.first)
        if to is None:
            return Skip(stage, at, position, position, held, before)
    if to is None:
        if position > held.end:
            message = (
                f"{at} ends at {held.end}, and the journal has handled everything before "
                f"{position}: the topic was recreated or lost its end. Its records would be taken "
                f"for handled ones; see: payments journal adopt"
            )
            raise RecoveryRefused(message)
        to = max(position, held.first)
        if to == position:
            message = (
                f"nothing is lost: {stage.name}/{at.partition} continues at "
                f"{at.address(position)}, the broker has {held.first} to {held.end}"
            )
            raise RecoveryRefused(message)
    if to <= position:
        message = (
            f"{at} is handled up to {position}: going back to {to} would carry commands out a "
            f"second time"
        )
        raise RecoveryRefused(message)
    if to > held.end:
        message = f"{at} ends at {held.end}: records that are not there yet can't be skipped"
        raise RecoveryRefused(message)
    if to < held.first:
        message = f"{at} begins at {held.first}: skip up to there, with --to {held.first} or --lost"
        raise RecoveryRefused(message)
    return Skip(stage, at, position, to, held, before)


async def carry_out(
    log: Log, app_id: str, stages: list[Stage], skip: Skip, *, time_ms: int
) -> None:
    """Skip the range; all workers must be stopped. One that starts now ends this, or is ended.

    The new position is journalled together with a notice, which is published then.
    """

    def note(commit: int) -> bytes:
        return encode_note(note_without_commands(commit, skip.end))

    loses_commands = skip.goes_back and skip.at.topic in skip.stage.public_inputs
    await skip_input(
        log,
        app_id,
        stages,
        skip.at,
        skip.end,
        notice=_notice(skip, time_ms) if skip.first < skip.end else None,
        note=note if loses_commands else None,
    )


def _notice(skip: Skip, time_ms: int) -> Output:
    """Return the notice for the dead letters of the stage: no key, and the range as JSON."""
    facts = {
        "reason": SKIPPED,
        "exception": "Skipped",
        "message": f"given up by payments journal skip: {skip}",
        "topic": skip.at.topic,
        "partition": str(skip.at.partition),
        "offset": str(skip.first),
    }
    headers: list[Header] = [
        (f"{HEADER_PREFIX}{name}", text.encode()) for name, text in facts.items()
    ]
    value = encode_skip_notice(skip.first, skip.end)
    size = len(value) + sum(len(name) + len(text or b"") for name, text in headers)
    assert size < Limits().dead_letter_bytes
    type_ = f"{skip.stage.name}.{DEAD_LETTER_TYPE}"
    return Output(skip.stage.dead_letters, skip.at.partition, None, value, type_, time_ms, headers)
