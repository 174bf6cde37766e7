"""What a client does with the commands of one topic, and the results of another.

``PaymentsClient`` has the commands of payments, ``AccountCommands`` those of accounts: each with a
connection of its own, and with all of its calls in one table.
"""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Generic, NamedTuple, Self, TypeVar

from exactstage import partition_of
from exactstage.kafka import Right, Trouble, cause_in_words
from payments.client.arguments import require_instance, require_text
from payments.client.calls import (
    Answered,
    Call,
    Calls,
    require_deadline,
    require_result_seconds,
)
from payments.client.commands import CheckedId, Outgoing
from payments.client.errors import BrokersUnavailable, ClientClosed, DeadlineExceeded
from payments.client.kafka import KafkaTransport
from payments.client.reading import read_within
from payments.client.result_consumer import ResultConsumer
from payments.client.resuming import Mark, Resuming
from payments.client.sender import Sender
from payments.client.standing_watch import StandingWatch
from payments.client.transport import Transport
from payments.client.watching import Watches
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command
from payments.settings import Settings

DEADLINE_SECONDS = 30.0

NOT_READ = ("results are not read: ", "accounts are not read: ")
NOT_TAKEN = "a broker has not taken the last commands yet"
"""How ``trouble`` begins when there is a connection."""

R = TypeVar("R", bound=Answered)
_Value = TypeVar("_Value")


class CommandKind(NamedTuple, Generic[R]):
    """What the commands are for: their topics, and the forms of commands and results."""

    commands: str
    results: str
    """The topics."""

    key: Callable[[str | CheckedId], bytes]
    """Returns the key of a record; raises ``InvalidCommand`` and ``TypeError``."""

    outgoing: Callable[..., Outgoing]
    """Returns a command as it is sent; raises the same."""

    result: Callable[[bytes], R]
    """Returns the result in a record, in words too; raises ``ValidationError``."""

    in_doubt: str
    """The next step after a command whose outcome is unknown."""


