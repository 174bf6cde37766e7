"""The work of ``payments dead-letters replay``: judge the letters, print, and send with --yes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from payments.cli import account
from payments.cli.ending import Attempt
from payments.cli.options import connect
from payments.cli.output import colored, printable, show, show_json
from payments.cli.payment import is_done, line_of
from payments.dead_letters import reading, resending
from payments.dead_letters.replaying import Correction, Verdict, judge
from payments.dead_letters.resending import Resend
from payments.records.record_address import RecordAddress
from payments.records.record_models import AccountResult, Result, members
from payments.settings import Settings

if TYPE_CHECKING:
    from payments.client import PaymentsClient


_COLORS = {"refused": "red", "sent": "green", "would send": "yellow"}


class Options(NamedTuple):
    """The options of the command."""

    yes: bool
    again: bool
    deadline_seconds: float
    as_json: bool
    to: str | None = None
    """Topic for the letters of an own stage, if not where they came in."""


class Outcome(NamedTuple):
    """The outcome for all letters."""

    sendable: int
    """How many can be sent as they are, or with a correction."""

    done: bool
    """Whether all was, or can be, done."""


async def run(
    settings: Settings,
    positions: Sequence[RecordAddress],
    correction: Correction,
    options: Options,
    attempt: Attempt,
) -> Outcome:
    """Judge, print, and send where ``options.yes``."""
    async with reading.open_dead_letters(settings) as letters:
        chosen = [await letters.get(position) for position in positions]
        verdicts = await judge(letters, chosen, settings, correction, again=options.again)
        sendable = sum(verdict.replay is not None for verdict in verdicts)
        if not options.yes or not sendable:
            for verdict in verdicts:
                _show(verdict, None, options)
            return Outcome(sendable, sendable == len(verdicts))
        async with connect(settings, options.deadline_seconds) as client:
            done = [await _send(client, verdict, options, attempt) for verdict in verdicts]
            return Outcome(sendable, all(done))


async def run_own(
    settings: Settings,
    positions: Sequence[RecordAddress],
    correction: Correction,
    options: Options,
    attempt: Attempt,
) -> Outcome:
    """Judge, print and send letters of an own stage, which alone decides their outcome."""
    topics = {position.topic for position in positions}
    async with reading.open_dead_letters(settings, sorted(topics)) as letters:
        chosen = [await letters.get(position) for position in positions]
    topics |= {options.to or letter.facts.get("topic") or "" for letter in chosen} - {""}
    sendable = 0
    async with reading.open_dead_letters(settings, sorted(topics)) as letters:
        for letter in chosen:
            resend = await resending.judge(
                letters, letter, correction, to=options.to, again=options.again
            )
            sent = None
            if options.yes and resend.at is not None:
                attempt.begin()
                sent = await resending.send(letters, resend)
                attempt.answer()
            sendable += resend.at is not None
            _show_own(resend, sent, options)
    return Outcome(sendable, sendable == len(chosen))


def _show_own(resend: Resend, sent: RecordAddress | None, options: Options) -> None:
    action = "refused" if resend.at is None else "would send" if sent is None else "sent"
    where = sent or resend.at
    if options.as_json:
        show_json(
            {
                "position": str(resend.letter.position),
                "action": action,
                "to": where and str(where),
                "message": resend.refusal,
            }
        )
        return
    text = resend.refusal or f"to {where}: the stage decides, see its outputs and dead letters"
    show(f"{resend.letter.position}  {colored(action, _COLORS[action])}  {printable(text)}")


async def _send(
    client: "PaymentsClient", verdict: Verdict, options: Options, attempt: Attempt
) -> bool:
    if verdict.replay is None:
        _show(verdict, None, options)
        return False
    name, command, of_account = verdict.replay
    seconds = options.deadline_seconds
    result: Result | AccountResult
    attempt.begin()
    if of_account:
        result = await client.account_commands.send(name, command, deadline_seconds=seconds)
    else:
        result = await client.send(name, command, deadline_seconds=seconds)
    attempt.answer()
    _show(verdict, result, options)
    return is_done(result) if isinstance(result, Result) else account.is_done(result)


def _show(verdict: Verdict, result: Result | AccountResult | None, options: Options) -> None:
    replay = verdict.replay
    action = "refused" if replay is None else "would send" if result is None else "sent"
    if options.as_json:
        show_json(
            {
                "position": str(verdict.letter.position),
                "action": action,
                "payment": None if replay is None or replay.of_account else replay.name,
                "account": replay.name if replay is not None and replay.of_account else None,
                "command": replay and replay.command,
                "message": verdict.refusal,
                "result": result and members(result),
            }
        )
        return
    if replay is None:
        text = verdict.refusal or ""
    elif result is None:
        text = f"{replay.name}: {json.dumps(replay.command, ensure_ascii=False)}"
    else:
        text = line_of(result) if isinstance(result, Result) else account.line_of(result)
    show(f"{verdict.letter.position}  {colored(action, _COLORS[action])}  {printable(text)}")
