"""``payments dead-letters``: list, show and replay what was dead-lettered."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.cli.ending import Attempt
from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.lazy import Group
from payments.cli.letters import HEAD, details, row, show_details, summary
from payments.cli.options import DEADLINE, JSON
from payments.cli.output import show_json, show_table, talk
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from payments.dead_letters.letter import DeadLetter
    from payments.records.record_address import RecordAddress
    from payments.settings import Settings

MARKS = {True: "[replayed] ", False: "", None: "[replayed?] "}
NOTICE_MARK = "[notice] "
STAGES = ["payments", "accounts"]
POSITION = "TOPIC/PARTITION/OFFSET"
AS_GIVEN = "utf-8", "surrogateescape"
"""Keeps the bytes of an argument that are not UTF-8, so that the parser can refuse them."""


class RecordAddressType(click.ParamType):
    """The record address of a dead letter, as ``list`` prints it."""

    name = "position"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> "RecordAddress":
        """Return the position."""
        from payments.records.record_address import RecordAddress

        try:
            return RecordAddress.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(cls=Group)
def dead_letters() -> None:
    """List, show or replay what was dead-lettered.

    A record that is no command, or that met a defect, is dead-lettered with its bytes untouched.

    \b
    Examples:
      payments dead-letters list
      payments dead-letters show payments.dead-letters/3/17
      payments dead-letters replay payments.dead-letters/3/17
    """
    silence_client_logs()


@dead_letters.command(name="list")
@click.option("--stage", type=click.Choice(STAGES), help="Only those of one stage.")
@click.option(
    "--topic", "topics", multiple=True, help="Those of a stage of your own, on this topic."
)
@click.option("--reason", help="Only those with this reason code.")
@click.option(
    "--to", multiple=True, metavar="TOPIC", help="With --topic: where they may have been replayed."
)
@JSON
def list_(
    stage: str | None,
    topics: tuple[str, ...],
    reason: str | None,
    to: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """List dead letters: position, age, reason, key, message.

    The message of a replayed letter begins with [replayed]. Replays are searched among the commands
    and results since the oldest letter of the list: [replayed?] where some of these were deleted.
    [notice] marks a notice of a range of offsets, which can't be replayed. With --json, one object
    on each line; replayed is true, false or null, notice true or false. With --topic, replays are
    searched on the topics where the records came in and on those of --to: [replayed] where one is
    there, else no mark (null).

    \b
    Examples:
      payments dead-letters list --reason internal_error
      payments dead-letters list --json | jq -r .position
      payments dead-letters list --topic shop.points.dead-letters
    """
    if stage and topics:
        message = "--stage names a stage of the payments, --topic another topic: give one of them"
        raise click.UsageError(message)
    if to and not topics:
        raise click.UsageError("--to is about an own stage's letters: give their --topic too")
    settings = load_settings()
    now_ms = int(time.time() * 1000)
    of_stages = list(map(settings.topics.dead_letters, [stage] if stage else STAGES))
    with client_errors(settings):
        found = asyncio.run(_list(settings, of_stages, topics, reason, to=to, now_ms=now_ms))
    if as_json:
        for data, _ in found:
            show_json(data)
    else:
        show_table(HEAD, [cells for _, cells in found])
    talk(f"dead letters: {len(found)}")


async def _list(
    settings: "Settings",
    of_stages: Sequence[str],
    others: Sequence[str],
    reason: str | None,
    *,
    to: Sequence[str],
    now_ms: int,
) -> list[tuple[dict[str, object], list[str]]]:
    """Return the object and the cells of each letter, oldest first, but not the large letters."""
    from payments.dead_letters import resending
    from payments.dead_letters.reading import open_dead_letters

    places = set(to)
    received_ms: dict[RecordAddress, int] = {}
    notices: set[RecordAddress] = set()
    found: list[tuple[int, RecordAddress, dict[str, object], list[str]]] = []
    async with open_dead_letters(settings, others) as letters:
        async with aclosing(letters.all(others or of_stages)) as fetched:
            async for letter in fetched:
                if reason in (None, letter.reason):
                    at = letter.position
                    if letter.is_notice:
                        notices.add(at)
                    else:
                        received_ms[at] = letter.received_ms
                        places.add(letter.facts.get("topic", ""))
                    found.append((letter.time_ms, at, summary(letter, now_ms), row(letter, now_ms)))
        places -= {"", *letters.not_for_replays}
        replayed = {} if others else await letters.replayed(received_ms)
    if others:
        replayed = dict.fromkeys(await resending.replayed(settings, received_ms, places), True)
    found.sort(key=lambda each: each[0])
    marked: list[tuple[dict[str, object], list[str]]] = []
    for _, at, data, cells in found:
        is_notice = at in notices
        mark = NOTICE_MARK if is_notice else MARKS[replayed[at]] if at in replayed else ""
        replay = {"replayed": False if is_notice else replayed.get(at), "notice": is_notice}
        marked.append((data | replay, [*cells[:-1], mark + cells[-1]]))
    return marked


@dead_letters.command()
@click.argument("position", type=RecordAddressType(), metavar=POSITION)
@JSON
def show(position: "RecordAddress", *, as_json: bool) -> None:
    """Show one dead letter: reason, key, value and headers.

    With --json, bytes that are not UTF-8 are {"base64": ...}.

    \b
    Examples:
      payments dead-letters show payments.dead-letters/3/17
      payments dead-letters show payments.dead-letters/3/17 --json | jq -r .value
    """
    settings = load_settings()
    with client_errors(settings):
        letter = asyncio.run(_find(settings, position))
    if as_json:
        show_json(details(letter))
    else:
        show_details(letter, int(time.time() * 1000))


def own_topics(settings: "Settings", positions: "Sequence[RecordAddress]") -> list[str]:
    """Return the topics of these positions that are none of the payments' dead letters."""
    of_payments = set(map(settings.topics.dead_letters, STAGES))
    return list(dict.fromkeys(at.topic for at in positions if at.topic not in of_payments))


