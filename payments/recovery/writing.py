"""Writing: which journals are in use, and those of a plan."""

from collections.abc import Sequence

from exactstage import Log, Stage, TopicPartition
from exactstage.inspection import Show
from exactstage.recovery import Claimed, NewJournal, write_journals
from payments.records.recovery_notes import JournalNote, encode_note

from .errors import RecoveryRefused
from .gathering import former_account_commands
from .inspecting import Held, read_readable
from .rebuilding import Plan


async def journals_in_use(log: Log, stages: Sequence[Stage], partitions: int) -> list[Held]:
    """Return the journals that have rows, checkpoints, foreign records or unreadable batches."""
    found: list[Held] = []
    for stage in stages:
        at = [TopicPartition(stage.changelog, partition) for partition in range(partitions)]
        found += (await read_readable(log, at)).values()
    return [
        held
        for held in found
        if held.rows or held.checkpoints or held.foreign_count or held.unreadable
    ]


def refuse_used(used: Sequence[Held]) -> None:
    """Raise ``RecoveryRefused`` when journals are not empty."""
    if used:
        message = (
            f"{len(used)} journals are not empty, {used[0].at} for one: where they are broken "
            f"beyond repair, --replace deletes and recreates them"
        )
        raise RecoveryRefused(message)


async def write(log: Log, plan: Plan, claimed: Claimed, show: Show) -> None:
    """Write all journals of a plan. Raises ``Fenced`` when a worker has started since the claim."""

    def note(journal: NewJournal) -> bytes:
        """Return the permanent note of this rebuild, which ``payments verify`` reads.

        That of a journal is about the commands that its stage answers.
        """
        former, of_payments = plan.source.former_topic, journal.stage.name == "payments"
        before = plan.commands_before if of_payments else plan.account_commands_before
        found = JournalNote(
            base=plan.base,
            copied=plan.source.copied,
            former_topic=former if of_payments else former_account_commands(former),
            commands_before=before[journal.partition],
            commands_are_gone=(
                plan.commands_are_gone if of_payments else plan.account_commands_are_gone
            ),
        )
        return encode_note(found)

    await write_journals(
        log, plan.journals, claimed, installation=plan.installation, note=note, show=show
    )
