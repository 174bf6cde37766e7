"""Replaying: decides which dead letters may be replayed: well-formed now, not replayed before.

The guarantee: the id of its command shows an earlier replay of a letter for as long as the commands
topic keeps that command; where the command may have been deleted, the replay is refused too. Two
replays at the same moment may both send. Then the payment's id decides, as for any command that is
sent twice: the money moves once within the retention of payments.
"""

from collections.abc import Sequence
from typing import NamedTuple

from payments.dead_letters.letter import DeadLetter, NotReplayable, Replay, replay_of
from payments.dead_letters.reading import DeadLetters, Sent
from payments.records.record_models import Result
from payments.settings import Settings


class Correction(NamedTuple):
    """The key and value that replace a letter's own; None keeps them."""

    key: bytes | None = None
    value: bytes | None = None


class Verdict(NamedTuple):
    """The decision on a letter: either a replay or a refusal."""

    letter: DeadLetter
    replay: Replay | None
    refusal: str | None = None


async def judge(
    letters: DeadLetters,
    chosen: Sequence[DeadLetter],
    settings: Settings,
    correction: Correction,
    *,
    again: bool,
) -> list[Verdict]:
    """Return a verdict on each letter; ``again`` leaves out the search for earlier replays."""
    verdicts = [_well_formed(letter, settings, correction) for letter in chosen]
    sendable = [verdict.letter for verdict in verdicts if verdict.replay is not None]
    if again or not sendable:
        return verdicts
    sent = await letters.sent(
        [letter.position for letter in sendable],
        since_ms=min(letter.received_ms for letter in sendable),
    )
    known = {
        letter.position
        for letter in sendable
        if await letters.reach_back_to(letter.received_ms, letter.position.topic)
    }
    return [
        verdict
        if verdict.replay is None
        else _first_time(verdict, sent, known=verdict.letter.position in known)
        for verdict in verdicts
    ]


def _well_formed(letter: DeadLetter, settings: Settings, correction: Correction) -> Verdict:
    try:
        replay = replay_of(letter, settings, key=correction.key, value=correction.value)
    except NotReplayable as fault:
        return Verdict(letter, None, str(fault))
    return Verdict(letter, replay)


def _first_time(verdict: Verdict, sent: Sent, *, known: bool) -> Verdict:
    command_id = verdict.letter.command_id
    result = sent.results.get(command_id)
    if result is not None:
        key = (
            f"payment {result.payment}"
            if isinstance(result, Result)
            else f"account {result.account}"
        )
        refusal = f"it was replayed before as {key}: {result.outcome}"
    elif command_id in sent.commands:
        refusal = "it was replayed before; its command has no result yet"
    elif not known:
        refusal = (
            "it is older than the commands that are still in their topic, so an earlier replay "
            "can't be excluded"
        )
    else:
        return verdict
    return verdict._replace(replay=None, refusal=f"{refusal} (--again sends it all the same)")
