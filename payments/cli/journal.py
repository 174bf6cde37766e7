"""``payments journal``: inspect the journals, and skip or repair records that stop a worker."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from payments.cli.exit_codes import NOT_DONE, recovery_errors
from payments.cli.lazy import Group
from payments.cli.options import JSON
from payments.cli.output import printable, show_json
from payments.cli.user_errors import load_settings, silence_client_logs

if TYPE_CHECKING:
    from payments.recovery.adopting import Adoption
    from payments.recovery.inspecting import Foreign, Held, Input, Inspected
    from payments.recovery.repairing import Repair
    from payments.recovery.skipping import Skip
    from payments.settings import Settings

STAGES = ["payments", "accounts"]
YES = click.option("--yes", is_flag=True, help="Do it; without it nothing is changed.")
DRY_RUN = "Dry run: nothing was changed. Do it with --yes."


@click.group(cls=Group)
def journal() -> None:
    """Inspect the journals, and skip or repair records at which a worker stops.

    All but inspect need every worker of the installation stopped, and refuse to run otherwise.
    docs/runbook.md has the command for each message of a worker.

    \b
    Examples:
      payments journal inspect
      payments journal skip --topic payments.commands --partition 3 --lost
    """
    silence_client_logs()


@journal.command()
@click.option("--stage", type=click.Choice(STAGES), help="Only the journals of one stage.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.")
@JSON
def inspect(stage: str | None, partition: int | None, *, as_json: bool) -> None:
    """Show the contents of each journal: commits, offsets, sources, tails, rows, foreign records.

    Reads only, and works while workers run, whose progress changes the numbers. With --json, one
    object on each line.

    \b
    Examples:
      payments journal inspect
      payments journal inspect --stage accounts --partition 3
      payments journal inspect --json | jq 'select(.foreign_records > 0)'
    """
    settings = load_settings()
    if partition is not None and partition >= settings.partitions:
        message = f"the last partition is {settings.partitions - 1} (PAYMENTS_PARTITIONS)"
        raise click.UsageError(message)
    wanted = range(settings.partitions) if partition is None else [partition]
    with recovery_errors(settings):
        found = asyncio.run(_inspect(settings, stage, wanted))
    for each in found:
        if as_json:
            show_json(each.as_json())
        else:
            click.echo("\n".join(_lines(each)))


async def _inspect(
    settings: "Settings", stage: str | None, partitions: "range | list[int]"
) -> "list[Inspected]":
    from payments.recovery import repairing
    from payments.recovery.inspecting import inspect as look
    from payments.recovery.installation import open_log, stages_of

    stages = [each for each in stages_of(settings) if stage in (None, each.name)]
    async with open_log(settings) as log:
        find = repairing.foreign_records(log, settings.partitions)
        return await look(log, stages, partitions, find)


def _lines(found: "Inspected") -> Iterator[str]:
    held, last = found.held, found.held.last
    yield (
        f"{found.stage}/{held.at.partition}: {held.at.topic}/{held.at.partition}, offsets "
        f"{held.bounds.first} to {held.bounds.end}, {len(held.rows):,} rows"
    )
    if last is None:
        yield "  no checkpoint: nothing was decided yet, or the journal was lost"
    else:
        yield (
            f"  last commit {last.n}, published up to {last.published} "
            f"({held.unpublished} outputs are not known to be published)"
        )
    if (identity := held.identity) is not None:
        yield f"  installation {identity.installation} on cluster {identity.cluster}"
        if identity.settings:
            yield f"  decided with {', '.join(f'{k}={v}' for k, v in identity.settings.items())}"
    if held.missing:
        yield f"  LACKS the checkpoints {held.missing}"
    for each in found.inputs:
        yield f"  input {_input(each)}"
    for topic, tail in found.tails.items():
        ahead = "  AHEAD of the journal" if topic in found.tails_ahead else ""
        shown = (
            "nothing of this stage" if tail.output_id < (0, 0) else f"commit {tail.output_id[0]}"
        )
        yield f"  output {topic}/{held.at.partition} ends with {shown}{ahead}"
    sources = found.as_json()["sources"]
    if sources:
        listing = ", ".join(f"{name} {commit}/{index}" for name, (commit, index) in sources.items())
        yield f"  last messages from: {listing}"
    yield from _faults(held)


def _faults(held: "Held") -> Iterator[str]:
    for each in held.unreadable:
        yield (
            f"  UNREADABLE {held.at.address(each.offset)} to offset "
            f"{each.last_offset}: {printable(each.why)}; restore the partition from another "
            f"replica or a backup, else: payments rebuild --replace"
        )
    for foreign in held.foreign:
        yield (
            f"  FOREIGN {held.at.address(foreign.offset)} "
            f"key {printable(foreign.key, 60)}: {foreign.why}{_undone(foreign)}"
        )
    if held.foreign_count > len(held.foreign):
        yield f"  and {held.foreign_count - len(held.foreign):,} more foreign records"


def _undone(foreign: "Foreign") -> str:
    return " (undone by a later record; compaction removes it)" if foreign.undone else ""


def _input(found: "Input") -> str:
    held = f"the broker has {found.first} to {found.end}"
    if found.position is None:
        return f"{found.topic}: no position yet, {held}"
    if found.truncated_at is not None:
        return (
            f"{found.topic}: next {found.position}, {held}  TRUNCATED: records that were handled "
            f"from {found.truncated_at} on are lost"
        )
    lost = f"  LOST: {found.lost} offsets are not there" if found.lost else ""
    return f"{found.topic}: next {found.position}, {found.behind} behind, {held}{lost}"


@journal.command()
@click.option("--topic", required=True, help="The input topic, with its prefix.")
@click.option("--partition", required=True, type=click.IntRange(min=0), help="Its partition.")
@click.option("--to", type=click.IntRange(min=0), help="The offset to handle next.")
@click.option("--lost", is_flag=True, help="Continue at the records that the broker has.")
@YES
@JSON
def skip(
    topic: str, partition: int, to: int | None, *, lost: bool, yes: bool, as_json: bool
) -> None:
    """Skip a range of an input that is gone, or must not be read: a dry run without --yes.

    Skipped commands are never carried out: they get no result, until they are sent again. A notice
    on the dead letters (reason skipped) names the range, and payments verify reads it. Where the
    topic lost records that were handled, --lost goes back to where it was truncated and skips
    nothing. Refused while the installation has workers.

    \b
    Examples:
      payments journal skip --topic payments.commands --partition 3 --lost
      payments journal skip --topic payments.commands --partition 3 --to 1200 --yes
    """
    if lost == (to is not None):
        message = "give either --to OFFSET or --lost"
        raise click.UsageError(message)
    settings = load_settings()
    with recovery_errors(settings):
        done = asyncio.run(_skip(settings, topic, partition, to, yes=yes))
    if as_json:
        show_json({**done.as_json(), "done": yes})
    else:
        click.echo(f"{'skipped' if yes else 'would skip'}: {done}")
    if not yes:
        click.echo(DRY_RUN, err=True)


async def _skip(
    settings: "Settings", topic: str, partition: int, to: int | None, *, yes: bool
) -> "Skip":
    from exactstage import TopicPartition
    from payments.broker_time import broker_time_ms
    from payments.doctor.rights_held import require_role
    from payments.recovery import skipping
    from payments.recovery.installation import open_log, stages_of
    from payments.recovery.offline import require_no_workers

    stages = stages_of(settings)
    await require_role("recovery", [settings], dry_run=not yes)
    async with open_log(settings) as log:
        await require_no_workers(settings)
        found = await skipping.plan(log, stages, TopicPartition(topic, partition), to)
        if found.at.topic in found.stage.internal_inputs:
            click.echo(skipping.INTERNAL_WARNING, err=True)
        if yes:
            await skipping.carry_out(
                log, settings.app_id, stages, found, time_ms=await broker_time_ms(settings)
            )
        return found


@journal.command()
@click.option("--stage", type=click.Choice(STAGES), help="Only the journals of one stage.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.")
@YES
@JSON
def repair(stage: str | None, partition: int | None, *, yes: bool, as_json: bool) -> None:
    """Undo other programs' records on journals: a dry run without --yes.

    Appends tombstones for keys that no stage has, and the last good row or checkpoint again where a
    foreign record replaced it. Where that is no longer in the log, only payments rebuild helps:
    exit code 3. Refused while the installation has workers.

    \b
    Examples:
      payments journal repair
      payments journal repair --stage payments --partition 3 --yes
    """
    settings = load_settings()
    wanted = range(settings.partitions) if partition is None else [partition]
    with recovery_errors(settings):
        found = asyncio.run(_repair(settings, stage, wanted, yes=yes))
    for each in found:
        if as_json:
            show_json({**each.as_json(), "done": yes})
        else:
            click.echo("\n".join(_repair_lines(each, yes=yes)))
    if not found:
        click.echo("no journal has foreign records", err=True)
    elif not yes:
        click.echo(DRY_RUN, err=True)
    if not all(each.can_be_repaired for each in found):
        click.get_current_context().exit(NOT_DONE)


async def _repair(
    settings: "Settings", stage: str | None, partitions: "range | list[int]", *, yes: bool
) -> "list[Repair]":
    from exactstage import TopicPartition
    from payments.doctor.rights_held import require_role
    from payments.recovery import repairing
    from payments.recovery.installation import open_log, stages_of
    from payments.recovery.offline import require_no_workers

    stages = stages_of(settings)
    found: list[Repair] = []
    await require_role("recovery", [settings], dry_run=not yes)
    async with open_log(settings) as log:
        await require_no_workers(settings)
        for each in stages:
            if stage in (None, each.name):
                for partition in partitions:
                    at = TopicPartition(each.changelog, partition)
                    found.append(await repairing.plan(log, each.name, at, settings.partitions))
        found = [repair for repair in found if repair.foreign]
        for repair in found:
            if yes and repair.records:
                await repairing.carry_out(log, settings.app_id, stages, repair)
    return found


def _repair_lines(found: "Repair", *, yes: bool) -> Iterator[str]:
    for foreign in found.foreign:
        yield (
            f"{found.at.address(foreign.offset)} key {printable(foreign.key, 60)}: "
            f"{foreign.why}{_undone(foreign)}"
        )
    shown = found.as_json()
    verb = "appended" if yes else "would append"
    for word, keys in (
        ("tombstones for", shown["tombstones"]),
        ("the last good record of", shown["restored"]),
    ):
        if keys:
            yield f"{found.at}: {verb} {word} {', '.join(printable(key, 60) for key in keys)}"
    if not found.can_be_repaired:
        listing = ", ".join(printable(key, 60) for key in shown["needs_rebuild"])
        yield (
            f"{found.at}: an overwritten record is no longer in the log ({listing}), or a record "
            f"has no key: payments rebuild --replace"
        )


@journal.command()
@YES
@JSON
def adopt(*, yes: bool, as_json: bool) -> None:
    """Adopt recreated topics into the journals: a dry run without --yes.

    Shows the topics whose ids differ. Recreated inputs are read from their first record: the unread
    records of the old ones are lost. Refused for new results, a new ledger, another cluster and
    unpublished outputs (payments rebuild is for these), and while the installation has workers.

    \b
    Examples:
      payments journal adopt
      payments journal adopt --yes
    """
    settings = load_settings()
    with recovery_errors(settings):
        found = asyncio.run(_adopt(settings, yes=yes))
    for each in found:
        if as_json:
            show_json({**each.as_json(), "done": yes})
            continue
        for topic, (former, now) in each.differences.items():
            click.echo(f"{each.held.at}: {topic} had the id {former}, now {now}")
        for topic, position in each.inputs.items():
            before = each.as_json()["inputs_before"].get(topic)
            if before != position:
                click.echo(f"{each.held.at}: {topic} continues at {position}, it was at {before}")
    if not any(each.differences for each in found):
        click.echo("no topic id differs from those in the journals", err=True)
    if not yes:
        click.echo(DRY_RUN, err=True)


async def _adopt(settings: "Settings", *, yes: bool) -> "list[Adoption]":
    from payments.doctor.rights_held import require_role
    from payments.recovery import adopting
    from payments.recovery.installation import open_log, stages_of
    from payments.recovery.offline import require_no_workers

    stages = stages_of(settings)
    await require_role("recovery", [settings], dry_run=not yes)
    async with open_log(settings) as log:
        await require_no_workers(settings)
        found = await adopting.plan(log, settings, stages)
        for adoption in found:
            if yes:
                await adopting.carry_out(log, settings.app_id, stages, adoption)
        return found
