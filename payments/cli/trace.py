"""``payments trace``: print the life of one payment from the topics."""

import asyncio
import time
from typing import TYPE_CHECKING

import click

from payments.cli.exit_codes import NOT_DONE, client_errors
from payments.cli.options import JSON, NAME
from payments.cli.output import printable, show, show_json, talk
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from payments.settings import Settings
    from payments.trace.event import Event
    from payments.trace.reading import Life

CONNECT_SECONDS = 5.0
_WIDTH = 11
"""Of the kind of an event."""


@click.command()
@click.argument("payment", type=NAME, metavar="PAYMENT")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    help="Read only what was written in the last hours.",
)
@click.option(
    "--any-partition",
    is_flag=True,
    help="Read every partition of the commands, whatever partitioner the client has.",
)
@JSON
def trace(payment: str, hours: float | None, *, any_partition: bool, as_json: bool) -> None:
    """Print each record of a payment's life, in order, with its address and its time.

    Commands, transfers, ledger entries, settlements, results, notices and dead letters, with the
    seconds since the record before. Messages between stages of one worker are in no topic, so
    transfers and settlements may be absent. Reads only, and only the partitions of the payment and
    of its account. Exit code 3: the topics have no record of it. With --json, one object on each
    line.

    \b
    Examples:
      payments trace pay-1
      payments trace pay-1 --hours 2
      payments trace pay-1 --json | jq 'select(.event == "result")'
    """
    settings = load_settings()
    silence_client_logs()
    since_ms = 0 if hours is None else int((time.time() - hours * 3600) * 1000)
    with client_errors(settings):
        life = asyncio.run(_read(settings, payment, since_ms, any_partition=any_partition))
    before_ms: int | None = None
    for event in life.events:
        seconds = 0.0 if before_ms is None else (event.time_ms - before_ms) / 1000
        before_ms = event.time_ms
        if as_json:
            show_json(_object(payment, event, seconds))
        else:
            show(_line(event, seconds))
    for address in life.unreadable:
        talk(f"a batch that can't be read may hide more: {address}")
    if not life.events:
        talk(f"no topic has a record of payment {printable(payment)}")
        click.get_current_context().exit(NOT_DONE)


async def _read(
    settings: "Settings", payment: str, since_ms: int, *, any_partition: bool
) -> "Life":
    from exactstage.kafka import KafkaLog
    from payments.topics.file import apply_command
    from payments.trace.reading import life_of

    topics = settings.topics
    log = KafkaLog(
        settings.connection(),
        delivery_timeout_seconds=CONNECT_SECONDS,
        apply_command=apply_command(settings, None),
    )
    try:
        await log.start(
            [
                topics.commands,
                topics.inbox,
                topics.results,
                topics.transfers,
                topics.ledger,
                topics.payments_dead_letters,
                topics.accounts_dead_letters,
            ]
        )
        return await life_of(
            log, settings, payment, since_ms=since_ms, any_partition=any_partition, show=talk
        )
    finally:
        await log.close()


def _line(event: "Event", seconds: float) -> str:
    from exactstage.inspection import iso_time

    time_ = iso_time(max(0, event.time_ms)).decode()
    passed = f"{seconds:+.3f} s"
    return printable(
        f"{time_}  {passed:>12}  {event.kind:<{_WIDTH}}  {event.address}  {event.words}"
    )


def _object(payment: str, event: "Event", seconds: float) -> dict[str, object]:
    from exactstage.inspection import iso_time

    return {
        "payment": payment,
        "event": str(event.kind),
        "time": iso_time(max(0, event.time_ms)).decode(),
        "seconds": seconds,
        "topic": event.address.topic,
        "partition": event.address.partition,
        "offset": event.address.offset,
        **event.fields,
    }
