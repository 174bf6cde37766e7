"""Writing: puts new journals into their topics, so that a half-written one is refused.

Rows go first, without any checkpoint; then the commits with outputs; and last, in one batch for
each journal, the empty checkpoints before them, without which no worker takes a journal over. All
of it is written by the claimed writer of its partition: a worker that starts in between fences it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from exactstage.checkpoint import (
    FENCE_KEY,
    NOTE_KEY,
    Checkpoint,
    checkpoint_key,
    decode_checkpoint,
    encode_checkpoint,
)
from exactstage.consistency import Surroundings
from exactstage.errors import FailStop
from exactstage.identity import IDENTITY_EVERY
from exactstage.limits import MAX_COMMITS_AHEAD
from exactstage.log import NO_HEADERS, Batch, Channel, Log, NewRecord, Writer
from exactstage.stage import topics_of

from .claiming import Claimed
from .new_journals import NewJournal

_ROW_BYTES = 40
_REQUEST_BATCHES = 16
"""Batches of rows that are appended together."""


async def write_journals(
    log: Log,
    journals: Sequence[NewJournal],
    claimed: Claimed,
    *,
    installation: str | None,
    note: Callable[[NewJournal], bytes],
    show: Callable[[str], None],
) -> None:
    """Write new journals, all of an application's.

    ``installation`` is the one that wrote the public records; None where they name none. ``note``
    returns what a journal keeps for ever for an operator's tools. Raises ``Fenced`` when a worker
    has started since the claim.
    """
    await claimed.fence_journals()
    await _identify(log, journals, claimed, installation)
    total = sum(len(journal.rows) for journal in journals)
    done = 0
    batches = [_row_batches(journal, _writer(journal, claimed)) for journal in journals]
    for round_ in zip_longest(*batches):
        present = [batch for batch in round_ if batch is not None]
        for start in range(0, len(present), _REQUEST_BATCHES):
            await log.append(present[start : start + _REQUEST_BATCHES], Channel.JOURNAL)
        done += sum(len(batch.records) - 1 for batch in present)
        show(f"{done:,} of {total:,} rows written")
    for commits in zip_longest(*(_commit_batches(j, _writer(j, claimed)) for j in journals)):
        present = [batch for batch in commits if batch is not None]
        if present:
            await log.append(present, Channel.JOURNAL)
    rings = [_ring(journal, _writer(journal, claimed), note(journal)) for journal in journals]
    await log.append(rings, Channel.JOURNAL)


def _writer(journal: NewJournal, claimed: Claimed) -> Writer:
    return claimed.writers[journal.partition]


async def _identify(
    log: Log, journals: Sequence[NewJournal], claimed: Claimed, installation: str | None
) -> None:
    """Give each journal its identity."""
    cluster = await log.describe(topics_of(claimed.stages))
    around = Surroundings(claimed.app_id, claimed.stages, len(claimed.writers), cluster)
    name = installation or around.new_installation
    for new in journals:
        new.journal.identify(around.identity(new.stage.name, new.partition, name))


def _row_batches(new: NewJournal, writer: Writer) -> Iterator[Batch]:
    """Yield the rows in batches; each ends with a fence, which marks it as the engine's."""
    at, limit = new.journal.at, new.journal.limits.commit_bytes
    records: list[NewRecord] = []
    size = 0
    for key, row in new.rows.items():
        records.append((key, row, NO_HEADERS))
        size += len(key) + len(row) + _ROW_BYTES
        if size >= limit:
            yield Batch(at, writer, [*records, (FENCE_KEY, None, NO_HEADERS)])
            records, size = [], 0
    if records:
        yield Batch(at, writer, [*records, (FENCE_KEY, None, NO_HEADERS)])


def _commit_batches(new: NewJournal, writer: Writer) -> Iterator[Batch]:
    """Yield the commits; the last one has every source position and the identity."""
    journal = new.journal
    for index, commit in enumerate(new.commits):
        *rows, (key, value, headers) = commit.batch.records
        checkpoint = replace(
            decode_checkpoint(value or b""), published=new.base, inputs=journal.inputs, sources={}
        )
        if index == len(new.commits) - 1:
            sources = dict(journal.senders.positions)
            checkpoint = replace(checkpoint, sources=sources, identity=journal.identity)
        records = [*rows, (key, encode_checkpoint(checkpoint), headers)]
        yield Batch(journal.at, writer, records)


def _ring(new: NewJournal, writer: Writer, note: bytes) -> Batch:
    """Return the empty checkpoints that a takeover requires before the commits."""
    journal = new.journal
    last = new.base + len(new.commits)
    records: list[NewRecord] = []
    for n in range(last - MAX_COMMITS_AHEAD + 1, new.base + 1):
        sources = dict(journal.senders.positions) if n == last else {}
        identity = journal.identity if n == last or not n % IDENTITY_EVERY else None
        checkpoint = Checkpoint(n, n, journal.inputs, sources, [], identity)
        records.append((checkpoint_key(n), encode_checkpoint(checkpoint), NO_HEADERS))
    if not records:
        message = f"{journal}: the ring has no slot left"
        raise FailStop(message)
    records.append((NOTE_KEY, note, NO_HEADERS))
    return Batch(journal.at, writer, records)
