"""Reading: finds dead letters, and earlier replays of them, on the topics."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple, Protocol

from pydantic import ValidationError

from exactstage import Header, Log, Record, TopicPartition
from exactstage.errors import FailStop, UnreadableBatch
from exactstage.inspection import partitions_of, read_ranges
from exactstage.kafka import KafkaLog, wall_clock_ms
from exactstage.log import Batch, Bounds, Channel, NewRecord
from payments.dead_letters.letter import (
    UNKNOWN,
    DeadLetter,
    NoDeadLetter,
    command_id_of,
    read_letter,
)
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command
from payments.records.account_commands import parse_account_command
from payments.records.commands import Malformed, parse_command
from payments.records.record_address import RecordAddress
from payments.records.record_models import AccountResult, Result
from payments.settings import Settings
from payments.topics.file import PACKAGED, apply_command, read_topics

STAGES = ("payments", "accounts")
CONNECT_SECONDS = 5.0
_REPLAY = b"replay/"
_CLOCKS_MS = 60_000
"""How much the clocks of two brokers or workers may differ."""


class SearchableLog(Log, Protocol):
    """A log that can be searched by time."""

    async def offsets_since(
        self, at: Sequence[TopicPartition], time_ms: int
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the first record of that time or later; else the end."""


class Sent(NamedTuple):
    """The earlier replays that were found."""

    commands: frozenset[str]
    """Ids of replays that were sent."""

    results: Mapping[str, Result | AccountResult]
    """Their results, by id, where there are any."""


class _Answered(NamedTuple):
    """Two topics: commands, whose replays are looked for, and their results."""

    commands: str
    results: str
    parse: Callable[..., Command | AccountCommand]
    result: type[Result | AccountResult]


