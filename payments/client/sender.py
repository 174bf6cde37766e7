"""The sender: commands that wait become batches, one produce request per broker at a time.

What has gathered while the last request was under way makes the next one: so a lone command leaves
at once, and many share a request. A batch that may have arrived is sent again as it was (same
producer id and sequence number), so the log has it once. It is given up when nobody waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka.errors import TopicAuthorizationFailedError

from payments.client.calls import Call
from payments.client.lanes import Lane
from payments.client.transport import Failure, Transport, Unavailable
from payments.engine.errors import FailStop
from payments.engine.log import TopicPartition, Writer
from payments.engine.outage import OUTAGE
from payments.settings import Settings

logger = logging.getLogger(__name__)


class Sender:
    """Appends calls' commands, and tries again for as long as somebody waits."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._topic = settings.topic("payments.commands")
        self._lanes: dict[int, Lane] = {}
        self._dirty: dict[Lane, None] = {}
        """Lanes that have something to send and are not pausing."""
        self._requests: dict[int, asyncio.Task[None]] = {}
        """The request under way, by node."""
        self._scheduled = False
        self._open = False
        self._writer: Writer | None = None
        """Every partition's first writer, so that its first command does not wait for one."""

        self.unauthorized = False
        """Whether commands were refused for a right; set back by who has seen to it."""

    async def start(self) -> None:
        """Begin to send, or go on after the connection was lost."""
        if self._writer is None:
            self._writer = await self._transport.new_writer()
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
            lane = self._lanes[call.partition] = Lane(at, self._writer)
        lane.queue[call] = None
        if not lane.pausing:
            self._dirty[lane] = None
            self._schedule()

    def discard(self, call: Call) -> None:
        """Do not send it, if that is still possible."""
        lane = self._lanes.get(call.partition)
        if lane is not None:
            lane.queue.pop(call, None)

    @property
    def healthy(self) -> bool:
        """Whether nothing waits for a further try."""
        lanes = self._lanes.values()
        return not any(lane.tries and (lane.queue or lane.batch) for lane in lanes)

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
        ready: dict[int, list[Lane]] = {}
        for lane in list(self._dirty):
            node = self._transport.leader(lane.at)
            if node is None:
                self._transport.request_refresh()
                self._pause(lane)
            elif node not in self._requests and not lane.busy:
                del self._dirty[lane]
                lane.busy = True
                ready.setdefault(node, []).append(lane)
        for node, lanes in ready.items():
            request = asyncio.create_task(self._send(node, lanes), name=f"send to {node}")
            self._requests[node] = request

    async def _send(self, node: int, lanes: Sequence[Lane]) -> None:
        """Send one request: what is in doubt once more, or else what waits."""
        try:
            await self._provide_writers(lanes)
            batches = {lane.at: sealed for lane in lanes if (sealed := lane.seal(self._transport))}
            failures = await self._transport.append(node, batches) if batches else {}
            for lane in lanes:
                self._finish(lane, failures.get(lane.at))
        except Unavailable as error:
            self._fail(lanes, error, arrived=False)
        except FailStop as error:
            self._fail(lanes, error, arrived=True)
        except Exception as error:
            logger.exception("sending commands failed; it is tried again")
            self._fail(lanes, error, arrived=True)
        finally:
            del self._requests[node]
            self._schedule()

    async def _provide_writers(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            lane.drop_unwanted()
        without = [lane for lane in lanes if lane.writer is None]
        if without:
            writer = await self._transport.new_writer()
            for lane in without:
                lane.writer = writer

    def _fail(self, lanes: Sequence[Lane], error: Exception, *, arrived: bool) -> None:
        for lane in lanes:
            self._finish(lane, Failure(error, arrived=arrived, retriable=True))

    def _finish(self, lane: Lane, failure: Failure | None) -> None:
        lane.busy = False
        if failure is None:
            lane.stored()
        elif failure.retriable:
            logger.debug("an append to %s failed: %r", lane.at, failure.error)
            lane.failed(arrived=failure.arrived)
            self._transport.request_refresh()
            self._pause(lane)
            return
        else:
            OUTAGE.say(f"an append to {lane.at} was refused: {failure.error!r}")
            lane.refused(failure.error)
            self.unauthorized |= isinstance(failure.error, TopicAuthorizationFailedError)
        lane.tries = 0
        if lane.queue:
            self._dirty[lane] = None

    def _pause(self, lane: Lane) -> None:
        self._dirty.pop(lane, None)
        lane.pause(self._resume)

    def _resume(self, lane: Lane) -> None:
        if self._open and (lane.queue or lane.batch):
            self._dirty[lane] = None
            self._schedule()
