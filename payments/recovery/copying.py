"""Copying: the public topics of one installation into those of another, with other partitions.

The new number of partitions decides the partition of a key; the records of one key keep their
order. An entry's second leg is booked on the counter-account of its account's new partition, so the
counter-accounts of each kind keep their sum, and each entry is balanced by itself as before.
Sequence numbers and balances are unchanged. Output ids (``ce_id``) are the new installation's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import msgspec

from exactstage import Log, Record, TopicPartition, partition_of
from exactstage.inspection import INSTALLATION, OUTPUT_ID_HEADER, Show, partitions_of, read_ranges
from exactstage.log import NewRecord, Writer
from exactstage.recovery import append_records
from payments.domain.account import counter_name
from payments.settings import TOPICS, Settings

from .errors import RecoveryRefused

COPIED: Mapping[str, str | None] = {
    TOPICS.commands: None,
    TOPICS.results: "payments",
    TOPICS.payments_dead_letters: "payments",
    TOPICS.account_commands: None,
    TOPICS.account_results: "accounts",
    TOPICS.ledger: "accounts",
    TOPICS.accounts_dead_letters: "accounts",
}
"""The topics that are copied, and the stage that writes each. Internal topics are not copied: the
rebuild decides again what was in flight."""

CE_SOURCE = "ce_source"


class Copying:
    """Copies from one installation to another, which is empty."""

    def __init__(
        self, source: tuple[Log, Settings], target: tuple[Log, Settings], installation: str
    ) -> None:
        self._from, self._old = source
        self._to, self._new = target
        self._installation = installation.encode()
        self._commits: Counter[tuple[str, int]] = Counter()
        self.counts: Counter[str] = Counter()

    async def require_empty(self) -> None:
        """Raise ``RecoveryRefused`` when a topic of the target has records."""
        for topic in COPIED:
            at = partitions_of(self._new.topic(topic), self._new.partitions)
            for tp, (first, end) in (await self._to.bounds(at)).items():
                if first != end:
                    message = (
                        f"{tp} is not empty: choose another --to-prefix, or delete the new topics"
                    )
                    raise RecoveryRefused(message)

    async def run(self, show: Show) -> None:
        """Copy everything."""
        writer = await self._to.new_writer()
        for topic, stage in COPIED.items():
            name = self._old.topic(topic)
            at = partitions_of(name, self._from.partition_count(name))
            ranges = await self._from.bounds(at)
            show(f"copying {name}")
            async with aclosing(
                read_ranges(self._from, ranges, committed_only=True, show=show)
            ) as fetched:
                async for _, records in fetched:
                    await self._copy(topic, stage, records, writer)

    async def _copy(
        self, topic: str, stage: str | None, records: Sequence[Record], writer: Writer
    ) -> None:
        copies: list[tuple[TopicPartition, NewRecord]] = []
        for record in records:
            key, value = record.key, record.value
            headers = list(record.headers)
            partition = self._partition(record)
            if stage is not None:
                if not any(name == OUTPUT_ID_HEADER for name, _ in headers):
                    self.counts["records that no stage wrote, left out"] += 1
                    continue
                headers = self._headers(headers, stage, partition)
            if topic == TOPICS.ledger:
                value = _moved(value, partition)
            at = TopicPartition(self._new.topic(topic), partition)
            copies.append((at, (key, value, headers)))
            self.counts[f"records of {topic}"] += 1
        await append_records(self._to, writer, copies)

    def _partition(self, record: Record) -> int:
        if record.key:
            return partition_of(record.key, self._new.partitions)
        return record.partition % self._new.partitions

    def _headers(
        self, headers: Sequence[tuple[str, bytes | None]], stage: str, partition: int
    ) -> list[tuple[str, bytes | None]]:
        """Replace the engine's own headers, which come first; a client's of the same name stay."""
        self._commits[stage, partition] += 1
        own = {
            OUTPUT_ID_HEADER: f"{stage}/{partition}/{self._commits[stage, partition]}/0".encode(),
            CE_SOURCE: f"/{stage}/{partition}".encode(),
            INSTALLATION: self._installation,
        }
        found: list[tuple[str, bytes | None]] = []
        for name, value in headers:
            if name == OUTPUT_ID_HEADER and name in own:
                found += [(name, own.pop(name)), (INSTALLATION, own[INSTALLATION])]
            elif name == INSTALLATION and name in own:
                del own[name]
            else:
                found.append((name, own.pop(name, value)))
        return found


def _moved(value: bytes | None, partition: int) -> bytes | None:
    """Return a ledger entry whose second leg is on this partition's counter-account."""
    if value is None:
        return None
    entry = msgspec.json.decode(value)
    counter = entry["counter_account"].partition("/")[0]
    entry["counter_account"] = counter_name(counter, partition)
    return msgspec.json.encode(entry)
