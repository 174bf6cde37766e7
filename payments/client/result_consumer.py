"""The result consumer: keeps the connection, and reads all results from the end of the topic on.

It never ends by itself: after any failure of the brokers it connects again and continues at its
positions. If it ended, callers would wait for results that are not read.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from exactstage import Record, TopicPartition
from exactstage.errors import FailStop, NotAuthorized, NoTopic, PositionLost, UnreadableBatch
from exactstage.kafka import OUTAGE, cause_in_words
from exactstage.log import Reader
from payments.client.calls import Calls
from payments.client.errors import BrokersUnavailable, RightsMissing
from payments.client.sender import Sender
from payments.client.transport import Transport, Unavailable
from payments.client.watching import Watches
from payments.records.record_address import RecordAddress
from payments.records.record_models import Result
from payments.records.wording import worded
from payments.settings import Settings

logger = logging.getLogger(__name__)

_FETCH_SECONDS = 1.0
_PAUSE_SECONDS = 0.5

# The validator itself, since the model's method only wraps it. Newer workers may add fields.
_parse_result = Result.__pydantic_validator__.validate_json


def read_result(value: bytes) -> Result:
    """Return the result of a record, with its message; raises ``ValidationError``."""
    return worded(_parse_result(value, extra="ignore"))


class ResultConsumer:
    """Reads results for the calls and watches of one client.

    ``commands`` and ``results`` are the topics; ``read`` returns the result in a record's value.
    ``on_request``: where a right or a topic is missing at the first connection, ``run`` ends
    instead of trying again for ever, since perhaps nobody asks again; see ``try_again``.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        *,
        commands: str,
        results: str,
        read: Callable[[bytes], Any],
        calls: Calls,
        watches: Watches,
        sender: Sender,
        on_request: bool = False,
    ) -> None:
        self._transport = transport
        self._brokers = settings.brokers
        self._commands, self._results, self._read_result = commands, results, read
        self._topics = [self._commands, self._results]
        self._calls = calls
        self._watches = watches
        self._sender = sender
        self._on_request = on_request
        self._positions: dict[TopicPartition, int] = {}
        self.ready = asyncio.Event()
        """Set when the ends of all results are known, so that commands may be sent."""
        self._ready_or_unauthorized = asyncio.Event()
        """Set when it is ready, or when this user lacks a right."""
        self._ready_or_refused = asyncio.Event()
        """Set when it is ready, or when the brokers refuse, so that waiting alone can't help."""
        self.following = False
        """Whether results are being read now."""
        self.partitions = 0
        """Partitions of the commands, from ``ready`` on."""
        self.problem: Exception | None = None
        """Why the last attempt to connect or read failed."""

    async def until_ready(self, seconds: float, *, fail_fast: bool) -> None:
        """Wait for the first connection. Raises ``BrokersUnavailable``.

        With ``fail_fast`` it raises as soon as the brokers refuse, or lack the topics.
        """
        why = ""
        ended = self._ready_or_refused if fail_fast else self._ready_or_unauthorized
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            why = f" within {seconds:g} s"
        self.require_rights()
        if not self.ready.is_set():
            problem = self.problem or self._transport.failure
            if isinstance(problem, NoTopic):
                raise BrokersUnavailable(str(problem)) from problem
            why += f": {cause_in_words(problem)}" if problem is not None else ""
            message = f"no connection to Kafka at {self._brokers}{why}"
            raise BrokersUnavailable(message) from problem

    def require_rights(self) -> None:
        """Raise ``RightsMissing`` if results are not read because of a missing right."""
        if isinstance(self.problem, NotAuthorized):
            raise RightsMissing(str(self.problem)) from self.problem

    def try_again(self) -> None:
        """Forget a refusal at which ``run`` has ended, before it is called again."""
        self._ready_or_refused.clear()
        self._ready_or_unauthorized.clear()

    async def run(self) -> None:
        """Connect and read results, with reconnects, until cancelled; see ``on_request``."""
        while True:
            try:
                await self._follow()
            except PositionLost as error:
                # Calls whose result was removed end by their deadline; they may be sent again.
                logger.warning("results were removed before they were read: %s", error)
                self._positions = {}
                self._watches.break_all("results were removed before they were read")
                self.problem = error
            except (FailStop, Unavailable) as error:
                given_up = self._is_given_up(error)
                if given_up:
                    await self._transport.close()
                then = "the next command tries" if given_up else "trying"
                OUTAGE.say(f"following the results failed, {then} again: {error}")
                self.problem = error
                if isinstance(error, FailStop):
                    self._ready_or_refused.set()
                if isinstance(error, NotAuthorized):
                    self._ready_or_unauthorized.set()
                elif not self.ready.is_set():
                    self._ready_or_unauthorized.clear()
                if given_up:
                    return
            except Exception as error:
                logger.exception("following the results failed, trying again")
                self.problem = error
            await asyncio.sleep(_PAUSE_SECONDS)

    def _is_given_up(self, error: Exception) -> bool:
        lacking = isinstance(error, NotAuthorized | NoTopic)
        return self._on_request and lacking and not self.ready.is_set()

    async def _follow(self) -> None:
        """Connect, and read until a failure, or until commands are refused for a right."""
        await self._transport.open(self._topics)
        self.partitions = self._transport.partition_count(self._commands)
        if not self._positions:
            count = self._transport.partition_count(self._results)
            at = [TopicPartition(self._results, p) for p in range(count)]
            self._positions = dict(await self._transport.ends(at))
        reader = await self._transport.open_reader()
        try:
            reader.assign(self._positions)
            await self._sender.start()
            self.following, self.problem = True, None
            self.ready.set()
            self._ready_or_unauthorized.set()
            self._ready_or_refused.set()
            while not self._sender.unauthorized:
                await self._read(reader)
            # The next connection checks all rights, reports what is missing, and waits for it.
            self._sender.unauthorized = False
        finally:
            self.following = False
            self._positions = dict(reader.positions())
            await reader.close()

    async def _read(self, reader: Reader) -> None:
        try:
            fetched = await reader.fetch(timeout_seconds=_FETCH_SECONDS)
        except UnreadableBatch as batch:
            if not batch.end_is_known:
                raise
            logger.warning(
                "%s/%d: offsets %d to %d can't be read (%s); calls that they answer end by their "
                "deadlines, and may be sent again",
                batch.topic,
                batch.partition,
                batch.offset,
                batch.last_offset,
                batch.cause,
            )
            self._watches.break_all("results can't be read")
            reader.skip(batch)
            return
        called, watched = self._calls.by_payment, self._watches.by_payment
        for records in fetched.values():
            for record in records:
                if record.key in called or record.key in watched:
                    self._deliver(record)

    def _deliver(self, record: Record) -> None:
        """Give a result to the calls and watches of its payment."""
        key = record.key or b""
        try:
            result = self._read_result(record.value or b"")
        except ValidationError:
            # Another program wrote it: its content stays out of the log.
            where = RecordAddress(*record[:3])
            logger.warning("%s is no result; it is skipped", where)
            return
        self._calls.answer(key, result)
        if key in self._watches.by_payment:
            self._watches.show(key, result)
