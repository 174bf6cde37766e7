"""A lane: what waits for one partition, and the one batch of it that is under way."""

import asyncio
from collections.abc import Callable
from typing import Any

from payments.client.calls import Call, fail
from payments.client.errors import BrokersUnavailable
from payments.client.transport import Transport
from payments.engine.log import TopicPartition, Writer

MAX_BATCH_COMMANDS = 1000
MAX_BATCH_BYTES = 512 * 1024
"""Half of what the topic's ``max.message.bytes`` allows; one command is 64 KiB at most."""

_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)


class Batch:
    """Commands that are sent together, as often as it takes."""

    __slots__ = ("calls", "in_doubt", "sealed", "sequence")

    def __init__(self, calls: list[Call], sealed: Any, sequence: int) -> None:  # noqa: ANN401 - each transport has its own form
        self.calls = calls
        self.sealed = sealed
        self.sequence = sequence
        self.in_doubt = False


class Lane:
    """One partition of the commands."""

    def __init__(self, at: TopicPartition, writer: Writer | None) -> None:
        self.at = at
        self.queue: dict[Call, None] = {}
        self.batch: Batch | None = None
        self.writer = writer
        """None after a batch was given up or refused: the next needs a new one."""
        self.tries = 0
        self.busy = False
        """Whether its batch is in a request: it must not be in a second one."""
        self._timer: asyncio.TimerHandle | None = None

    def drop_unwanted(self) -> None:
        """Give up a batch that nobody waits for, and its writer: its next sequence is unknown."""
        if self.batch is not None and all(call.answer.done() for call in self.batch.calls):
            self.batch = self.writer = None

    def seal(self, transport: Transport) -> Any:  # noqa: ANN401 - each transport has its own form
        """Return the batch in doubt, or a new one of what waits; None when nothing does."""
        if self.batch is None and self.queue:
            assert self.writer is not None, "it was provided"
            calls = self._take()
            sequence = self.writer.sequences.get(self.at, 0)
            sealed = transport.seal(
                self.at, self.writer, [(call.key, call.value, call.headers) for call in calls]
            )
            self.batch = Batch(calls, sealed, sequence)
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

    def _put_back(self, batch: Batch) -> None:
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

    def pause(self, then: Callable[["Lane"], None]) -> None:
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
