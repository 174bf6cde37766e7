"""``payments topics``: plan, apply or check the topics of ``topics.yaml``."""

import asyncio
import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payments.cli.lazy import Group
from payments.cli.options import JSON
from payments.cli.output import colored, printable, show, show_json
from payments.cli.user_errors import (
    ClusterDiffers,
    load_settings,
    plain_errors,
    silence_client_logs,
)

if TYPE_CHECKING:
    from exactstage.kafka import FencingReport
    from payments.settings import Settings
    from payments.topics.cluster import Plan
    from payments.topics.file import Topic
    from payments.topics.strimzi import Authentication

FENCING_ROUNDS = 20
COLORS = {"+": "green", "~": "yellow", "-": "red"}


@click.group(cls=Group)
def topics() -> None:
    """Plan, apply or check the topics of topics.yaml.

    \b
    Examples:
      payments topics plan                   print the changes
      payments topics apply                  do it
      payments topics check -f topics.yaml   exit code 2 if something differs
      payments topics strimzi --cluster kafka   the same topics as resources of Kubernetes
    """
    silence_client_logs()


FILE = click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    help="The file that describes the topics; by default topics.yaml of the present folder, or, "
    "where there is none, that of the package.",
)


@topics.command()
@FILE
@JSON
def plan(file: Path | None, *, as_json: bool) -> None:
    """Print what apply would do: + to add, ~ to change, - to remove.

    \b
    Examples:
      payments topics plan -f topics.yaml
      payments topics plan --json | jq .changes
    """
    settings = load_settings()
    with plain_errors(settings):
        found = asyncio.run(_plan(settings, file))
    if as_json:
        show_json(dataclasses.asdict(found))
    else:
        _show(found)


@topics.command()
@FILE
@JSON
def apply(file: Path | None, *, as_json: bool) -> None:
    """Create and change topics until they are as in the file.

    \b
    Examples:
      payments topics apply
      payments topics apply --json | jq .changes   what was done
    """
    settings = load_settings()
    with plain_errors(settings):
        asyncio.run(_apply(settings, file, as_json=as_json))


@topics.command()
@FILE
@JSON
def check(file: Path | None, *, as_json: bool) -> None:
    """Compare the topics and prove fencing; exit code 2 if either fails.

    Fencing: appends of a worker after another one took over its partition must be refused. It is
    tried on the topic payments.fencing-check.

    \b
    Examples:
      payments topics check && payments worker
      payments topics check --json | jq .fencing   null if the topics differ
    """
    settings = load_settings()
    with plain_errors(settings):
        asyncio.run(_check(settings, file, as_json=as_json))


@topics.command()
@FILE
@click.option("--cluster", required=True, help="The name of Strimzi's Kafka resource.")
@click.option(
    "--users",
    "authentication",
    type=click.Choice(["scram-sha-512", "tls"]),
    help="Print a KafkaUser for each role too, with this way to log in.",
)
def strimzi(file: Path | None, cluster: str, authentication: "Authentication | None") -> None:
    """Print the topics as KafkaTopic resources of Strimzi; no broker is asked.

    Users have the least rights of each role (docs/security.md).

    \b
    Examples:
      payments topics strimzi --cluster kafka | kubectl apply -n kafka -f -
      payments topics strimzi --cluster kafka --users scram-sha-512 > strimzi.yaml
    """
    import yaml

    from payments.topics.strimzi import topics, users

    settings = load_settings()
    with plain_errors(settings):
        resources = list(topics(_read(settings, file), cluster))
        if authentication is not None:
            resources += users(settings, cluster, authentication)
    show(yaml.safe_dump_all(resources, sort_keys=False, explicit_start=True).rstrip())


def _read(settings: "Settings", file: Path | None) -> "tuple[Topic, ...]":
    from payments.topics.file import PACKAGED, default_file, read_topics

    chosen = file or default_file()
    if file is None and chosen != PACKAGED:
        click.echo(f"the topics are those of {chosen} in this folder", err=True)
    return read_topics(chosen, settings)


async def _plan(settings: "Settings", file: Path | None) -> "Plan":
    from payments.topics.cluster import cluster

    wanted = _read(settings, file)
    async with cluster(settings) as connected:
        return await connected.plan(wanted)


async def _apply(settings: "Settings", file: Path | None, *, as_json: bool) -> None:
    from payments.topics.cluster import cluster

    wanted = _read(settings, file)
    async with cluster(settings) as connected:
        found = await connected.plan(wanted)
        if not as_json:
            _show(found)
        await connected.apply(found, wanted)
    if as_json:
        show_json(dataclasses.asdict(found))
    else:
        show("Applied." if found.changes else "Nothing to do.")


async def _check(settings: "Settings", file: Path | None, *, as_json: bool) -> None:
    from payments.topics.cluster import TopicsError

    try:
        found = await _plan(settings, file)
    except TopicsError as error:
        raise ClusterDiffers(str(error)) from error
    if not as_json:
        _show(found)
    report = None if found.changes else await _prove_fencing(settings)
    if as_json:
        fencing = None if report is None else report._asdict()
        show_json({**dataclasses.asdict(found), "fencing": fencing})
    if report is None:
        named = "" if file is None else f" --file {shlex.quote(str(file))}"
        message = f"the topics differ from the file: run payments topics apply{named}"
        raise ClusterDiffers(message)
    tried = report.refused + report.accepted
    if not as_json:
        show(f"fencing: {report.refused} of {tried} stale appends refused")
    if report.accepted or not tried:
        message = (
            "this broker lets a writer append after its partition was taken over, so payments "
            "could be booked twice: run no worker on it (Apache Kafka 3.9 and 4.1 are known good)"
        )
        raise ClusterDiffers(message)


async def _prove_fencing(settings: "Settings") -> "FencingReport":
    from exactstage.kafka import prove_fencing

    topic = settings.topics.fencing_check
    return await prove_fencing(settings.connection(), topic, FENCING_ROUNDS)


def _show(found: "Plan") -> None:
    for change in found.changes:
        show(colored(printable(f"{change.sign} {change.text}"), COLORS[change.sign]))
    show(found.summary())
