"""``payments doctor``: examine brokers, rights and topics before a start."""

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.cli.options import JSON
from payments.cli.output import colored, printable, show, show_json
from payments.user_errors import Different, load_settings, only_last_words, plain_errors

if TYPE_CHECKING:
    from payments.doctor import Finding
    from payments.settings import Settings

COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), help="The file that describes the topics."
)
@click.option(
    "--fencing",
    is_flag=True,
    help="Prove fencing and compare the clocks too, which writes to a topic.",
)
@JSON
def doctor(file: Path | None, *, fencing: bool, as_json: bool) -> None:
    """Examine what a worker's start would meet, and change nothing.

    It looks at the connection, the rights of this user, the topics, the journals (all of them are
    read), the brokers' configuration and the codecs. The exit code is 2 on a problem, 69 where no
    broker answers. With --json, one object on each line.

    \b
    Examples:
      payments doctor && payments worker
      payments doctor --json | jq 'select(.level == "problem")'
    """  # noqa: D301 - see root.py
    only_last_words()
    settings = load_settings()
    from aiokafka.errors import KafkaConnectionError

    from payments.engine.errors import FailStop

    with plain_errors(settings):
        try:
            problems = asyncio.run(_examine(settings, file, fencing=fencing, as_json=as_json))
        except FailStop as error:
            if isinstance(error.__cause__, KafkaConnectionError):
                raise  # No broker answers, which has an exit code of its own.
            raise Different(str(error)) from error
    if problems:
        message = (
            f"{problems} problem{'s' if problems > 1 else ''} would keep a worker from its work"
        )
        raise Different(message)


async def _examine(settings: "Settings", file: Path | None, *, fencing: bool, as_json: bool) -> int:
    from payments.doctor import examine
    from payments.topics_file import default_file, read_topics

    wanted = read_topics(file or default_file(), settings)
    problems = 0
    async for finding in examine(settings, wanted, fencing=fencing):
        problems += finding.level == "problem"
        if as_json:
            show_json(dataclasses.asdict(finding))
        else:
            _show(finding)
    return problems


def _show(finding: "Finding") -> None:
    line = f"{finding.what} {finding.where}: {finding.value}"
    if finding.next_step:
        line += f" -> {finding.next_step}"
    show(f"{colored(finding.level.ljust(7), COLORS[finding.level])}  {printable(line)}")