class DeadLetters:
    """The dead letters of one installation.

    ``min_retention_ms``: the commands topic keeps each record at least that long.
    """

    def __init__(
        self,
        log: SearchableLog,
        settings: Settings,
        *,
        min_retention_ms: float = 0,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._log = log
        self._settings = settings
        self._kept_ms = min_retention_ms
        self._clock_ms = clock_ms
        topics = settings.topics
        self._answered = {
            topics.dead_letters("payments"): _Answered(
                topics.commands, topics.results, parse_command, Result
            ),
            topics.dead_letters("accounts"): _Answered(
                topics.account_commands,
                topics.account_results,
                parse_account_command,
                AccountResult,
            ),
        }
        """By topic of dead letters: where their replays go."""

    @property
    def not_for_replays(self) -> frozenset[str]:
        """Every topic of the payments."""
        return frozenset(topic.name for topic in read_topics(PACKAGED, self._settings))

    @property
    def own_topics(self) -> frozenset[str]:
        """The dead-letter topics of the payments."""
        return frozenset(map(self.topic, STAGES))

    def topic(self, stage: str) -> str:
        """Return the dead-letter topic of a stage."""
        return self._settings.topics.dead_letters(stage)

    async def all(self, topics: Sequence[str]) -> AsyncGenerator[DeadLetter, None]:
        """Yield every dead letter, partition by partition in the order of their offsets."""
        at = [tp for topic in topics for tp in self._partitions(topic)]
        ranges = await self._log.bounds(at)
        async with aclosing(self._records(ranges, with_unreadable=True)) as fetched:
            async for record in fetched:
                yield read_letter(record)

    async def get(self, position: RecordAddress) -> DeadLetter:
        """Return the dead letter at an address, of an own stage too. Raises ``NoDeadLetter``."""
        at = TopicPartition(position.topic, position.partition)
        is_ours = at.topic in self.own_topics
        try:
            exists = at in self._partitions(at.topic)
        except FailStop:  # There is no such topic; other refusals of the brokers recur below.
            if is_ours:
                raise
            exists = False
        if exists:
            first, end = (await self._log.bounds([at]))[at]
            if first <= position.offset < end:
                just = {at: Bounds(position.offset, position.offset + 1)}
                async with aclosing(self._records(just, with_unreadable=True)) as fetched:
                    async for record in fetched:
                        letter = read_letter(record)
                        if is_ours or letter.reason != UNKNOWN:
                            return letter
        command = "payments dead-letters list" + ("" if is_ours else f" --topic {at.topic}")
        message = f"there is no dead letter at {position}: {command} shows all"
        raise NoDeadLetter(message)

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises ``NoTopic`` when there is none."""
        return self._log.partition_count(topic)

    async def marked(self, topic: str, mark: Header, since_ms: int) -> RecordAddress | None:
        """Return the address of the first record from a time on that has this header."""
        async with aclosing(self._records(await self._since(topic, since_ms))) as fetched:
            async for record in fetched:
                if mark in record.headers:
                    return RecordAddress(record.topic, record.partition, record.offset)
        return None

    async def header_values(self, topic: str, name: str, since_ms: int) -> set[bytes]:
        """Return the values of a header in the records of a topic from a time on."""
        found: set[bytes] = set()
        async with aclosing(self._records(await self._since(topic, since_ms))) as fetched:
            async for record in fetched:
                found.update(value for key, value in record.headers if key == name and value)
        return found

    async def produce(self, at: TopicPartition, record: NewRecord) -> int:
        """Append one record as a client would; return its offset."""
        writer = await self._log.new_writer()
        return (await self._log.append([Batch(at, writer, [record])], Channel.JOURNAL))[at]

    async def sent(self, letters: Collection[RecordAddress], since_ms: int) -> Sent:
        """Look for replays of these letters, and for their results, from ``since_ms`` on.

        All partitions are searched, since a replay may have been given another key.
        """
        commands: set[str] = set()
        results: dict[str, Result | AccountResult] = {}
        for topic, answered in self._answered.items():
            ids = {command_id_of(letter) for letter in letters if letter.topic == topic}
            if ids:
                commands |= await self._commands_sent(answered, ids, since_ms)
                results |= await self._results_of(answered, ids, since_ms)
        return Sent(frozenset(commands), results)

    async def _commands_sent(
        self, answered: _Answered, ids: Collection[str], since_ms: int
    ) -> set[str]:
        found: set[str] = set()
        ranges = await self._since(answered.commands, since_ms)
        async with aclosing(self._records(ranges)) as fetched:
            async for record in fetched:
                command_id = self._command_id(answered, record)
                if command_id is not None and command_id in ids:
                    found.add(command_id)
        return found

    async def _results_of(
        self, answered: _Answered, ids: Collection[str], since_ms: int
    ) -> dict[str, Result | AccountResult]:
        found: dict[str, Result | AccountResult] = {}
        ranges = await self._since(answered.results, since_ms)
        async with aclosing(self._records(ranges)) as fetched:
            async for record in fetched:
                value = record.value or b""
                # A search of the bytes comes first: there may be very many results.
                if _REPLAY in value:
                    try:
                        result = answered.result.model_validate_json(value)
                    except ValidationError:
                        continue  # Another program wrote it; no worker's record is like that.
                    if result.command is not None and result.command in ids:
                        found[result.command] = result
        return found

    async def replayed(
        self, received_ms: Mapping[RecordAddress, int]
    ) -> Mapping[RecordAddress, bool | None]:
        """Return whether each letter was replayed; None where that can't be known any more.

        ``received_ms`` is the time at which the record of each came in. Reads the commands and
        results since the first of them.
        """
        marks: dict[RecordAddress, bool | None] = {}
        for topic in self._answered:
            of_topic = {at: time_ms for at, time_ms in received_ms.items() if at.topic == topic}
            if of_topic:
                marks |= await self._replayed(of_topic)
        return marks

    async def _replayed(
        self, received_ms: Mapping[RecordAddress, int]
    ) -> dict[RecordAddress, bool | None]:
        """Return the same of the letters of one topic."""
        by_age = sorted(received_ms, key=received_ms.__getitem__)
        times = [received_ms[position] for position in by_age]
        topic = by_age[0].topic
        sent = await self.sent(by_age, since_ms=times[0])
        unknown, known = 0, 0 if await self.reach_back_to(times[0], topic) else len(times)
        while unknown < known:  # Find the first letter since which no command was deleted.
            middle = (unknown + known) // 2
            if await self.reach_back_to(times[middle], topic):
                known = middle
            else:
                unknown = middle + 1
        marks: dict[RecordAddress, bool | None] = {}
        for number, position in enumerate(by_age):
            command_id = command_id_of(position)
            was_sent = command_id in sent.commands or command_id in sent.results
            marks[position] = True if was_sent else False if number >= known else None
        return marks

    async def reach_back_to(self, time_ms: int, dead_letters: str) -> bool:
        """Return whether all commands of that time or later must still be there.

        They are those whose dead letters are on this topic.
        """
        at = self._partitions(self._answered[dead_letters].commands)
        now_ms = self._clock_ms()
        if now_ms - time_ms + _CLOCKS_MS < self._kept_ms and not await self._is_behind(at, now_ms):
            return True
        bounds = await self._log.bounds(at)
        starts = await self._log.offsets_since(at, time_ms - _CLOCKS_MS)
        # Where the first record that is left is that late, earlier ones may have been deleted.
        return all(not bounds[tp].first or starts[tp] > bounds[tp].first for tp in at)

    async def _is_behind(self, at: Sequence[TopicPartition], now_ms: int) -> bool:
        """Whether a broker's timestamp of a command is ahead of this machine's clock."""
        bounds = await self._log.bounds(at)
        later = await self._log.offsets_since(at, now_ms + _CLOCKS_MS)
        return any(later[tp] < bounds[tp].end for tp in at)

    def _command_id(self, answered: _Answered, record: Record) -> str | None:
        if _REPLAY not in (record.value or b""):
            return None
        try:
            return answered.parse(record.value, default_currency=self._settings.default_currency).id
        except Malformed:
            return None

    async def _since(self, topic: str, time_ms: int) -> Mapping[TopicPartition, Bounds]:
        """Return the ranges of a topic that have all records from a time on."""
        at = self._partitions(topic)
        starts = await self._log.offsets_since(at, time_ms - _CLOCKS_MS)
        bounds = await self._log.bounds(at)
        return {tp: Bounds(max(starts[tp], bounds[tp].first), bounds[tp].end) for tp in at}

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return partitions_of(topic, self._log.partition_count(topic))

    async def _records(
        self, ranges: Mapping[TopicPartition, Bounds], *, with_unreadable: bool = False
    ) -> AsyncGenerator[Record, None]:
        """Yield the records of these ranges of offsets.

        A batch that can't be decoded is one record ``with_unreadable``, else it is left out.
        """

        def replaced(batch: UnreadableBatch, _last_offset: int) -> Sequence[Record]:
            if not batch.end_is_known:
                raise batch
            return [_as_record(batch)] if with_unreadable else []

        async with aclosing(
            read_ranges(self._log, ranges, committed_only=False, on_unreadable=replaced)
        ) as fetched:
            async for _, records in fetched:
                for record in records:
                    yield record


def _as_record(batch: UnreadableBatch) -> Record:
    """Return a batch that can't be decoded as one record, with the cause as a header."""
    return Record(
        batch.topic,
        batch.partition,
        batch.offset,
        batch.timestamp,
        None,
        batch.data,
        [("unreadable", batch.cause.encode())],
    )


@asynccontextmanager
async def open_dead_letters(
    settings: Settings, others: Sequence[str] = ()
) -> AsyncIterator[DeadLetters]:
    """Connect to the brokers of these settings for as long as the block lasts.

    With ``others``, the topics of an own stage, no topic of the payments is needed.
    """
    log = KafkaLog(
        settings.connection(),
        delivery_timeout_seconds=CONNECT_SECONDS,
        apply_command=apply_command(settings, None),
    )
    topics = settings.topics
    own = [
        *map(topics.dead_letters, STAGES),
        topics.commands,
        topics.results,
        topics.account_commands,
        topics.account_results,
    ]
    try:
        await log.start(others or own)
        yield DeadLetters(log, settings)
    finally:
        await log.close()
