"""The client: commands in, results out, over the topics alone."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self, TypeVar

from exactstage import partition_of
from exactstage.kafka import Right, cause_in_words
from payments.client.accounts import (
    MAX_PAGE_ENTRIES,
    AccountView,
    require_account,
    require_counter,
)
from payments.client.arguments import (
    require_connect_seconds,
    require_instance,
    require_number,
    require_text,
)
from payments.client.calls import (
    Call,
    Calls,
    expire,
    require_deadline,
    require_result_seconds,
)
from payments.client.commands import CheckedId, encode_payment_id, movement, outgoing, part
from payments.client.errors import BrokersUnavailable, ClientClosed, DeadlineExceeded
from payments.client.kafka import KafkaTransport
from payments.client.reading import read_within
from payments.client.result_consumer import ResultConsumer
from payments.client.resuming import Mark, Resuming
from payments.client.sender import Sender
from payments.client.standing_watch import StandingWatch
from payments.client.transport import Transport
from payments.client.watching import Watch, Watches
from payments.domain.commands import Command
from payments.records.record_models import AccountBalance, CounterBalance, LedgerEntry, Result
from payments.settings import Settings, require_brokers

DEADLINE_SECONDS = 30.0
CONNECT_SECONDS = 10.0

NOT_READ = ("results are not read: ", "accounts are not read: ")
NOT_TAKEN = "a broker has not taken the last commands yet"
"""How ``trouble`` begins when there is a connection."""

_Value = TypeVar("_Value")


class PaymentsClient:
    """Sends commands and waits for their results; one instance serves thousands of calls at once.

    ::

        async with PaymentsClient("localhost:9092") as client:
            result = await client.make("pay-1", account="abc", amount=100)

    ``settings`` default to the environment (``PAYMENTS_*``), ``brokers`` overrides theirs. Entering
    waits up to ``connect_seconds`` for the brokers and raises ``BrokersUnavailable``; with 0 it
    does not wait, and each call waits up to its deadline. Amounts are in minor units of the
    currency. ``ValueError`` names the invalid address in ``brokers``. Calls raise the errors of
    ``payments.client.errors``; ``TypeError`` and ``ValueError`` for an argument of a wrong type or
    out of range, with its name and before anything is sent; and ``RuntimeError`` in another event
    loop than the one in which the client was entered.
    """

    def __init__(
        self,
        brokers: str | None = None,
        *,
        settings: Settings | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        transport: Transport | None = None,
    ) -> None:
        if settings is not None:
            require_instance("settings", settings, Settings, "such as Settings(brokers='a:9092')")
        require_connect_seconds(connect_seconds)
        if transport is not None and not callable(getattr(transport, "seal", None)):
            message = f"transport must be a Transport, such as LogTransport(log), not {transport!a}"
            raise TypeError(message)
        given = settings or Settings()
        if brokers is not None:
            require_text("brokers", brokers, "such as 'localhost:9092' or 'a:9092,b:9092'")
            given = given.model_copy(update={"brokers": require_brokers(brokers)})
        self.settings = given
        self._connect_seconds = connect_seconds
        self._transport = transport or KafkaTransport(
            self.settings.connection(),
            delivery_timeout_seconds=self.settings.delivery_timeout_seconds,
            stall_seconds=self.settings.stall_seconds,
            rights={
                given.topics.commands: [Right.WRITE],
                given.topics.results: [Right.READ],
            },
        )
        self._prefix = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        limit = self.settings.client_max_calls
        self._calls = Calls(limit)
        self._watches = Watches(limit)
        self._accounts = AccountView(self._transport, self.settings)
        self._resuming = Resuming(self._transport, self.settings)
        self._sender = Sender(self._transport, self.settings)
        self._results = ResultConsumer(
            self._transport,
            self.settings,
            calls=self._calls,
            watches=self._watches,
            sender=self._sender,
        )
        self._standing = StandingWatch(
            self.settings.stall_seconds,
            results=self._transport.standing,
            accounts=self._accounts.troubles,
        )
        self._running: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Connect, and read results from now on."""
        if self._loop is not None:
            message = "a client is entered once: make another PaymentsClient for another block"
            raise RuntimeError(message)
        self._loop = asyncio.get_running_loop()
        self._running = asyncio.create_task(self._results.run(), name="payments client")
        self._watching = asyncio.create_task(self._standing.run(), name="standing partitions")
        if self._connect_seconds > 0:
            try:
                await self._results.until_ready(self._connect_seconds, fail_fast=True)
            except BaseException:
                await self._close()
                raise
        return self

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
            closing.push_async_callback(self._accounts.close)
            closing.push_async_callback(self._sender.close)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def make(
        self,
        payment: str,
        *,
        account: str,
        amount: int,
        currency: str | None = None,
        metadata: Mapping[str, str] | None = None,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Take ``amount`` from ``account``, once for this payment id.

        ``metadata`` is what you note on the payment: up to 32 texts by name, 4 KiB in all. Its
        results and ledger entries have it, and nothing is decided by it.
        """
        command = movement("make", account, amount, currency, command_id, metadata)
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def deposit(
        self,
        payment: str,
        *,
        account: str,
        amount: int,
        currency: str | None = None,
        metadata: Mapping[str, str] | None = None,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Put ``amount`` on ``account``, once for this payment id; ``metadata`` as of a make."""
        command = movement("deposit", account, amount, currency, command_id, metadata)
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def authorize(
        self,
        payment: str,
        *,
        account: str,
        amount: int,
        currency: str | None = None,
        hold_seconds: int | None = None,
        metadata: Mapping[str, str] | None = None,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Hold ``amount`` on ``account``, once for this payment id, for ``capture`` to take later.

        The hold ends by itself after ``hold_seconds``, a whole number up to 31,536,000 (a year), by
        the broker's clock; by default ``PAYMENTS_HOLD_SECONDS`` of the workers. ``hold_expires`` of
        the result says when. What lapses then is the ``outcome`` of a notice: see ``watch``.
        """
        command = movement(
            "authorize", account, amount, currency, command_id, metadata, hold_seconds
        )
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def capture(
        self,
        payment: str,
        *,
        amount: int | None = None,
        capture: str | None = None,
        final: bool = True,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Take ``amount`` of what an authorize holds, by default all of it.

        A ``final`` capture releases the rest. ``capture`` is the capture's own id within the
        payment, up to 64 characters: sent again it takes nothing twice. It must be given for a
        capture that is not final; the default is ``"final"``. More than is held is rejected
        (``over_capture``), and so is a capture after the end of the hold (``hold_expired``).
        """
        fields = {"capture": capture, "final": None if final is True else final}
        command = part("capture", fields, amount, command_id)
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def void(
        self,
        payment: str,
        *,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Release what an authorize holds, and keep what was captured.

        ``outcome`` is ``voided``, or ``cancelled`` where nothing was captured. A void that comes
        before its authorize prevents it, as a cancel does.
        """
        command = {"type": "void", "id": command_id}
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def refund(
        self,
        payment: str,
        *,
        refund: str,
        amount: int | None = None,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Give ``amount`` of what a make or capture took back to the account, by default the rest.

        ``refund`` is the refund's own id within the payment, up to 64 characters: sent again it
        moves nothing twice. More than is left is rejected (``over_refund``). A deposit is undone by
        ``cancel``.
        """
        command = part("refund", {"refund": refund}, amount, command_id)
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def cancel(
        self,
        payment: str,
        *,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Prevent a payment, or undo all of it: what it holds is released, what it took goes back.

        Of a make or capture that is what was not refunded yet.
        """
        command = {"type": "cancel", "id": command_id}
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def get(
        self,
        payment: str,
        *,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Result:
        """Return a payment's state: a command like any other, so the read is linearizable."""
        command = {"type": "get", "id": command_id}
        return await self.send(payment, command, deadline_seconds=deadline_seconds)

    async def send(
        self,
        payment: str | CheckedId,
        command: Mapping[str, object] | Command,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Result:
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
        command: Mapping[str, object] | Command,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        result_seconds: float | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Result]:
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
            expire(call)
        if call.answer.done():
            await result
        return result

    async def mark(
        self, payment: str | CheckedId, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> Mark:
        """Return a mark for ``resume``: offsets before any command that is sent from now on.

        Raises ``BrokersUnavailable``.
        """
        key = encode_payment_id(payment)
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
    ) -> asyncio.Future[Result] | None:
        """Return the future of the result of a command that any client sent after ``mark``.

        None when the topic does not have the command (it keeps commands for its retention). The
        search takes at most ``deadline_seconds``; the future waits for a missing result for
        ``result_seconds`` in all, by default the same. Raises ``CatchingUp`` when an open
        transaction blocks the search.
        """
        key = encode_payment_id(payment)
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
        command: Mapping[str, object] | Command,
        deadline_seconds: float,
        result_seconds: float = 0.0,
        *,
        headers: Sequence[tuple[str, bytes]],
    ) -> Call:
        """Begin to send a command; ``_answered`` must follow without an await in between."""
        sent = outgoing(
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

    async def _answered(self, call: Call) -> Result:
        """Return the result of a call, and forget the call however it ends."""
        try:
            return await call.answer
        finally:
            self._calls.discard(call)
            if not call.sent:
                self._sender.discard(call)

    def watch(self, payment: str | CheckedId) -> Watch:
        """Iterate over the payment's results from now on, of commands of any client.

        Notices are among them, whose ``command`` is null: of a hold that has ended by itself
        (``outcome`` is ``lapsed``), and of the payment's expiry (``expired``).
        """
        key = encode_payment_id(payment)
        self._require_open()
        return self._watches.add(key, self._require_own_loop)

    async def account(
        self, account: str, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> AccountBalance | None:
        """Return an account as it is now (linearizable); None when it does not exist.

        The first read of a partition's accounts reads its whole journal into an index on disk,
        later reads the records since. Raises ``CatchingUp`` and ``AccountsUnavailable`` too.
        """
        require_account(account)
        return await self._read(deadline_seconds, lambda n: self._accounts.balance(account, n))

    async def counter_account(
        self, name: str, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> Mapping[str, int] | None:
        """Return the balances of ``world/N`` or ``sales/N`` by currency; None if never used.

        ``counter_balances`` has what is held too.
        """
        found = await self.counter_balances(name, deadline_seconds=deadline_seconds)
        return None if found is None else {each.currency: each.balance for each in found}

    async def counter_balances(
        self, name: str, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> Sequence[CounterBalance] | None:
        """Return ``world/N`` or ``sales/N`` in each of its currencies; None if never used."""
        require_counter(name)
        return await self._read(deadline_seconds, lambda n: self._accounts.counter(name, n))

    async def entries(
        self,
        account: str,
        *,
        after: int = 0,
        limit: int = 100,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[LedgerEntry] | None:
        """Return an account's ledger entries after sequence ``after``, oldest first.

        ``limit`` is 1 to 1,000. For the next page, ``after`` is the last entry's ``sequence``; an
        empty page is the current end (linearizable, like ``account``). None when the account does
        not exist, whatever ``after`` is.
        """
        require_account(account)
        require_number("after", after, 0)
        require_number("limit", limit, 1, MAX_PAGE_ENTRIES)
        return await self._read(
            deadline_seconds, lambda n: self._accounts.entries(account, after, limit, n)
        )

    def healthy(self) -> bool:
        """Whether commands can be carried out: results are read and the last append succeeded.

        False also while an open transaction blocks results, or accounts that a call reads. The
        index of accounts may still be unwritable: see ``trouble``.
        """
        return self._trouble_with_brokers() is None

    def trouble(self) -> str | None:
        """Return in words why ``healthy`` is false, or why accounts can't be read; else None."""
        problem = self._trouble_with_brokers()
        if problem is None and (accounts := self._accounts.trouble) is not None:
            problem = f"accounts can't be read: {accounts}"
        return problem

    def _trouble_with_brokers(self) -> str | None:
        if not self._results.following:
            problem = self._results.problem
            cause = f": {cause_in_words(problem)}" if problem else " yet"
            return f"no connection to Kafka{cause}"
        if (trouble := self._transport.trouble) is not None:
            return f"{NOT_READ[0]}{trouble}"
        if (trouble := self._standing.accounts_trouble()) is not None:
            return f"{NOT_READ[1]}{trouble}"
        return None if self._sender.healthy else NOT_TAKEN

    async def _read(
        self, deadline_seconds: float, read: Callable[[int], Awaitable[_Value]]
    ) -> _Value:
        """Read from the topics; ``read`` takes the number of partitions."""
        require_deadline(deadline_seconds)
        left = await self._opened(deadline_seconds)
        return await self._attempt(left, read, lambda: self._accounts.progress)

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
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await self._results.until_ready(seconds, fail_fast=False)
        self._require_open()
        return max(end - loop.time(), 0.0)

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