class CommandClient(Generic[R]):
    """Sends commands of one kind and waits for their results."""

    def __init__(
        self,
        kind: CommandKind[R],
        settings: Settings,
        *,
        connect_seconds: float,
        transport: Transport | None,
    ) -> None:
        self.settings, self._kind = settings, kind
        self._connect_seconds = connect_seconds
        self._transport = transport or KafkaTransport(
            settings.connection(),
            delivery_timeout_seconds=settings.delivery_timeout_seconds,
            stall_seconds=settings.stall_seconds,
            rights={kind.commands: [Right.WRITE], kind.results: [Right.READ]},
        )
        self._prefix = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        limit = settings.client_max_calls
        self._calls = Calls(limit, kind.in_doubt)
        self._watches = Watches(limit)
        self._resuming = Resuming(
            self._transport,
            settings,
            commands=kind.commands,
            results=kind.results,
            read=kind.result,
        )
        self._sender = Sender(self._transport, kind.commands)
        self._results = ResultConsumer(
            self._transport,
            settings,
            commands=kind.commands,
            results=kind.results,
            read=kind.result,
            calls=self._calls,
            watches=self._watches,
            sender=self._sender,
            on_request=self._on_request,
        )
        self._standing = StandingWatch(
            settings.stall_seconds,
            results=self._transport.standing,
            accounts=self._account_troubles,
        )
        self._running: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _account_troubles(self) -> Sequence[Trouble]:
        """Return the partitions of accounts that stand still, even if only for a moment."""
        return ()

    async def __aenter__(self) -> Self:
        """Connect, and read results from now on."""
        self._begin()
        if self._connect_seconds > 0:
            try:
                await self._results.until_ready(self._connect_seconds, fail_fast=True)
            except BaseException:
                await self._close()
                raise
        return self

    def _begin(self) -> None:
        """Begin to connect in this event loop."""
        if self._loop is not None:
            message = "a client is entered once: make another PaymentsClient for another block"
            raise RuntimeError(message)
        self._loop = asyncio.get_running_loop()
        self._run()
        self._watching = asyncio.create_task(self._standing.run(), name="standing partitions")

    def _run(self) -> None:
        self._running = asyncio.create_task(self._results.run(), name="payments client")

    @property
    def _is_given_up(self) -> bool:
        """Whether nothing tries to connect before the next call; see ``_on_request``."""
        return self._on_request and self._running is not None and self._running.done()

    async def __aexit__(self, *error: object) -> None:
        """Disconnect. Calls in flight end with ``ClientClosed``.

        In another event loop it raises ``RuntimeError``, and the client continues in its own.
        """
        if self._running is not None:
            self._require_own_loop(asyncio.get_running_loop())
        await self._close()

    async def _close(self) -> None:
        running, self._running = self._running, None
        tasks = [task for task in (running, self._watching) if task is not None]
        self._results.ready.set()  # Calls that wait for it then find the client closed.
        self._calls.close()
        self._watches.close()
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._transport.close)
            closing.push_async_callback(self._close_others)
            closing.push_async_callback(self._sender.close)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _close_others(self) -> None:
        """Close what else uses the connection."""

    async def send(
        self,
        payment: str | CheckedId,
        command: Mapping[str, object] | Command | AccountCommand,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> R:
        """Send a command with the fields that it has on the topic, and wait for its result.

        Its ``id`` is filled in if absent. A given id must be unique to this command: the first
        result with it is the answer. ``headers`` are those of the record, pairs of a name (str) and
        a value (bytes); others raise ``TypeError``. A ``CheckedId`` and a ``Command`` are the
        gateway's, which has checked them: they are only encoded.
        """
        call = await self._start(payment, command, deadline_seconds, headers=headers)
        return await self._answered(call)

    async def submit(
        self,
        payment: str | CheckedId,
        command: Mapping[str, object] | Command | AccountCommand,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        result_seconds: float | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[R]:
        """Send a command as ``send`` does; return its result's future when a broker has it.

        From then on it is carried out, even if this process ends. A broker must acknowledge it
        within ``deadline_seconds``; the future waits for the result for ``result_seconds`` in all,
        by default the same.
        """
        require_deadline(deadline_seconds)
        require_result_seconds(result_seconds)
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_seconds
        call = await self._start(
            payment, command, deadline_seconds, result_seconds or 0.0, headers=headers
        )
        stored = call.stored = loop.create_future()
        result = asyncio.ensure_future(self._answered(call))
        call.answer.add_done_callback(call.mark_stored)
        try:
            async with asyncio.timeout_at(end):
                await stored
        except TimeoutError:
            self._calls.expire(call)
        if call.answer.done():
            await result
        return result

    async def mark(
        self, payment: str | CheckedId, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> Mark:
        """Return a mark for ``resume``: offsets before any command that is sent from now on.

        Raises ``BrokersUnavailable``.
        """
        key = self._kind.key(payment)
        try:
            return await self._read(
                deadline_seconds, lambda n: self._resuming.mark(partition_of(key, n))
            )
        except DeadlineExceeded as error:
            raise BrokersUnavailable(str(error)) from error

    async def resume(
        self,
        payment: str | CheckedId,
        command_id: str,
        mark: Mark,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        result_seconds: float | None = None,
    ) -> asyncio.Future[R] | None:
        """Return the future of the result of a command that any client sent after ``mark``.

        None when the topic does not have the command (it keeps commands for its retention). The
        search takes at most ``deadline_seconds``; the future waits for a missing result for
        ``result_seconds`` in all, by default the same. Raises ``CatchingUp`` when an open
        transaction blocks the search.
        """
        key = self._kind.key(payment)
        require_text("command_id", command_id, "the command's own id")
        require_instance("mark", mark, Mark, "what mark() returned")
        require_deadline(deadline_seconds)
        require_result_seconds(result_seconds)
        left = await self._opened(deadline_seconds)
        partition = partition_of(key, self._results.partitions)
        answer = asyncio.get_running_loop().create_future()
        call = Call(key, partition, command_id, answer, sent=True)
        self._calls.add(call, max(left, result_seconds or 0.0))
        known = False
        try:
            known = await self._attempt(
                left,
                lambda _: self._resuming.complete(call, mark),
                lambda: self._resuming.progress(partition),
            )
        finally:
            if not known:
                self._calls.discard(call)
                answer.cancel()
        if not known:
            return None
        result = asyncio.ensure_future(self._answered(call))
        if answer.done():
            await asyncio.wait([result])  # So that the returned future is done already.
        return result

    async def _start(
        self,
        payment: str | CheckedId,
        command: Mapping[str, object] | Command | AccountCommand,
        deadline_seconds: float,
        result_seconds: float = 0.0,
        *,
        headers: Sequence[tuple[str, bytes]],
    ) -> Call:
        """Begin to send a command; ``_answered`` must follow without an await in between."""
        sent = self._kind.outgoing(
            payment,
            command,
            headers,
            default_id=f"{self._prefix}-{next(self._numbers)}",
            default_currency=self.settings.default_currency,
        )
        require_deadline(deadline_seconds)
        left = await self._opened(deadline_seconds)
        key = sent.record[0]
        call = Call(
            key=key,
            partition=partition_of(key, self._results.partitions),
            command=sent.id,
            answer=asyncio.get_running_loop().create_future(),
            record=sent.record,
            size=sent.size,
        )
        self._calls.add(call, max(left, result_seconds))
        self._sender.add(call)
        return call

    async def _answered(self, call: Call) -> R:
        """Return the result of a call, and forget the call however it ends."""
        try:
            result: R = await call.answer
            return result
        finally:
            self._calls.discard(call)
            if not call.sent:
                self._sender.discard(call)

    def _trouble_with_results(self) -> str | None:
        """Return in words why results are not read."""
        if not self._results.following:
            problem = self._results.problem
            cause = f": {cause_in_words(problem)}" if problem else " yet"
            return f"no connection to Kafka{cause}"
        if (trouble := self._transport.trouble) is not None:
            return f"{NOT_READ[0]}{trouble}"
        return None

    def _trouble_with_commands(self) -> str | None:
        """Return in words why results are not read, or commands not taken."""
        if (trouble := self._trouble_with_results()) is not None:
            return trouble
        return None if self._sender.healthy else NOT_TAKEN

    async def _read(
        self, deadline_seconds: float, read: Callable[[int], Awaitable[_Value]]
    ) -> _Value:
        """Read from the topics; ``read`` takes the number of partitions."""
        require_deadline(deadline_seconds)
        left = await self._opened(deadline_seconds)
        return await self._attempt(left, read, self._progress)

    def _progress(self) -> str | None:
        """Return how far a read is before its end, in words."""
        return None

    async def _attempt(
        self,
        seconds: float,
        read: Callable[[int], Awaitable[_Value]],
        progress: Callable[[], str | None],
    ) -> _Value:
        """Read as ``_read`` does, once there has been a connection."""

        def attempt() -> Awaitable[_Value]:
            self._require_open()
            return read(self._results.partitions)

        return await read_within(seconds, attempt, progress)

    async def _opened(self, seconds: float) -> float:
        """Wait for the first connection; return the rest of the deadline in seconds."""
        self._require_open()
        if self._results.following:
            return seconds
        if self._is_given_up:
            self._results.try_again()
            self._run()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await self._results.until_ready(seconds, fail_fast=self._on_request)
        self._require_open()
        return max(end - loop.time(), 0.0)

    _on_request = False
    """Whether it connects only for calls: before the first connection they end as soon as the
    brokers refuse, and where a right or a topic is missing only the next call tries again."""

    def _require_open(self) -> None:
        if self._running is None:
            raise ClientClosed("the client is not open (any more): use it as ``async with``")
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return  # A watch may be created outside of a loop; it waits inside one.
        self._require_own_loop(here)

    def _require_own_loop(self, here: asyncio.AbstractEventLoop) -> None:
        if here is not self._loop:
            message = (
                "this client was entered in another event loop, and works in that one only; "
                "nothing was sent: enter one client in each loop, or submit the call with "
                "asyncio.run_coroutine_threadsafe"
            )
            raise RuntimeError(message)
