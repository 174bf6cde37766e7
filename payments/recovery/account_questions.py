"""Commands for accounts: which of them are unanswered, and what their results say of accounts."""

from collections.abc import Sequence

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from exactstage import Record
from exactstage.errors import UnreadableBatch
from payments.domain.account import Account, Entry, Status, Transfer
from payments.domain.account_table import COUNTER_OF_RULES
from payments.records.account_commands import (
    own_of_account_command,
    parse_account_command,
    parse_account_id,
    require_account_name,
)
from payments.records.commands import Malformed
from payments.records.later_versions import LaterVersion, decode_again
from payments.records.record_models import AccountResult
from payments.records.record_parts import part_of

from .errors import later_version
from .lives import epoch_ms
from .unanswered import Place, Unanswered


@part_of(AccountResult)
class AccountAnswered(Struct, gc=False, forbid_unknown_fields=True):
    """The fields of an ``AccountResult``."""

    account: str
    command: str
    type: str | None
    outcome: str
    reason: str | None
    message: str | None
    replayed: bool
    status: str | None
    balance: int | None
    held: int | None
    credit_limit: int | None
    available: int | None
    currency: str | None
    exponent: int | None
    sequence: int | None
    time: str


_decode = Decoder(AccountAnswered).decode


def read_account_result(record: Record) -> AccountAnswered:
    """Return a result. Raises ``RecoveryRefused`` for one of a later version, ``DecodeError``."""
    value = record.value or b""
    try:
        return _decode(value)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return decode_again(value, AccountAnswered, AccountResult)
        except LaterVersion as later:
            raise later_version(record, later) from later


class AccountQuestions(Unanswered):
    """Commands for accounts, taken out again as results and dead letters answer them."""

    def __init__(
        self, topic: str, default_currency: str, *, copied: bool, former_topic: str | None
    ) -> None:
        super().__init__(topic, default_currency, copied=copied, former_topic=former_topic)
        self.changes: dict[str, list[AccountAnswered]] = {}
        """By account: the results that say that they have changed it, in their order."""

    def command(self, record: Record) -> None:
        """Take a command."""
        self.commands += 1
        place = Place(record.partition, record.offset, record.timestamp)
        own: str | None = None
        type_: str | None = None
        try:
            name = parse_account_id(record.key)
        except Malformed:
            self._malformed(record, place)
            return
        try:
            require_account_name(name, record.value)
            command = parse_account_command(record.value, default_currency=self._currency)
            own, type_ = command.id, command.type
        except Malformed as error:
            own, type_ = error.command, error.type
            self._malformed(record, place)
        assert record.key is not None, "it names an account"
        self._open.setdefault((record.key, self._id(own, type_, place)), []).append(place)

    def batch(self, batch: UnreadableBatch) -> None:
        """Take a batch that can't be read. Raises it where its end is not known."""
        if not batch.end_is_known:
            raise batch
        self.batches.append(batch)
        for head in batch.heads:
            place = Place(head.partition, head.offset, head.timestamp)
            try:
                parse_account_id(head.key)
            except Malformed:
                continue
            assert head.key is not None, "it names an account"
            own, type_ = own_of_account_command(head.value)
            self.commands += 1
            self._open.setdefault((head.key, self._id(own, type_, place)), []).append(place)

    def account_result(self, key: bytes, result: AccountAnswered) -> None:
        """Take a result: its command is answered."""
        self.answered(key, result.command, result.type)
        if result.outcome == "completed" and not result.replayed:
            self.changes.setdefault(result.account, []).append(result)


def is_malformed(record: Record, default_currency: str) -> bool:
    """Return whether a command for an account can't be read."""
    try:
        require_account_name(parse_account_id(record.key))
        parse_account_command(record.value, default_currency=default_currency)
    except Malformed:
        return True
    return False


def next_change(
    account: Account | None, changes: Sequence[AccountAnswered]
) -> tuple[Entry, int] | None:
    """Return the entry after those of an account, where a result shows it, with its time."""
    last = 0 if account is None else account.sequence
    for result in changes:
        if result.sequence != last + 1:
            continue
        assert result.status is not None, "a result of a change shows the account"
        assert result.currency is not None, "a result of a change shows the account"
        after = Account(
            0 if account is None else account.balance,
            last + 1,
            result.currency,
            0 if account is None else account.held,
            Status(result.status),
            result.credit_limit or 0,
        )
        kind = result.type
        assert kind in {"open", "freeze", "unfreeze", "close", "limit"}, "no other changes any"
        transfer = Transfer(kind, result.account, 0, result.currency, COUNTER_OF_RULES)  # type: ignore[arg-type]
        return Entry(transfer, after), epoch_ms(result.time)
    return None
