"""``payments doctor``: examine brokers, rights and topics before a start."""

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from payments.cli.options import JSON
from payments.cli.output import colored, printable, show, show_json
from payments.cli.user_errors import (
    ClusterDiffers,
    load_settings,
    plain_errors,
    silence_client_logs,
)

if TYPE_CHECKING:
    from payments.doctor.examination import Finding
    from payments.settings import Settings

ROLES = ("worker", "gateway", "client", "operator", "recovery")
"""The users of docs/security.md; a gateway has the rights of a client."""

COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), help="The file that describes the topics."
)
@click.option(
    "--fencing/--no-fencing",
    default=True,
    show_default=True,
    help="Prove fencing, with some records and claims on the topic payments.fencing-check.",
)
@click.option(
    "--role",
    type=click.Choice(ROLES),
    help="Role of docs/security.md whose rights this user must have; without it, those of any one.",
)
@JSON
def doctor(file: Path | None, *, fencing: bool, role: str | None, as_json: bool) -> None:
    """Examine everything that a worker's start depends on, and change nothing.

    It examines the connection, the rights of this user, the topics, the journals (all of them are
    read), the brokers' configuration, the codecs, the clocks and the fencing. Clocks and fencing
    are tried on the topic payments.fencing-check, which is there for that. For a client or a
    gateway it examines the connection, the rights and the codecs. The exit code is 2 on a problem,
    69 where no broker answers. With --json, one object on each line.

    \b
    Examples:
      payments doctor --role worker && payments worker
      payments doctor --json | jq 'select(.level == "problem")'
    """
    silence_client_logs()
    settings = load_settings()
    from aiokafka.errors import KafkaConnectionError

    from exactstage import FailStop

    with plain_errors(settings):
        try:
            problems = asyncio.run(_examine(settings, file, fencing, role, as_json=as_json))
        except FailStop as error:
            if isinstance(error.__cause__, KafkaConnectionError):
                raise  # No broker answers, which has an exit code of its own.
            raise ClusterDiffers(str(error)) from error
    if problems:
        message = (
            f"{problems} problem{'s' if problems > 1 else ''} would keep a {role or 'worker'} from "
            f"its work"
        )
        raise ClusterDiffers(message)


async def _examine(
    settings: "Settings",
    file: Path | None,
    fencing: bool,  # noqa: FBT001 - named at the call below
    role: str | None,
    *,
    as_json: bool,
) -> int:
    from payments.doctor.examination import examine
    from payments.topics.file import default_file, read_topics

    wanted = read_topics(file or default_file(), settings)
    problems = 0
    chosen: Any = "client" if role == "gateway" else role
    async for finding in examine(settings, wanted, fencing=fencing, role=chosen):
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