async def _find(settings: "Settings", position: "RecordAddress") -> "DeadLetter":
    from payments.dead_letters.reading import open_dead_letters

    async with open_dead_letters(settings, own_topics(settings, [position])) as letters:
        return await letters.get(position)


@dead_letters.command()
@click.argument(
    "positions", type=RecordAddressType(), nargs=-1, required=True, metavar=f"{POSITION}..."
)
@click.option("--value", help="The corrected value, instead of the letter's own.")
@click.option(
    "--value-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True),
    help="A file with the corrected value; - is standard input.",
)
@click.option("--key", help="The corrected key: the id of the payment or account.")
@click.option("--to", metavar="TOPIC", help="Of an own stage's letter: another input of the stage.")
@click.option("--yes", is_flag=True, help="Send; without it nothing is sent.")
@click.option("--again", is_flag=True, help="Send even what may have been replayed before.")
@DEADLINE
@JSON
def replay(
    positions: "tuple[RecordAddress, ...]",
    value: str | None,
    value_file: Path | None,
    key: str | None,
    to: str | None,
    *,
    yes: bool,
    again: bool,
    deadline_seconds: float,
    as_json: bool,
) -> None:
    """Send commands that were dead-lettered once more: a dry run unless --yes is given.

    Only a well-formed command is sent: one that met a defect that is corrected by now, or one that
    is corrected here: save its value (show POSITION --json | jq -r .value), edit it, give
    --value-file. The command's id is made from the dead letter's position, so a second replay is
    recognised and refused, whatever its key. Exit code 3: a letter was refused, or a command was
    not carried out.

    A letter of an own stage is sent as it was received to the topic where it came in, or --to
    another input of the stage, which no stage writes; see docs/extend.md.

    \b
    Examples:
      payments dead-letters replay payments.dead-letters/3/17
      payments dead-letters replay payments.dead-letters/3/17 --yes
      payments dead-letters replay payments.dead-letters/0/4 \\
          --value '{"type":"make","account":"abc","amount":100}' --yes
    """
    chosen = list(dict.fromkeys(positions))
    if value is not None and value_file is not None:
        message = "give the value by --value or by --value-file, not by both"
        raise click.UsageError(message)
    corrected = _read(value_file) if value is None else value.encode(*AS_GIVEN)
    if len(chosen) > 1 and (corrected is not None or key is not None):
        message = "a corrected key or value is for one dead letter: give one position"
        raise click.UsageError(message)
    settings = load_settings()
    own = own_topics(settings, chosen)
    if to and not own:
        message = "--to is for letters of an own stage: a command goes to the topic of the commands"
        raise click.UsageError(message)
    if own and len(own) < len({position.topic for position in chosen}):
        message = "give letters of the payments, or of an own stage, not both"
        raise click.UsageError(message)
    attempt = Attempt()
    with attempt.truthful(), client_errors(settings):
        from payments.cli.replaying import Options, run, run_own
        from payments.dead_letters.replaying import Correction

        correction = Correction(None if key is None else key.encode(*AS_GIVEN), corrected)
        options = Options(yes, again, deadline_seconds, as_json, to)
        run_these = run_own if own else run
        outcome = asyncio.run(run_these(settings, chosen, correction, options, attempt))
    if not yes:
        talk(f"Dry run: nothing was sent. {_next_step(outcome.sendable, len(chosen))}")
    if not outcome.done:
        click.get_current_context().exit(NOT_DONE)


def _next_step(sendable: int, chosen: int) -> str:
    if not sendable:
        return "--yes would send nothing either: each line has the reason and the next step."
    return "Send with --yes." if sendable == chosen else f"--yes sends {sendable} of {chosen}."


def _read(file: Path | None) -> bytes | None:
    from payments.records.misread import UTF8_MARK

    if file is None:
        return None
    with click.open_file(str(file), "rb") as opened:
        content: bytes = opened.read()
    # Editors end a file with a line break, and some begin it with a byte order mark; a command
    # needs neither.
    return content.removeprefix(UTF8_MARK).removesuffix(b"\n")
