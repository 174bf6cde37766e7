"""The ``payments`` command: run a worker, ask for its health; plan, apply or check the topics.

Each command imports what it needs when it runs, so ``--help`` answers at once.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments import __version__
from payments.user_errors import Different, load_settings, plain_errors
from payments.verify.command import verify

if TYPE_CHECKING:
    from payments.settings import Settings
    from payments.topics import Plan

FENCING_ROUNDS = 20
LOG_LEVELS = ["debug", "info", "warning", "error"]
COLORS = {"+": "green", "~": "yellow", "-": "red"}


class WebPort(click.ParamType):
    """A port number, or ``none``."""

    name = "port|none"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Return the number, or None for ``none``."""
        if value in {None, "none"}:
            return None
        text = str(value)
        if not text.isdecimal() or not 1 <= int(text) <= 65_535:  # noqa: PLR2004 - the last port
            self.fail(f"{value!r} is neither a port number (1 to 65535) nor none", param, ctx)
        return int(text)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables PAYMENTS_*, for example "
    "PAYMENTS_BROKERS=localhost:9092. The README lists them.",
)
@click.version_option(__version__, prog_name="payments")
def main() -> None:
    """Process payments on Kafka: exactly once, whatever is killed.

    \b
    First the topics, then any number of workers:
      payments topics apply
      payments worker
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its line breaks


@main.command()
@click.option("--instance-id", metavar="ID", help="Static membership: the same at each restart.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
@click.option(
    "--web-port", type=WebPort(), default="none", show_default=True, help="Port of the web pages."
)
def worker(instance_id: str | None, log_level: str, web_port: int | None) -> None:
    """Run one worker until SIGTERM or Ctrl-C, which drain it.

    Workers with the same PAYMENTS_APP_ID share the partitions. Exit code 70 means that the worker
    could not go on (its partitions belong to another one now, say) and shall be started again.

    \b
    Examples:
      payments worker
      payments worker --instance-id worker-1 --web-port 6066
    """  # noqa: D301 - see above
    settings = load_settings(instance_id=instance_id) if instance_id else load_settings()
    with plain_errors(settings):
        from payments.app import run_worker

        sys.exit(run_worker(settings, log_level=log_level, web_port=web_port))


@main.command()
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    envvar="PAYMENTS_HEALTH_FILE",
    show_envvar=True,
    help="The file that the worker renews while it is ready.",
)
def health(file: Path | None) -> None:
    """Exit with 0 if the worker of this host is ready, with 1 if not.

    Ready: it has its partitions and takes commands. The worker needs the same PAYMENTS_HEALTH_FILE.
    """
    from payments.health import problem

    if file is None:
        message = "PAYMENTS_HEALTH_FILE is not set, here and for the worker"
        raise click.ClickException(message)
    if (found := problem(file)) is not None:
        raise click.ClickException(found)
    click.echo("ready")


@main.group()
def topics() -> None:
    """Plan, apply or check the topics of topics.yaml.

    \b
    Examples:
      payments topics plan                   what would be done
      payments topics apply                  do it
      payments topics check -f topics.yaml   exit code 2 if something differs
    """  # noqa: D301 - see above
    # What is tried again is no news here; what is given up on is told by plain_errors, in one line.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("payments").setLevel(logging.ERROR)


main.add_command(verify)


FILE = click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    default="topics.yaml",
    show_default=True,
    help="The file that describes the topics.",
)


@topics.command()
@FILE
def plan(file: Path) -> None:
    """Print what apply would do: + to add, ~ to change, - to remove."""
    settings = load_settings()
    with plain_errors(settings):
        _show(asyncio.run(_plan(settings, file)))


@topics.command()
@FILE
def apply(file: Path) -> None:
    """Create and change topics until all is as the file says."""
    settings = load_settings()
    with plain_errors(settings):
        asyncio.run(_apply(settings, file))


@topics.command()
@FILE
def check(file: Path) -> None:
    """Compare the topics and prove fencing; exit code 2 if not so.

    Fencing: what a worker appends after another one took over its partition must be refused. It is
    tried on the topic payments.fencing-check.
    """
    settings = load_settings()
    with plain_errors(settings):
        asyncio.run(_check(settings, file))


async def _plan(settings: "Settings", file: Path) -> "Plan":
    from payments.topics import cluster
    from payments.topics_file import read_topics

    wanted = read_topics(file, settings)
    async with cluster(settings) as connected:
        return await connected.plan(wanted)


async def _apply(settings: "Settings", file: Path) -> None:
    from payments.topics import cluster
    from payments.topics_file import read_topics

    wanted = read_topics(file, settings)
    async with cluster(settings) as connected:
        found = await connected.plan(wanted)
        _show(found)
        await connected.apply(found, wanted)
    click.echo("Applied." if found.changes else "Nothing to do.")


async def _check(settings: "Settings", file: Path) -> None:
    from payments.topics import TopicsError

    try:
        found = await _plan(settings, file)
    except TopicsError as error:
        raise Different(str(error)) from error
    _show(found)
    if found.changes:
        message = "the topics differ from the file: run payments topics apply"
        raise Different(message)
    await _check_fencing(settings)


async def _check_fencing(settings: "Settings") -> None:
    from payments.engine.kafka.fencing import prove_fencing
    from payments.topics_file import FENCING_TOPIC

    topic = settings.topic(FENCING_TOPIC)
    report = await prove_fencing(settings.connection(), topic, FENCING_ROUNDS)
    tried = report.refused + report.accepted
    click.echo(f"fencing: {report.refused} of {tried} stale appends refused")
    if report.accepted or not tried:
        message = (
            "this broker lets a writer append after its partition was taken over, so payments "
            "could be booked twice: run no worker on it (Apache Kafka 3.9 and 4.1 are known good)"
        )
        raise Different(message)


def _show(found: "Plan") -> None:
    # click leaves the colors out by itself where standard output is not a terminal.
    color = False if os.environ.get("NO_COLOR") else None
    for change in found.changes:
        click.echo(click.style(f"{change.sign} {change.text}", fg=COLORS[change.sign]), color=color)
    click.echo(found.summary())


if __name__ == "__main__":
    main(prog_name="payments")
