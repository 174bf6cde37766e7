"""Writing: puts rebuilt journals into their topics, so that a half-built one is refused.

Rows go first, without any checkpoint; then the commits with outputs; and last, in one batch for
each journal, the empty checkpoints before them, without which no worker takes a journal over. All
of it is written by the claimed writer of its partition: a worker that starts in between fences it.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
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
from exactstage.identity import TOLD_WITHIN
from exactstage.limits import MAX_COMMITS_AHEAD, Limits
from exactstage.log import NO_HEADERS, Batch, Channel, Log, NewRecord, TopicPartition, Writer
from exactstage.stage import Stage, topics_of

from .errors import RecoveryRefused
from .inspecting import Held, read_readable
from .rebuilding import Plan, Rebuilt
from .scanning import Show

_ROW_BYTES = 40
_REQUEST_BATCHES = 16
"""Batches of rows that are appended together."""


class Claimed:
    """All partitions of an installation, claimed by this process."""

    def __init__(self, log: Log, app_id: str, stages: Sequence[Stage], partitions: int) -> None:
        self._log, self._app_id, self._stages = log, app_id, stages
        self._partitions = partitions
        self.writers: dict[int, Writer] = {}

    async def claim(self) -> None:
        """Claim every partition: the broker refuses later appends of older owners."""
        slots = asyncio.Semaphore(Limits().concurrent_claims)

        async def one(partition: int) -> None:
            async with slots:
                name, public = self._name(partition), self._public(partition)
                self.writers[partition] = await self._log.claim(name, public)

        await asyncio.gather(*map(one, range(self._partitions)))

    async def require(self) -> None:
        """Raise ``Fenced`` when a worker has claimed a partition since."""
        for partition, writer in self.writers.items():
            await self._log.renew(self._name(partition), writer, self._public(partition))

    async def fence_journals(self) -> None:
        """Fence older owners of the journals, which may have been recreated."""
        for partition, writer in self.writers.items():
            journals = [TopicPartition(stage.changelog, partition) for stage in self._stages]
            await self._log.renew(self._name(partition), writer, journals)

    async def identify(self, plan: Plan) -> None:
        """Give each journal its identity: the installation of the public records."""
        cluster = await self._log.describe(topics_of(self._stages))
        around = Surroundings(self._app_id, self._stages, self._partitions, cluster)
        installation = plan.installation or around.new_installation
        for rebuilt in plan.journals:
            journal = rebuilt.journal
            journal.identify(around.identity(journal.stage, journal.partition, installation))

    def _name(self, partition: int) -> str:
        return f"{self._app_id}-{partition}"

    def _public(self, partition: int) -> list[TopicPartition]:
        topics = sorted({topic for stage in self._stages for topic in stage.public})
        return [TopicPartition(topic, partition) for topic in topics]


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
    await claimed.fence_journals()
    await claimed.identify(plan)
    total = sum(len(rebuilt.rows) for rebuilt in plan.journals)
    done = 0
    batches = [_row_batches(rebuilt, claimed) for rebuilt in plan.journals]
    for round_ in zip_longest(*batches):
        present = [batch for batch in round_ if batch is not None]
        for start in range(0, len(present), _REQUEST_BATCHES):
            await log.append(present[start : start + _REQUEST_BATCHES], Channel.JOURNAL)
        done += sum(len(batch.records) - 1 for batch in present)
        show(f"{done:,} of {total:,} rows written")
    for commits in zip_longest(*(_commit_batches(each, plan, claimed) for each in plan.journals)):
        present = [batch for batch in commits if batch is not None]
        if present:
            await log.append(present, Channel.JOURNAL)
    await log.append([_ring(each, plan, claimed) for each in plan.journals], Channel.JOURNAL)


def _row_batches(rebuilt: Rebuilt, claimed: Claimed) -> Iterator[Batch]:
    """Yield the rows in batches; each ends with a fence, which marks it as the engine's."""
    journal = rebuilt.journal
    writer, limit = claimed.writers[journal.partition], journal.limits.commit_bytes
    records: list[NewRecord] = []
    size = 0
    for key, row in rebuilt.rows.items():
        records.append((key, row, NO_HEADERS))
        size += len(key) + len(row) + _ROW_BYTES
        if size >= limit:
            yield Batch(journal.at, writer, [*records, (FENCE_KEY, None, NO_HEADERS)])
            records, size = [], 0
    if records:
        yield Batch(journal.at, writer, [*records, (FENCE_KEY, None, NO_HEADERS)])


def _commit_batches(rebuilt: Rebuilt, plan: Plan, claimed: Claimed) -> Iterator[Batch]:
    """Yield the commits; the last one has every source position and the identity."""
    journal, commits = rebuilt.journal, rebuilt.commits
    for index, commit in enumerate(commits):
        *rows, (key, value, headers) = commit.batch.records
        checkpoint = replace(
            decode_checkpoint(value or b""), published=plan.base, inputs=journal.inputs, sources={}
        )
        if index == len(commits) - 1:
            sources = dict(journal.sources)
            checkpoint = replace(checkpoint, sources=sources, identity=journal.identity)
        records = [*rows, (key, encode_checkpoint(checkpoint), headers)]
        yield Batch(journal.at, claimed.writers[journal.partition], records)


def _ring(rebuilt: Rebuilt, plan: Plan, claimed: Claimed) -> Batch:
    """Return the empty checkpoints that a takeover requires before the commits."""
    journal = rebuilt.journal
    last = plan.base + len(rebuilt.commits)
    records: list[NewRecord] = []
    for n in range(last - MAX_COMMITS_AHEAD + 1, plan.base + 1):
        sources = dict(journal.sources) if n == last else {}
        identity = journal.identity if n == last or not n % TOLD_WITHIN else None
        checkpoint = Checkpoint(n, n, journal.inputs, sources, [], identity)
        records.append((checkpoint_key(n), encode_checkpoint(checkpoint), NO_HEADERS))
    if not records:
        message = f"{journal}: the ring has no slot left"
        raise FailStop(message)
    records.append((NOTE_KEY, _note(rebuilt, plan), NO_HEADERS))
    return Batch(journal.at, claimed.writers[journal.partition], records)


def _note(rebuilt: Rebuilt, plan: Plan) -> bytes:
    """Return the permanent note of this rebuild, which ``payments verify`` reads."""
    note = {
        "base": plan.base,
        "copied": plan.source.copied,
        "former_topic": plan.source.former_topic,
        "commands_before": plan.commands_before[rebuilt.journal.partition],
        "commands_are_gone": plan.commands_are_gone,
    }
    return json.dumps(note).encode()
