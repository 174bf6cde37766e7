"""Resuming: finds in the topics the result of a command that another process sent.

Before it sends a command, a program takes a ``Mark`` of where the records will be. With the mark
any client finds the command and its result, also after a restart, while the topics keep them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from exactstage import Record, TopicPartition
from exactstage.errors import FailStop, PositionLost, UnreadableBatch
from exactstage.kafka import troubles_in_words
from payments.client.calls import Call
from payments.client.chunks import Chunks
from payments.client.errors import BrokersUnavailable
from payments.client.transport import Transport
from payments.records.commands import own_of
from payments.settings import Settings

MARK_SECONDS = 1.0
"""How long a mark also serves later commands: it is before them too, and saves a request."""

MAX_COMMANDS = 100_000
"""Maximum number of records searched after a mark, which bounds the cost of an invented mark."""

_Found = TypeVar("_Found")


class Mark(NamedTuple):
    """Offsets in a payment's partition of the commands and the results, before its records."""

    commands: int
    results: int


class Resuming:
    """Searches the topics after a mark."""

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        *,
        commands: str,
        results: str,
        read: Callable[[bytes], Any],
    ) -> None:
        """Take the topics, and what returns the result in a record's value."""
        self._transport = transport
        self._brokers = settings.brokers
        self._commands, self._results, self._read_result = commands, results, read
        self._marks: dict[int, tuple[float, Mark]] = {}
        self._searches: dict[TopicPartition, Chunks] = {}

    async def mark(self, partition: int) -> Mark:
        """Return a mark before all commands sent from now on. Raises ``Unavailable``."""
        now = asyncio.get_running_loop().time()
        since, mark = self._marks.get(partition, (0.0, None))
        if mark is None or now - since > MARK_SECONDS:
            at = [TopicPartition(topic, partition) for topic in (self._commands, self._results)]
            ends = await self._transport.ends(at)
            mark = Mark(*(ends[one] for one in at))
            self._marks[partition] = now, mark
        return mark

    def progress(self, partition: int) -> str | None:
        """Return what blocks a search in this partition, in words; None if nothing does."""
        at = [TopicPartition(topic, partition) for topic in (self._commands, self._results)]
        found = [self._searches[tp].trouble(self._brokers) for tp in at if tp in self._searches]
        causes = "; ".join(troubles_in_words([trouble for trouble in found if trouble is not None]))
        return f"the command can't be searched for: {causes}" if causes else None

    async def complete(self, call: Call, mark: Mark) -> bool:
        """Answer a call with the result if the topic has it; return whether the command was found.

        The call must be in flight already: a result that arrives during the search ends it.
        """

        def is_command(record: Record) -> bool | None:
            return True if own_of(record.value)[0] == call.command else None

        def answer(record: Record) -> Any:
            try:
                result = self._read_result(record.value or b"")
            except ValidationError:
                return None
            return result if result.command == call.command else None

        commands = TopicPartition(self._commands, call.partition)
        results = TopicPartition(self._results, call.partition)
        try:
            if not await self._find(commands, mark.commands, call.key, is_command, MAX_COMMANDS):
                return False
            result = await self._find(results, mark.results, call.key, answer)
        except FailStop as error:
            raise BrokersUnavailable(f"the topics can't be read: {error}") from error
        if result is not None and not call.answer.done():
            call.answer.set_result(result)
        return True

    async def _find(
        self,
        at: TopicPartition,
        start: int,
        key: bytes,
        take: Callable[[Record], _Found | None],
        most: int | None = None,
    ) -> _Found | None:
        """Return the first result of ``take`` that is not None, over the records with this key.

        Searches the records from ``start`` to the current end, at most ``most`` of them.
        """
        bounds = (await self._transport.bounds([at]))[at]
        end = bounds.end if most is None else min(bounds.end, start + most)
        position = max(start, bounds.first)
        chunks = self._searches[at] = Chunks(self._transport, at)
        while position < end:
            try:
                chunk = await chunks.read(position)
            except PositionLost:
                return None  # The topic's retention removed them since the request for the bounds.
            except UnreadableBatch as batch:
                if not batch.end_is_known:
                    raise
                position = batch.last_offset + 1
                continue
            for record in chunk.records:
                searched = record.key == key and record.offset < end
                if searched and (found := take(record)) is not None:
                    return found
            await chunks.pause()
            position = chunk.position
        return None
