"""``payments rebuild``: new journals from the ledger, the results and the commands."""

import asyncio
from typing import TYPE_CHECKING

import click

from exactstage.hosting import freeze_and_relax
from payments.cli.exit_codes import recovery_errors
from payments.cli.options import JSON
from payments.cli.output import show_json
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payments.recovery.rebuilding import Plan
    from payments.recovery.run import Options
    from payments.settings import Settings

MOST_NAMES = 20
"""Payments that a line of text names; ``--json`` has all."""


@click.command()
@click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
@click.option("--replace", is_flag=True, help="Delete and recreate journals that are not empty.")
@click.option(
    "--copied",
    is_flag=True,
    help="The topics are copies (a mirror, a restored backup): their offsets are others.",
)
@click.option(
    "--former-topic",
    metavar="TOPIC",
    help="Name of the commands topic where it was copied from, if it was another.",
)
@click.option(
    "--old-commands",
    type=click.Choice(["answered", "unanswered"]),
    help="How to treat payments' commands whose results retention may have deleted; needed where "
    "any are.",
)
@click.option(
    "--old-account-commands",
    type=click.Choice(["answered", "unanswered"]),
    help="The same for commands for accounts.",
)
@click.option(
    "--accept-lost-entries",
    is_flag=True,
    help="Rebuild from a ledger that lost entries: balances change, unless commands repeat them.",
)
@JSON
def rebuild(
    *,
    yes: bool,
    replace: bool,
    copied: bool,
    former_topic: str | None,
    old_commands: str | None,
    old_account_commands: str | None,
    accept_lost_entries: bool,
    as_json: bool,
) -> None:
    """Rebuild lost or broken journals: a dry run unless --yes is given.

    Accounts come from the ledger, payments from the results; commands without a result are decided
    again. Only journals are written; the worker that starts next publishes what is missing. Every
    worker must be stopped, and the journals must be empty, or --replace deletes them. Run it again
    if it was interrupted: a half-built journal is refused by the workers.

    \b
    Examples:
      payments rebuild                   what it would do
      payments rebuild --yes             journals were deleted, and are there again but empty
      payments rebuild --replace --yes   journals are broken beyond repair
      payments rebuild --copied --yes    the topics were mirrored or restored
    """
    silence_client_logs()
    settings = load_settings()
    if former_topic is not None and not copied:
        message = "--former-topic goes with --copied"
        raise click.UsageError(message)
    with recovery_errors(settings):
        from payments.recovery.folding import processors
        from payments.recovery.gathering import Source
        from payments.recovery.run import Options

        source = Source(copied, former_topic)
        options = Options(
            replace=replace,
            source=source,
            old_commands=old_commands,  # type: ignore[arg-type] # click's Choice
            old_account_commands=old_account_commands,  # type: ignore[arg-type] # the same
            accept_lost_entries=accept_lost_entries,
            processes=processors(),
        )
        plan = asyncio.run(_rebuild(settings, options, dry_run=not yes))
    if as_json:
        guesses = {guess.value: list(names) for guess, names in plan.guesses.items()}
        counts = {"journals": len(plan.journals), **plan.counts}
        show_json({"done": yes, **counts, "not_known": guesses})
    else:
        for words, count in plan.counts.items():
            click.echo(f"{count:,} {words}")
        for guess, names in plan.guesses.items():
            more = f", and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
            click.echo(f"{len(names):,} {guess}: {', '.join(names[:MOST_NAMES])}{more}")
        click.echo(f"{len(plan.journals)} journals {'written' if yes else 'would be written'}")
    if not yes:
        click.echo("Dry run: nothing was changed. Do it with --yes.", err=True)
    else:
        click.echo("Now start a worker, wait until it is idle, and run: payments verify", err=True)


async def _rebuild(settings: "Settings", options: "Options", *, dry_run: bool) -> "Plan":
    from payments.broker_time import broker_time_ms
    from payments.doctor.rights_held import require_role
    from payments.recovery.installation import open_log
    from payments.recovery.offline import require_no_workers
    from payments.recovery.run import rebuild as run
    from payments.topics.cluster import cluster

    async def recreate(topics: "Sequence[str]") -> None:
        async with cluster(settings) as connected:
            await connected.recreate(topics)

    freeze_and_relax()
    await require_role("recovery", [settings], dry_run=dry_run)
    async with open_log(settings) as log:
        return await run(
            log,
            settings,
            options,
            dry_run=dry_run,
            require_offline=lambda: require_no_workers(settings),
            recreate=recreate,
            now_ms=await broker_time_ms(settings),
            show=lambda progress: click.echo(progress, err=True),
        )
