"""Forgetting: refuses a rebuild from a ledger that has lost entries.

The ledger is the only record of all balances. Where it was emptied, truncated or restored too old,
the rebuilt balances would be wrong, and nothing would show it afterwards. Two things show it before
the rebuild:

- The journals that would be deleted have later entries of an account than the ledger.
- Results show movements that the ledger lacks, while older results were deleted: it may lack more.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing

import msgspec

from exactstage import Log
from exactstage.errors import JournalBroken
from exactstage.inspection import (
    RESERVED,
    Checkpoint,
    decode_checkpoint,
    partitions_of,
    read_ranges,
)
from payments.domain.account import Account
from payments.records.internal_codec import decode_account
from payments.records.record_parts import decode_numbered
from payments.settings import Settings

from .errors import RecoveryRefused

_WAY_ON = (
    "restore the ledger from a replica or a backup. Only where the commands topic still has all "
    "that is lacking, or these entries may be lost, continue with --accept-lost-entries"
)
_NAMED = 3
"""Accounts that a refusal names."""


async def published_entries(log: Log, settings: Settings) -> dict[bytes, int]:
    """Return by account the last entry that the present journals know to be in the ledger.

    Damaged records of the journals are left out.
    """
    ledger = settings.topics.ledger
    found: dict[bytes, int] = {}
    checkpoints: dict[int, list[Checkpoint]] = {}
    for (partition, key), value in (await _latest(log, settings)).items():
        if key[:1] != RESERVED:
            found |= numbers_of({key: value})
        elif (checkpoint := _checkpoint(value)) is not None:
            checkpoints.setdefault(partition, []).append(checkpoint)
    for of_partition in checkpoints.values():
        last = max(of_partition, key=lambda each: each.n)
        for checkpoint in of_partition:
            if checkpoint.n > last.published:
                _leave_out(found, checkpoint, ledger)
    return found


async def _latest(log: Log, settings: Settings) -> dict[tuple[int, bytes], bytes]:
    """Return the last value of each key in the accounts journals, by partition and key.

    Damaged batches are skipped; the others still have most accounts.
    """
    journals = partitions_of(settings.changelog("accounts"), settings.partitions)
    held: dict[tuple[int, bytes], bytes] = {}
    bounds = await log.bounds(journals)
    async with aclosing(
        read_ranges(log, bounds, committed_only=False, on_unreadable=lambda _batch, _last: None)
    ) as fetched:
        async for _, records in fetched:
            for record in records:
                at = record.partition, record.key or b""
                if record.value is None:
                    held.pop(at, None)
                else:
                    held[at] = record.value
    return held


def _checkpoint(value: bytes) -> Checkpoint | None:
    try:
        return decode_checkpoint(value)
    except JournalBroken:
        return None  # A note, or a damaged checkpoint: the others are used.


def _account(row: bytes) -> Account | None:
    try:
        return decode_account(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # A counter-account, or another program's record.


def _leave_out(found: dict[bytes, int], checkpoint: Checkpoint, ledger: str) -> None:
    """Leave out the entries of a commit that may not have been published before the end."""
    for output in checkpoint.outputs:
        if output.topic == ledger and output.key in found:
            sequence = decode_numbered(output.value or b"").sequence
            found[output.key] = min(found[output.key], sequence - 1)


def refuse_fewer_entries(published: Mapping[bytes, int], rebuilt: Mapping[bytes, int]) -> None:
    """Raise ``RecoveryRefused`` where accounts would have fewer entries than were published."""
    behind = {
        name: (number, rebuilt.get(name, 0))
        for name, number in published.items()
        if number > rebuilt.get(name, 0)
    }
    if behind:
        some = ", ".join(
            f"{name.decode(errors='replace')} has {number} entries in its journal, {left} in "
            f"ledger and results"
            for name, (number, left) in list(behind.items())[:_NAMED]
        )
        message = (
            f"the rebuild would forget entries of {len(behind):,} accounts ({some}): the ledger "
            f"has lost records; {_WAY_ON}"
        )
        raise RecoveryRefused(message)


def refuse_unknown_losses(
    missing_ms: Sequence[tuple[int, int]],
    *,
    results_expired: bool,
    empty: frozenset[int],
    in_flight_since_ms: int,
) -> None:
    """Raise ``RecoveryRefused`` where the ledger may lack more than the results show.

    ``missing_ms`` has the account's partition and the time of each movement that results show and
    the ledger lacks. ``results_expired``: older results were deleted. ``empty`` are the partitions
    of the ledger without entries. Movements after ``in_flight_since_ms`` were in flight.
    """
    if not results_expired:
        return  # All results are there: what the ledger lacks is known, and posted.
    lost = [ms for partition, ms in missing_ms if partition in empty or ms < in_flight_since_ms]
    if lost:
        message = (
            f"results show {len(lost):,} movements that the ledger lacks, and older results "
            f"were deleted: the ledger may have lost more than they show; {_WAY_ON}"
        )
        raise RecoveryRefused(message)


def numbers_of(rows: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """Return by account the number of its last entry, from the rows of an accounts journal."""
    accounts = ((name, _account(row)) for name, row in rows.items())
    return {name: account.sequence for name, account in accounts if account is not None}
