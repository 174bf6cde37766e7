"""The sender: commands that wait become batches, one produce request per broker at a time.

What has gathered while the last request was under way makes the next one: so a lone command leaves
at once, and many share a request. A batch that may have arrived is sent again as it was (same
producer id and sequence number), so the log has it once. It is given up when nobody waits for it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from payments.client.calls import Call, fail
from payments.client.errors import BrokersUnavailable
from payments.client.transport import Failure, Transport, Unavailable
from payments.engine.errors import FailStop
from payments.engine.log import TopicPartition, Writer

logger = logging.getLogger(__name__)

MAX_BATCH_COMMANDS = 1000
MAX_BATCH_BYTES = 512 * 1024
"""Half of what the topic's ``max.message.bytes`` allows; one command is 64 KiB at most."""

_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)


class Sender:
    """Appends calls' commands, and tries again for as long as somebody waits."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport = transport
        self._topic = topic
        self._lanes: dict[int, _Lane] = {}
        self._dirty: dict[_Lane, None] = {}
        """Lanes that have something to send and are not pausing."""
        self._requests: dict[int, asyncio.Task[None]] = {}
        """The request under way, by node."""
        self._scheduled = False
        self._open = False

    def start(self) -> None:
        """Begin to send."""
        self._open = True
        self._schedule()

    async def close(self) -> None:
        """End all requests where they are."""
        self._open = False
        requests = list(self._requests.values())
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._dirty.clear()

    def add(self, call: Call) -> None:
        """Send this call's command as soon as its broker takes one."""
        lane = self._lanes.get(call.partition)
        if lane is None:
            at = TopicPartition(self._topic, call.partition)
            lane = self._lanes[call.partition] = _Lane(at)
        lane.queue[call] = None
        if not lane.pausing:
            self._dirty[lane] = None
            self._schedule()

    def discard(self, call: Call) -> None:
        """Do not send it, if that is still possible."""
        lane = self._lanes.get(call.partition)
        if lane is not None:
            lane.queue.pop(call, None)

    def _schedule(self) -> None:
        """Cut batches at the end of this turn of the loop, so that all its calls are in them."""
        if not self._scheduled and self._open:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._cut)

    def _cut(self) -> None:
        """Give each idle node the lanes that it leads."""
        self._scheduled = False
        if not self._open:
            return
        ready: dict[int, list[_Lane]] = {}
        for lane in list(self._dirty):
            node = self._transport.leader(lane.at)
            if node is None:
                self._transport.request_refresh()
                self._pause(lane)
            elif node not in self._requests:
                del self._dirty[lane]
                ready.setdefault(node, []).append(lane)
        for node, lanes in ready.items():
            request = asyncio.create_task(self._send(node, lanes), name=f"send to {node}")
            self._requests[node] = request

    async def _send(self, node: int, lanes: Sequence["_Lane"]) -> None:
        """Send one request: what is in doubt once more, or else what waits."""
        try:
            await self._provide_writers(lanes)
            batches = {lane.at: sealed for lane in lanes if (sealed := lane.seal(self._transport))}
            failures = await self._transport.append(node, batches) if batches else {}
            for lane in lanes:
                self._finish(lane, failures.get(lane.at))
        except (Unavailable, FailStop) as error:
            failure = Failure(error, arrived=True, retriable=True)
            for lane in lanes:
                self._finish(lane, failure)
        except Exception as error:
            logger.exception("sending commands failed; it is tried again")
            for lane in lanes:
                self._finish(lane, Failure(error, arrived=True, retriable=True))
        finally:
            del self._requests[node]
            self._schedule()

    async def _provide_writers(self, lanes: Sequence["_Lane"]) -> None:
        without = [lane for lane in lanes if lane.needs_writer]
        if without:
            writer = await self._transport.new_writer()
            for lane in without:
                lane.writer = writer

    def _finish(self, lane: "_Lane", failure: Failure | None) -> None:
        if failure is None:
            lane.stored()
        elif failure.retriable:
            logger.debug("an append to %s failed: %r", lane.at, failure.error)
            lane.failed(arrived=failure.arrived)
            self._transport.request_refresh()
            self._pause(lane)
            return
        else:
            logger.warning("an append to %s was refused: %r", lane.at, failure.error)
            lane.refused(failure.error)
        lane.tries = 0
        if lane.queue:
            self._dirty[lane] = None

    def _pause(self, lane: "_Lane") -> None:
        self._dirty.pop(lane, None)
        lane.pause(self._resume)

    def _resume(self, lane: "_Lane") -> None:
        if self._open and (lane.queue or lane.batch):
            self._dirty[lane] = None
            self._schedule()


