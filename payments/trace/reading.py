"""Reading: the records of one payment, from the few partitions that can have them.

A payment's commands, answers and results are on the partition of its id; transfers and entries on
that of its account, which its commands and results name. So two passes are enough, however many
partitions there are.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

from exactstage import Log, Record, TopicPartition, partition_of
from exactstage.errors import UnreadableBatch
from exactstage.inspection import Ranges, Show, partitions_of, read_ranges, show_nothing
from exactstage.log import Bounds
from payments.records.record_address import RecordAddress
from payments.settings import Settings
from payments.trace import event
from payments.trace.event import Event

PROGRESS_AFTER_SECONDS = 5.0
_CLOCKS_MS = 60_000
"""How much the clocks of two brokers may differ."""


class SearchableLog(Log, Protocol):
    """A log that can be searched by time."""

    async def offsets_since(
        self, at: Sequence[TopicPartition], time_ms: int
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the first record of that time or later; else the end."""


class Life(NamedTuple):
    """What the topics have of one payment."""

    events: Sequence[Event]
    """In the order of their times."""

    unreadable: Sequence[str]
    """Batches that can't be decoded, which may hide more: the addresses of their first records."""


Find = Callable[[Record], Event | None]


async def life_of(
    log: SearchableLog,
    settings: Settings,
    payment: str,
    *,
    since_ms: int = 0,
    any_partition: bool = False,
    show: Show = show_nothing,
) -> Life:
    """Return the life of a payment, from its first record since a time on.

    Of commands on another partition than that of the payment's id, those that are answered by their
    address are found; with ``any_partition`` all are. Records of open and aborted transactions are
    there too: a worker reads no such command. ``show`` gets the progress, once reading takes
    longer. Raises ``FailStop``.
    """
    reading = _Reading(log, since_ms, _later(show))
    topics, key = settings.topics, payment.encode()
    count = log.partition_count(topics.commands)
    finds = _of_payment(settings, payment, partition_of(key, count))
    if any_partition:
        finds |= {
            at: _of_key(key, event.command_of) for at in partitions_of(topics.commands, count)
        }
    events = await reading.find(finds)
    events += await reading.commands_at(_answered_elsewhere(events, topics.commands, count), key)
    accounts = event.accounts_of(events)
    if accounts:
        # What a payment does to its account comes after its first record.
        reading.since_ms = max(since_ms, min(each.time_ms for each in events) - _CLOCKS_MS)
        numbers = {
            partition_of(account.encode(), log.partition_count(settings.topics.ledger))
            for account in accounts
        }
        events += await reading.find(_of_accounts(settings, payment, sorted(numbers)))
    return Life(sorted(events, key=lambda each: each.order), reading.unreadable)


def _later(show: Show) -> Show:
    """Return what shows nothing in the first seconds."""
    now = asyncio.get_running_loop().time
    began = now()

    def shown(progress: str) -> None:
        if now() - began >= PROGRESS_AFTER_SECONDS:
            show(progress)

    return shown


def _answered_elsewhere(
    events: Iterable[Event], commands: str, partitions: int
) -> Sequence[RecordAddress]:
    """Return the addresses of commands that results name, and that were not found."""
    known = {each.address for each in events}
    found: dict[RecordAddress, None] = {}
    for each in events:
        try:
            address = RecordAddress.parse(str(each.fields.get("command")))
        except ValueError:
            continue  # It has an id of its own.
        if address.topic == commands and address.partition < partitions and address not in known:
            found[address] = None
    return list(found)


def _of_key(key: bytes, read: Find) -> Find:
    return lambda record: read(record) if record.key == key else None


def _of_payment(settings: Settings, payment: str, own: int) -> dict[TopicPartition, Find]:
    key, topics = payment.encode(), settings.topics

    def inbox(record: Record) -> Event | None:
        origin = event.origin_of(record)
        if origin is not None:
            return event.forwarded_of(record, origin)
        return event.settlement_of(record)

    return {
        TopicPartition(topics.commands, own): _of_key(key, event.command_of),
        TopicPartition(topics.inbox, own): _of_key(key, inbox),
        TopicPartition(topics.results, own): _of_key(key, event.result_of),
        TopicPartition(topics.payments_dead_letters, own): _of_key(key, event.dead_letter_of),
    }


def _of_accounts(
    settings: Settings, payment: str, numbers: Iterable[int]
) -> Mapping[TopicPartition, Find]:
    topics = settings.topics

    def letter(record: Record) -> Event | None:
        is_ours = event.transfer_of(record, payment) is not None
        return event.dead_letter_of(record) if is_ours else None

    found: dict[TopicPartition, Find] = {}
    for number in numbers:
        found[TopicPartition(topics.transfers, number)] = lambda record: event.transfer_of(
            record, payment
        )
        found[TopicPartition(topics.ledger, number)] = lambda record: event.entry_of(
            record, payment
        )
        found[TopicPartition(topics.accounts_dead_letters, number)] = letter
    return found


class _Reading:
    def __init__(self, log: SearchableLog, since_ms: int, show: Show) -> None:
        self._log, self._show = log, show
        self.since_ms = since_ms
        self.unreadable: list[str] = []

    async def commands_at(self, addresses: Iterable[RecordAddress], key: bytes) -> list[Event]:
        """Return the events of the commands at these addresses, where they are still there."""
        events: list[Event] = []
        for address in addresses:
            at = TopicPartition(address.topic, address.partition)
            held = (await self._log.bounds([at]))[at]
            if held.first <= address.offset < held.end:
                just = {at: Bounds(address.offset, address.offset + 1)}
                events += await self._found(just, {at: _of_key(key, event.command_of)})
        return events

    async def find(self, finds: Mapping[TopicPartition, Find]) -> list[Event]:
        """Return the events that these find in their partitions."""
        bounds = await self._log.bounds(list(finds))
        starts: Mapping[TopicPartition, int] = {}
        if self.since_ms > 0:
            starts = await self._log.offsets_since(list(finds), self.since_ms)
        ranges = {
            at: Bounds(max(held.first, starts.get(at, 0)), held.end) for at, held in bounds.items()
        }
        return await self._found(ranges, finds)

    async def _found(self, ranges: Ranges, finds: Mapping[TopicPartition, Find]) -> list[Event]:
        events: list[Event] = []
        async with aclosing(
            read_ranges(
                self._log,
                ranges,
                committed_only=False,
                on_unreadable=self._unreadable,
                skip_by_header=True,
                show=self._show,
            )
        ) as fetched:
            async for at, records in fetched:
                found = map(finds[at], records)
                events += [each for each in found if each is not None]
        return events

    def _unreadable(self, batch: UnreadableBatch, _last_offset: int) -> Sequence[Record]:
        self.unreadable.append(batch.address)
        return ()
