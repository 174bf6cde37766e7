"""The commands for accounts: open, freeze, unfreeze, close, credit limit.

They have topics of their own, and so a connection of their own, which begins with the first of
them: a service that only pays needs no right for them. Where a right or a topic is missing then,
the connection is closed, and the next command tries again.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from payments.client.calls import ACCOUNT_IN_DOUBT
from payments.client.command_client import DEADLINE_SECONDS, CommandClient, CommandKind
from payments.client.commands import (
    CheckedId,
    Outgoing,
    checked_headers,
    encode_fields,
    encode_plain,
    size_of,
)
from payments.client.errors import InvalidCommand
from payments.client.transport import Transport
from payments.domain.account_commands import AccountCommand
from payments.domain.results import Reason
from payments.records.account_commands import (
    parse_account_command,
    parse_account_id,
    require_account_name,
)
from payments.records.commands import Malformed
from payments.records.record_models import AccountResult
from payments.records.wording import worded_of_account
from payments.settings import Settings

_parse_result = AccountResult.__pydantic_validator__.validate_json


class AccountCommands(CommandClient[AccountResult]):
    """Sends commands for accounts and waits for their results.

    ``send``, ``submit``, ``mark`` and ``resume`` are those of ``PaymentsClient``, with an account
    in place of the payment.
    """

    _on_request = True

    def __init__(self, settings: Settings, transport: Transport | None) -> None:
        """Begin to connect in this event loop."""
        topics = settings.topics
        kind = CommandKind(
            topics.account_commands,
            topics.account_results,
            encode_account_id,
            outgoing_account,
            read_account_result,
            ACCOUNT_IN_DOUBT,
        )
        super().__init__(kind, settings, connect_seconds=0, transport=transport)
        self._begin()

    async def close(self) -> None:
        """Disconnect."""
        await self._close()

    def trouble(self) -> str | None:
        """Return in words why commands for accounts can't be carried out now; else None."""
        found = None if self._is_given_up else self._trouble_with_commands()
        return None if found is None else f"commands for accounts: {found}"

    async def ask(
        self,
        account: str,
        type_: str,
        fields: Mapping[str, object],
        command_id: str | None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> AccountResult:
        """Send the command of this type with the fields that are not None."""
        given = {**fields, "id": command_id}
        command = {"type": type_} | {n: value for n, value in given.items() if value is not None}
        return await self.send(account, command, deadline_seconds=deadline_seconds)


def encode_account_id(account: str | CheckedId) -> bytes:
    """Return the key of an account's records. Raises ``InvalidCommand``, and ``TypeError``."""
    if isinstance(account, CheckedId):
        return account.key
    if not isinstance(account, str):
        raise TypeError(f"an account's id is text (str), not {type(account).__name__}")
    try:
        key = account.encode()
        require_account_name(parse_account_id(key))
    except UnicodeEncodeError:
        raise InvalidCommand("account", "is not Unicode text", Reason.KEY_NOT_UTF8) from None
    except Malformed as error:
        message = error.message.replace("the key", "the account's id", 1)
        raise InvalidCommand("account", message, error.reason) from None
    return key


def outgoing_account(
    account: str | CheckedId,
    command: Mapping[str, object] | AccountCommand,
    headers: Sequence[tuple[str, bytes]],
    *,
    default_id: str,
    default_currency: str,
) -> Outgoing:
    """Return a command as it is sent. Raises ``InvalidCommand`` and ``TypeError``."""
    key = encode_account_id(account)
    if isinstance(account, CheckedId) and isinstance(command, AccountCommand):
        own = command.id or default_id
        value = encode_plain(replace(command, id=own))
    else:
        value = encode_fields(command, default_id=default_id)
        try:
            # By the worker's own rules, so that a command that it would reject is not sent.
            parsed = parse_account_command(value, default_currency=default_currency)
        except Malformed as error:
            raise InvalidCommand(error.field or "command", error.message, error.reason) from None
        assert parsed.id is not None, "it was given above"
        own = parsed.id
    record = (key, value, checked_headers(headers))
    return Outgoing(own, record, size_of(*record))


def read_account_result(value: bytes) -> AccountResult:
    """Return the result of a record, with its message; raises ``ValidationError``."""
    return worded_of_account(_parse_result(value, extra="ignore"))
