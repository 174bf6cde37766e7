"""The sender: sends waiting commands in batches, one produce request per broker at a time.

The commands that arrive while a request is in flight make the next one: a single command is sent at
once, and many share a request. A batch that may have arrived is sent again unchanged (same producer
id and sequence number), so the log has it once. It is dropped when all of its calls have ended.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiokafka.errors import TopicAuthorizationFailedError

from exactstage import FailStop, TopicPartition
from exactstage.kafka import OUTAGE, AppendFailure
from payments.client.calls import Call
from payments.client.partition_queues import PartitionQueue
from payments.client.transport import Transport, Unavailable
from payments.settings import Settings

if TYPE_CHECKING:
    from exactstage.log import Writer

logger = logging.getLogger(__name__)


class Sender:
    """Appends calls' commands, with retries until the calls end."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._topic = settings.topics.commands
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
            queue.close()
        self._queues.clear()
        self._dirty.clear()

    def add(self, call: Call) -> None:
        """Send this call's command as soon as its leader has no request in flight."""
        queue = self._queues.get(call.partition)
        if queue is None:
            at = TopicPartition(self._topic, call.partition)
            queue = self._queues[call.partition] = PartitionQueue(at, self._writer)
        queue.queue[call] = None
        if not queue.pausing:
            self._dirty[queue] = None
            self._schedule()

    def discard(self, call: Call) -> None:
        """Do not send this call's command, if it still waits."""
        queue = self._queues.get(call.partition)
        if queue is not None:
            queue.queue.pop(call, None)

    @property
    def healthy(self) -> bool:
        """Whether no command waits for another attempt."""
        queues = self._queues.values()
        return not any(queue.tries and (queue.queue or queue.batch) for queue in queues)

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
        if queue.queue:
            self._dirty[queue] = None

    def _pause(self, queue: PartitionQueue) -> None:
        self._dirty.pop(queue, None)
        queue.pause(self._resume)

    def _resume(self, queue: PartitionQueue) -> None:
        if self._open and (queue.queue or queue.batch):
            self._dirty[queue] = None
            self._schedule()
