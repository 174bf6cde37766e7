"""Renewing the identity of a journal: it continues with topics that were recreated."""

from collections.abc import Iterable, Mapping

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

from .claiming import Claimed


async def renew_identity(
    log: Log,
    at: TopicPartition,
    claimed: Claimed,
    *,
    checkpoints: Iterable[Checkpoint],
    identity: Identity,
    inputs: Mapping[str, int],
    note: bytes | None = None,
) -> None:
    """Append a whole ring of checkpoints, so that none with the former identity remains.

    ``checkpoints`` are those that the journal holds, of which all outputs are published; its owner
    continues behind them, and reads on at ``inputs``. Raises ``Fenced`` when a worker has started
    since the claim.
    """
    held = sorted(checkpoints, key=lambda checkpoint: checkpoint.n)
    last = held[-1]
    unpublished = [each.n for each in held if each.n > last.published and each.outputs]
    assert not unpublished, f"{at} has outputs to be published, of the commits {unpublished}"
    sources = {name: taken for each in held for name, taken in each.sources.items()}
    records: list[NewRecord] = [(FENCE_KEY, None, NO_HEADERS)]
    for n in range(last.n + 1, last.n + RING + 1):
        is_last = n == last.n + RING
        checkpoint = Checkpoint(
            n,
            n,
            dict(inputs),
            sources if is_last else {},
            [],
            identity if is_last else None,
        )
        records.append((checkpoint_key(n), encode_checkpoint(checkpoint), NO_HEADERS))
    if note is not None:
        records.append((NOTE_KEY, note, NO_HEADERS))
    await log.append([Batch(at, claimed.writers[at.partition], records)], Channel.JOURNAL)
