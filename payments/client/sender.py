"""The sender: sends waiting commands in batches, one produce request per broker at a time.

The commands that arrive while a request is in flight make the next one: a single command is sent at
once, and many share a request. A batch that may have arrived is sent again unchanged (same producer
id and sequence number), so the log has it once. It is dropped when all of its calls have ended.

``Sender`` decides when and where something is sent, ``PartitionQueue`` what.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from exactstage import FailStop, TopicPartition
from exactstage.kafka import OUTAGE, AppendFailure, backoff_seconds
from exactstage.log import Writer
from payments.client.calls import Call, fail
from payments.client.errors import BrokersUnavailable, InvalidCommand, RightsMissing
from payments.client.transport import Transport, Unavailable
from payments.domain.results import Reason

logger = logging.getLogger(__name__)

MAX_BATCH_COMMANDS = 1000
MAX_BATCH_BYTES = 512 * 1024
"""Half of what the topic's ``max.message.bytes`` allows. A value is 64 KiB at most, but headers may
be larger: such a command is a batch by itself."""


_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


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
        self.waiting: dict[Call, None] = {}
        """Calls whose commands are not in a batch yet, in order."""
        self.batch: Batch | None = None
        """The one batch in flight or in doubt."""
        self.writer = writer
        """None after a batch was abandoned or refused: the next batch needs a new writer."""
        self.tries = 0
        self.busy = False
        """Whether its batch is in a request, so that no second request may have it."""
        self.timer: asyncio.TimerHandle | None = None
        """Set while it waits before the next attempt."""
        self._max_commands = MAX_BATCH_COMMANDS
        """Limit of the next batch: smaller while the command that can't be sent is searched for."""

    def drop_abandoned(self) -> None:
        """Drop a batch whose calls have all ended, and its writer: the next sequence is unknown."""
        if self.batch is not None and all(call.answer.done() for call in self.batch.calls):
            self.batch = self.writer = None

    def seal(self, transport: Transport) -> Any:
        """Return the batch in doubt, or a new batch of waiting commands; None without any."""
        while self.batch is None and self.waiting:
            assert self.writer is not None, "Sender._provide_writers sets it"
            calls = self._take()
            if not calls:
                break
            sequence = self.writer.sequences.get(self.at, 0)
            try:
                sealed = transport.seal(self.at, self.writer, [call.record for call in calls])
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
        for call in self.waiting:
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
            del self.waiting[call]
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
        self.waiting = dict.fromkeys(waiting) | self.waiting

    def stored(self) -> None:
        """Record that the broker has acknowledged the batch."""
        batch, self.batch = self.batch, None
        self._max_commands = MAX_BATCH_COMMANDS
        for call in () if batch is None else batch.calls:
            if call.stored is not None:
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


