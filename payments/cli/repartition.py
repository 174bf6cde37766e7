"""``payments repartition``: another number of partitions, in topics of another prefix."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exactstage.hosting import freeze_and_relax
from payments.cli.exit_codes import recovery_errors
from payments.cli.options import JSON
from payments.cli.output import show_json
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from payments.settings import Settings


@click.command()
@click.option(
    "--partitions",
    required=True,
    type=click.IntRange(1, 4096),
    help="The new number of partitions.",
)
@click.option("--to-prefix", required=True, help="PAYMENTS_TOPIC_PREFIX of the new topics.")
@click.option("--to-app", required=True, help="PAYMENTS_APP_ID of the new installation.")
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), help="As of payments topics: topics.yaml."
)
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@JSON
def repartition(
    partitions: int, to_prefix: str, to_app: str, file: Path | None, *, yes: bool, as_json: bool
) -> None:
    """Copy an installation to topics with another number of partitions: a dry run without --yes.

    Creates the new topics, copies commands, results, ledger and dead letters with each key to its
    new partition, and rebuilds the journals. The old topics stay as they are, and their journals
    are marked as moved: no worker takes them over. Every worker must be stopped. If it was
    interrupted, delete the new topics and run it again.

    \b
    Examples:
      payments repartition --partitions 32 --to-prefix p32. --to-app payments-32
      payments repartition --partitions 32 --to-prefix p32. --to-app payments-32 --yes
    """
    silence_client_logs()
    settings = load_settings()
    if to_prefix == settings.topic_prefix or to_app == settings.app_id:
        message = "the new prefix and app id must be others than the present ones"
        raise click.UsageError(message)
    with recovery_errors(settings):
        new = settings.model_copy(
            update={"partitions": partitions, "topic_prefix": to_prefix, "app_id": to_app}
        )
        counts = asyncio.run(_repartition(settings, new, file, yes=yes))
    if as_json:
        show_json({"done": yes, **counts})
    else:
        for words, count in counts.items():
            click.echo(f"{count:,} {words}" if isinstance(count, int) else f"{words}: {count}")
    if yes:
        click.echo(
            f"Now set PAYMENTS_PARTITIONS={partitions} PAYMENTS_TOPIC_PREFIX={to_prefix} "
            f"PAYMENTS_APP_ID={to_app} for workers, gateways and clients, start a worker, and run: "
            f"payments verify",
            err=True,
        )
    else:
        click.echo("Dry run: nothing was changed. Do it with --yes.", err=True)


async def _repartition(
    settings: "Settings", new: "Settings", file: Path | None, *, yes: bool
) -> dict[str, Any]:
    from payments.doctor.rights_held import require_role
    from payments.recovery.moving import move, preview
    from payments.recovery.offline import require_no_workers
    from payments.topics.cluster import cluster
    from payments.topics.file import default_file, read_topics

    freeze_and_relax()
    await require_role("recovery", [settings, new], dry_run=not yes)
    await require_no_workers(settings)
    await require_no_workers(new)
    copied = await preview(settings, new)  # It refuses before anything is made.
    if not yes:
        return copied
    wanted = read_topics(file or default_file(), new)
    async with cluster(new) as connected:
        await connected.apply(await connected.plan(wanted), wanted)
    return await move(
        settings, new, int(time.time() * 1000), lambda progress: click.echo(progress, err=True)
    )
