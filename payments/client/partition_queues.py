"""Partition queues: the commands that wait for one partition, and its one batch in flight."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka.errors import (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from exactstage import Header, TopicPartition
from exactstage.log import Writer
from payments.client.calls import Call, fail
from payments.client.errors import BrokersUnavailable, InvalidCommand, RightsMissing
from payments.client.transport import Transport
from payments.domain.results import Reason

logger = logging.getLogger(__name__)

MAX_BATCH_COMMANDS = 1000
MAX_BATCH_BYTES = 512 * 1024
"""Half of what the topic's ``max.message.bytes`` allows. A value is 64 KiB at most, but headers may
be larger: such a command is a batch by itself."""

MAX_MESSAGE_BYTES = 1_048_588
"""``max.message.bytes`` of the commands in topics.yaml, and Kafka's default."""

_BATCH_OVERHEAD_BYTES, _HEADER_OVERHEAD_BYTES = 100, 10
"""Maximum overhead of a batch of one record, and of a header, in addition to their contents
(Kafka's record format: 61 bytes, and numbers of variable length)."""

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)


def size_of(key: bytes, value: bytes, headers: list[Header]) -> int:
    """Return the bytes of a command in a batch. Raises ``InvalidCommand`` if it fits in none."""
    size = len(key) + len(value)
    for name, content in headers:
        size += len(name.encode()) + len(content or b"") + _HEADER_OVERHEAD_BYTES
    if size > MAX_MESSAGE_BYTES - _BATCH_OVERHEAD_BYTES:
        message = (
            f"with its headers the command is {size:,} bytes; a batch on the topic is at most "
            f"{MAX_MESSAGE_BYTES:,} (max.message.bytes)"
        )
        raise InvalidCommand("headers", message, Reason.TOO_LARGE)
    return size


class Batch:
    """Commands that are sent together, with retries."""

    __slots__ = ("calls", "in_doubt", "sealed", "sequence")

    def __init__(self, calls: list[Call], sealed: Any, sequence: int) -> None:
        self.calls = calls
        self.sealed = sealed
        self.sequence = sequence
        self.in_doubt = False


class PartitionQueue:
    """One partition of the commands."""

    def __init__(self, at: TopicPartition, writer: Writer | None) -> None:
        self.at = at
        self.queue: dict[Call, None] = {}
        self.batch: Batch | None = None
        self.writer = writer
        """None after a batch was abandoned or refused: the next batch needs a new writer."""
        self.tries = 0
        self.busy = False
        """Whether its batch is in a request, so that no second request may have it."""
        self._timer: asyncio.TimerHandle | None = None
        self._max_commands = MAX_BATCH_COMMANDS
        """Limit of the next batch: smaller while the command that can't be sent is searched for."""

    def drop_abandoned(self) -> None:
        """Drop a batch whose calls have all ended, and its writer: the next sequence is unknown."""
        if self.batch is not None and all(call.answer.done() for call in self.batch.calls):
            self.batch = self.writer = None

    def seal(self, transport: Transport) -> Any:
        """Return the batch in doubt, or a new batch of waiting commands; None without any."""
        while self.batch is None and self.queue:
            assert self.writer is not None, "Sender._provide_writers sets it"
            calls = self._take()
            if not calls:
                break
            sequence = self.writer.sequences.get(self.at, 0)
            try:
                sealed = transport.seal(
                    self.at, self.writer, [(call.key, call.value, call.headers) for call in calls]
                )
            except Exception as error:
                # The call's checks should have refused it; it must not block the other commands.
                if len(calls) == 1:
                    logger.exception("a command can't be written as a record")
                self.writer.sequences[self.at] = sequence
                message = f"can't be written as a record: {error!r}; nothing was sent"
                blame = InvalidCommand("command", message, Reason.INTERNAL_ERROR)
                self._divide(calls, blame)
            else:
                self.batch = Batch(calls, sealed, sequence)
        return None if self.batch is None else self.batch.sealed

    def _take(self) -> list[Call]:
        calls: list[Call] = []
        ended: list[Call] = []
        size = 0
        for call in self.queue:
            if call.answer.done():
                # Its caller got an error that it was not sent, and has not discarded it yet.
                ended.append(call)
                continue
            size += call.size
            if calls and (size > MAX_BATCH_BYTES or len(calls) == self._max_commands):
                break
            call.sent = True
            calls.append(call)
        for call in (*calls, *ended):
            del self.queue[call]
        return calls

    def _divide(self, calls: list[Call], blame: InvalidCommand) -> None:
        """Try smaller batches of these unsent calls; a call that fails alone gets the error."""
        for call in calls:
            call.sent = False
        if len(calls) == 1:
            fail(calls[0], blame)
        else:
            self._max_commands = len(calls) // 2
            self._put_first(calls)

    def _put_first(self, calls: list[Call]) -> None:
        waiting = [call for call in calls if not call.answer.done()]
        self.queue = dict.fromkeys(waiting) | self.queue

    def stored(self) -> None:
        """Record that the broker has acknowledged the batch."""
        batch, self.batch = self.batch, None
        self._max_commands = MAX_BATCH_COMMANDS
        for call in () if batch is None else batch.calls:
            call.mark_stored()

    def failed(self, *, arrived: bool) -> None:
        """Keep a batch that may have arrived; else put its commands back into the queue."""
        if self.batch is None:
            return
        self.batch.in_doubt |= arrived
        if not self.batch.in_doubt:
            self._put_back(self.batch)

    def _put_back(self, batch: Batch) -> None:
        assert self.writer is not None, "it sealed the batch"
        self.writer.sequences[self.at] = batch.sequence
        self.batch = None
        for call in batch.calls:
            call.sent = False
        self._put_first(batch.calls)

    def refused(self, error: Exception) -> None:
        """Fail the calls of the batch, unless it is in doubt: then they keep waiting.

        If the batch is too large, smaller ones are tried: the topic's limit is below this client's.
        """
        batch, self.batch, self.writer = self.batch, None, None
        if batch is None or batch.in_doubt:
            return
        if isinstance(error, _TOO_LARGE):
            size = sum(call.size for call in batch.calls)
            message = (
                f"{size:,} bytes with headers are more than a batch on the topic may have "
                f"(max.message.bytes of {self.at.topic}): the broker refused it"
            )
            self._divide(batch.calls, InvalidCommand("command", message, Reason.TOO_LARGE))
        else:
            for call in batch.calls:
                fail(call, self._unavailable(error))

    def _unavailable(self, error: Exception) -> BrokersUnavailable:
        if not isinstance(error, TopicAuthorizationFailedError):
            return BrokersUnavailable(f"the broker refused the command: {type(error).__name__}")
        return RightsMissing(
            f"not authorized: this user lacks Write on {self.at.topic}; payments doctor --role "
            f"client has the command that grants it"
        )

    @property
    def pausing(self) -> bool:
        """Whether it waits before the next attempt."""
        return self._timer is not None

    def pause(self, then: Callable[["PartitionQueue"], None]) -> None:
        """Wait before the next attempt: longer each time, up to half a second."""
        seconds = _PAUSES_SECONDS[min(self.tries, len(_PAUSES_SECONDS) - 1)]
        self.tries += 1

        def resume() -> None:
            self._timer = None
            then(self)

        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, resume)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