class _Batch:
    """Commands that are sent together, as often as it takes."""

    __slots__ = ("calls", "in_doubt", "sealed", "sequence")

    def __init__(self, calls: list[Call], sealed: Any, sequence: int) -> None:  # noqa: ANN401 - each transport has its own form
        self.calls = calls
        self.sealed = sealed
        self.sequence = sequence
        self.in_doubt = False


class _Lane:
    """One partition: what waits, and the one batch under way."""

    def __init__(self, at: TopicPartition) -> None:
        self.at = at
        self.queue: dict[Call, None] = {}
        self.batch: _Batch | None = None
        self.writer: Writer | None = None
        self.tries = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def needs_writer(self) -> bool:
        """Whether it has no writer, or is to give its batch up: then nobody knows its sequence."""
        if self.batch is not None and all(call.answer.done() for call in self.batch.calls):
            self.batch = self.writer = None
        return self.writer is None

    def seal(self, transport: Transport) -> Any:  # noqa: ANN401 - each transport has its own form
        """Return the batch in doubt, or a new one of what waits; None when nothing does."""
        if self.batch is None and self.queue:
            assert self.writer is not None, "it was provided"
            calls = self._take()
            sequence = self.writer.sequences.get(self.at, 0)
            sealed = transport.seal(
                self.at, self.writer, [(call.key, call.value) for call in calls]
            )
            self.batch = _Batch(calls, sealed, sequence)
        return None if self.batch is None else self.batch.sealed

    def _take(self) -> list[Call]:
        calls: list[Call] = []
        size = 0
        for call in self.queue:
            size += len(call.value) + len(call.key)
            if calls and (size > MAX_BATCH_BYTES or len(calls) == MAX_BATCH_COMMANDS):
                break
            call.sent = True
            calls.append(call)
        for call in calls:
            del self.queue[call]
        return calls

    def stored(self) -> None:
        """Note that the broker has the batch."""
        batch, self.batch = self.batch, None
        for call in () if batch is None else batch.calls:
            call.mark_stored()

    def failed(self, *, arrived: bool) -> None:
        """Keep a batch that may have arrived; put back the commands of one that has not."""
        if self.batch is None:
            return
        self.batch.in_doubt |= arrived
        if not self.batch.in_doubt:
            self._put_back(self.batch)

    def _put_back(self, batch: _Batch) -> None:
        assert self.writer is not None, "it sealed the batch"
        self.writer.sequences[self.at] = batch.sequence
        self.batch = None
        for call in batch.calls:
            call.sent = False
        waiting = [call for call in batch.calls if not call.answer.done()]
        self.queue = dict.fromkeys(waiting) | self.queue

    def refused(self, error: Exception) -> None:
        """Fail the calls of the batch. Those that may have arrived earlier wait on."""
        batch, self.batch, self.writer = self.batch, None, None
        if batch is not None and not batch.in_doubt:
            message = f"the broker refused the command: {type(error).__name__}"
            for call in batch.calls:
                fail(call, BrokersUnavailable(message))

    @property
    def pausing(self) -> bool:
        """Whether the next try has a time."""
        return self._timer is not None

    def pause(self, then: Callable[["_Lane"], None]) -> None:
        """Wait before the next try: a little longer each time, up to half a second."""
        seconds = _PAUSES_SECONDS[min(self.tries, len(_PAUSES_SECONDS) - 1)]
        self.tries += 1

        def resume() -> None:
            self._timer = None
            then(self)

        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, resume)

    def close(self) -> None:
        """Drop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
