"""Renewing the identity of a journal: it continues with topics that were recreated."""

from collections.abc import Mapping

from exactstage.checkpoint import (
    FENCE_KEY,
    NOTE_KEY,
    Checkpoint,
    checkpoint_key,
    encode_checkpoint,
)
from exactstage.identity import Identity
from exactstage.limits import RING
from exactstage.log import NO_HEADERS, Batch, Channel, Log, NewRecord, TopicPartition
from exactstage.outputs import OutputId

from .claiming import Claimed


async def renew_identity(
    log: Log,
    at: TopicPartition,
    claimed: Claimed,
    *,
    last: Checkpoint,
    identity: Identity,
    inputs: Mapping[str, int],
    sources: Mapping[str, OutputId],
    note: bytes | None = None,
) -> None:
    """Append a whole ring of checkpoints, so that none with the former identity remains.

    ``last`` is the journal's last checkpoint, of which all is published; ``inputs`` and ``sources``
    are where its owner continues. Raises ``Fenced`` when a worker has started since the claim.
    """
    assert last.published == last.n or not last.outputs, f"{at} has outputs to be published"
    records: list[NewRecord] = [(FENCE_KEY, None, NO_HEADERS)]
    for n in range(last.n + 1, last.n + RING + 1):
        is_last = n == last.n + RING
        checkpoint = Checkpoint(
            n,
            n,
            dict(inputs),
            dict(sources) if is_last else {},
            [],
            identity if is_last else None,
        )
        records.append((checkpoint_key(n), encode_checkpoint(checkpoint), NO_HEADERS))
    if note is not None:
        records.append((NOTE_KEY, note, NO_HEADERS))
    await log.append([Batch(at, claimed.writers[at.partition], records)], Channel.JOURNAL)
