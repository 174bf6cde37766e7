"""Foreign records: what another program has written to a journal, as far as it can be known.

A worker writes with an idempotent producer, in batches that end with a checkpoint or a fence, rows
with keys of the stage, and its own keys in few forms. What is none of that is foreign for sure.
Compaction may remove the end of a batch: what is left of it can't be distinguished from a worker's
then; it may still be a row that the stage can't read.
"""

from .advice import command
from .anonymous import Anonymous
from .checkpoint import FENCE_KEY, NOTE_KEY, RESERVED
from .limits import RING
from .log import Record

NO_WORKERS_BATCH = "its producer is not idempotent, or its batch ends with no checkpoint"


def foreign_reason(record: Record, *, copied: bool = False) -> str | None:
    """Return why no worker can have written a record of a journal; None for one that may have.

    ``copied``: the journal was copied to where it is, by a program whose producer may have no id.
    """
    key, value = record.key, record.value
    if not key:
        return "it has no key"
    if key[:1] == RESERVED:
        if key == FENCE_KEY:
            if value is not None:
                return "a fence has no value"
        elif key == NOTE_KEY:
            if value is None:
                return "it is a tombstone over the note of a rebuild"
        elif not key[1:].isdigit() or int(key[1:]) >= RING:
            return "its key is reserved for checkpoints, and names none"
        elif value is None:
            return "it is a tombstone over a checkpoint"
    return NO_WORKERS_BATCH if type(record) is Anonymous and not copied else None


def is_removal(record: Record) -> bool:
    """Whether a record removes one whose key no worker writes, as a repair does."""
    key = record.key or b""
    is_slot = key[1:].isdigit() and int(key[1:]) < RING
    return record.value is None and not is_slot and key != NOTE_KEY


def described(record: Record, why: str) -> str:
    """Return one line that names a foreign record, and the way to remove it."""
    return (
        f"{record.address} with the key {record.key!r} was written by no worker ({why}): another "
        f"program wrote to the journal; stop it, and remove what it wrote with: "
        f"{command('journal repair')}"
    )
