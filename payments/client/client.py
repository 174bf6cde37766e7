"""The client: commands in, results out, over the topics alone."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from exactstage.kafka import Trouble
from payments.client.account_commands import AccountCommands
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
from payments.client.calls import PAYMENT_IN_DOUBT
from payments.client.command_client import (
    DEADLINE_SECONDS,
    NOT_READ,
    NOT_TAKEN,
    CommandClient,
    CommandKind,
)
from payments.client.commands import CheckedId, encode_payment_id, movement, outgoing, part
from payments.client.result_consumer import read_result
from payments.client.transport import Transport
from payments.client.watching import Watch
from payments.records.record_models import (
    AccountBalance,
    AccountResult,
    CounterBalance,
    LedgerEntry,
    Result,
)
from payments.settings import Settings, require_brokers

CONNECT_SECONDS = 10.0

_NO_FIELDS: Mapping[str, object] = MappingProxyType({})


class PaymentsClient(CommandClient[Result]):
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
        topics = given.topics
        kind = CommandKind(
            topics.commands,
            topics.results,
            encode_payment_id,
            outgoing,
            read_result,
            PAYMENT_IN_DOUBT,
        )
        super().__init__(kind, given, connect_seconds=connect_seconds, transport=transport)
        self._accounts = AccountView(self._transport, self.settings)
        self._given_transport = transport
        self._account_commands: AccountCommands | None = None

    def _account_troubles(self) -> Sequence[Trouble]:
        return self._accounts.troubles()

    async def _close_others(self) -> None:
        if self._account_commands is not None:
            await self._account_commands.close()
        await self._accounts.close()

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

    @property
    def account_commands(self) -> AccountCommands:
        """What sends commands for accounts; it begins to connect with the first use."""
        self._require_open()
        if self._account_commands is None:
            self._account_commands = AccountCommands(self.settings, self._given_transport)
        return self._account_commands

    async def open_account(
        self,
        account: str,
        *,
        currency: str | None = None,
        credit_limit: int | None = None,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> AccountResult:
        """Open an account with nothing on it, or open a closed one again.

        ``credit_limit`` is how far below zero it may go, in minor units; by default 0. Of an
        account that is open already, another currency or limit is rejected (``wrong_currency``,
        ``different_limit``).
        """
        fields = {"currency": currency, "credit_limit": credit_limit}
        return await self._ask(account, "open", command_id, deadline_seconds, fields)

    async def freeze_account(
        self,
        account: str,
        *,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> AccountResult:
        """Let nothing new be taken from an account or held on it.

        Makes and authorizes are declined then (``account_frozen``). Deposits, and what ends a
        payment that has begun, are carried out.
        """
        return await self._ask(account, "freeze", command_id, deadline_seconds)

    async def unfreeze_account(
        self,
        account: str,
        *,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> AccountResult:
        """End a freeze."""
        return await self._ask(account, "unfreeze", command_id, deadline_seconds)

    async def close_account(
        self,
        account: str,
        *,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> AccountResult:
        """Close an account whose balance and holds are 0; else it is rejected (``not_zero``).

        Makes, authorizes and deposits are declined then (``account_closed``).
        """
        return await self._ask(account, "close", command_id, deadline_seconds)

    async def set_credit_limit(
        self,
        account: str,
        *,
        credit_limit: int,
        command_id: str | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> AccountResult:
        """Set how far below zero an account may go, in minor units.

        It may be less than what is used: then nothing is available until it is paid back.
        """
        fields = {"credit_limit": credit_limit}
        return await self._ask(account, "limit", command_id, deadline_seconds, fields)

    async def _ask(
        self,
        account: str,
        type_: str,
        command_id: str | None,
        deadline_seconds: float,
        fields: Mapping[str, object] = _NO_FIELDS,
    ) -> AccountResult:
        ask = self.account_commands.ask
        return await ask(account, type_, fields, command_id, deadline_seconds)

    def healthy(self) -> bool:
        """Whether commands can be carried out: results are read and the last append succeeded.

        False also while an open transaction blocks results, or accounts that a call reads. The
        index of accounts may still be unwritable: see ``trouble``.
        """
        return self._trouble_with_brokers() is None

    def trouble(self) -> str | None:
        """Return in words why ``healthy`` is false, or what is wrong with accounts; else None.

        Accounts can't be read, or commands for them, where there were any, not be carried out.
        """
        problem = self._trouble_with_brokers()
        if problem is None and (accounts := self._accounts.trouble) is not None:
            problem = f"accounts can't be read: {accounts}"
        if problem is None and self._account_commands is not None:
            problem = self._account_commands.trouble()
        return problem

    def _trouble_with_brokers(self) -> str | None:
        if (trouble := self._trouble_with_results()) is not None:
            return trouble
        if (trouble := self._standing.accounts_trouble()) is not None:
            return f"{NOT_READ[1]}{trouble}"
        return None if self._sender.healthy else NOT_TAKEN

    def _progress(self) -> str | None:
        return self._accounts.progress