class Sender:
    """Appends calls' commands, with retries until the calls end."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport, self._topic = transport, topic
        self._queues: dict[int, PartitionQueue] = {}
        self._dirty: dict[PartitionQueue, None] = {}
        """Queues that have commands to send and are not pausing."""
        self._requests: dict[int, asyncio.Task[None]] = {}
        """The request in flight, by node."""
        self._scheduled = False
        self._open = False
        self._writer: Writer | None = None
        """First writer of all partitions, so that no first command waits for a writer."""

        self.unauthorized = False
        """Whether commands were refused for a missing right; ``ResultConsumer`` resets it."""

    async def start(self) -> None:
        """Start to send, or continue after the connection was lost."""
        if self._writer is None:
            self._writer = await self._transport.new_writer()
        self._open = True
        self._schedule()

    async def close(self) -> None:
        """Cancel all requests."""
        self._open = False
        requests = list(self._requests.values())
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        for queue in self._queues.values():
            if queue.timer is not None:
                queue.timer.cancel()
        self._queues.clear()
        self._dirty.clear()

    def add(self, call: Call) -> None:
        """Send this call's command as soon as its leader has no request in flight."""
        queue = self._queues.get(call.partition)
        if queue is None:
            at = TopicPartition(self._topic, call.partition)
            queue = self._queues[call.partition] = PartitionQueue(at, self._writer)
        queue.waiting[call] = None
        if queue.timer is None:
            self._dirty[queue] = None
            self._schedule()

    def discard(self, call: Call) -> None:
        """Do not send this call's command, if it still waits."""
        queue = self._queues.get(call.partition)
        if queue is not None:
            queue.waiting.pop(call, None)

    @property
    def healthy(self) -> bool:
        """Whether no command waits for another attempt."""
        queues = self._queues.values()
        return not any(queue.tries and (queue.waiting or queue.batch) for queue in queues)

    def _schedule(self) -> None:
        """Flush at the end of this iteration of the loop, so that all of its calls are included."""
        if not self._scheduled and self._open:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send a request to each idle node, with the queues that it leads."""
        self._scheduled = False
        if not self._open:
            return
        ready: dict[int, list[PartitionQueue]] = {}
        for queue in list(self._dirty):
            node = self._transport.leader(queue.at)
            if node is None:
                self._transport.request_refresh()
                self._pause(queue)
            elif node not in self._requests and not queue.busy:
                del self._dirty[queue]
                queue.busy = True
                ready.setdefault(node, []).append(queue)
        for node, queues in ready.items():
            request = asyncio.create_task(self._send(node, queues), name=f"send to {node}")
            self._requests[node] = request

    async def _send(self, node: int, queues: Sequence[PartitionQueue]) -> None:
        """Send one request, with each queue's batch in doubt, or else its waiting commands."""
        try:
            await self._provide_writers(queues)
            batches = {
                queue.at: sealed for queue in queues if (sealed := queue.seal(self._transport))
            }
            failures = await self._transport.append(node, batches) if batches else {}
            for queue in queues:
                self._finish(queue, failures.get(queue.at))
        except Unavailable as error:
            self._fail(queues, error, arrived=False)
        except FailStop as error:
            self._fail(queues, error, arrived=True)
        except Exception as error:
            logger.exception("sending commands failed; it is tried again")
            self._fail(queues, error, arrived=True)
        finally:
            del self._requests[node]
            self._schedule()

    async def _provide_writers(self, queues: Sequence[PartitionQueue]) -> None:
        for queue in queues:
            queue.drop_abandoned()
        without = [queue for queue in queues if queue.writer is None]
        if without:
            writer = await self._transport.new_writer()
            for queue in without:
                queue.writer = writer

    def _fail(self, queues: Sequence[PartitionQueue], error: Exception, *, arrived: bool) -> None:
        for queue in queues:
            self._finish(queue, AppendFailure(error, arrived=arrived, retriable=True))

    def _finish(self, queue: PartitionQueue, failure: AppendFailure | None) -> None:
        queue.busy = False
        if failure is None:
            queue.stored()
        elif failure.retriable:
            logger.debug("an append to %s failed: %r", queue.at, failure.error)
            queue.failed(arrived=failure.arrived)
            self._transport.request_refresh()
            self._pause(queue)
            return
        else:
            OUTAGE.say(f"an append to {queue.at} was refused: {failure.error!r}")
            queue.refused(failure.error)
            self.unauthorized |= isinstance(failure.error, TopicAuthorizationFailedError)
        queue.tries = 0
        if queue.waiting:
            self._dirty[queue] = None

    def _pause(self, queue: PartitionQueue) -> None:
        """Wait before the queue's next attempt: longer each time, up to half a second."""
        self._dirty.pop(queue, None)
        if queue.timer is not None:
            queue.timer.cancel()
        seconds = backoff_seconds(queue.tries)
        queue.timer = asyncio.get_running_loop().call_later(seconds, self._resume, queue)
        queue.tries += 1

    def _resume(self, queue: PartitionQueue) -> None:
        queue.timer = None
        if self._open and (queue.waiting or queue.batch):
            self._dirty[queue] = None
            self._schedule()
