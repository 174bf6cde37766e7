"""Commands for accounts: which of them are unanswered, and what their results say of accounts."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from exactstage import Record, partition_of
from payments.domain.account import Account, Entry, Status, Transfer
from payments.domain.account_commands import AccountCommand
from payments.domain.account_table import COUNTER_OF_RULES
from payments.records.account_commands import (
    own_of_account_command,
    parse_account_command,
    parse_account_id,
    require_account_name,
)
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
    """Commands for accounts, taken out again as results and dead letters answer them.

    Results for one account are in the order of its commands, as far as one partition has these.
    """

    def __init__(
        self,
        topic: str,
        default_currency: str,
        *,
        copied: bool,
        former_topic: str | None,
        partitions: int,
        merged: bool = False,
    ) -> None:
        super().__init__(topic, default_currency, copied=copied, former_topic=former_topic)
        self._partitions, self._merged = partitions, merged
        self._last_shown: dict[str, int] = {}
        self._last_answered: dict[tuple[bytes | None, int], int] = {}
        self._of_copy: dict[int, list[tuple[bytes, AccountAnswered]]] = {}
        """In a copy, by partition of the account: keys and results, until ``match_copied``."""
        self.changes: dict[str, list[AccountAnswered]] = {}
        """By account: the results that say that they have changed it, in their order."""

    def _require_key(self, key: bytes | None) -> None:
        parse_account_id(key)

    def parse(self, record: Record) -> AccountCommand:
        """Return the command in a record whose key is right. Raises ``Malformed``."""
        require_account_name(parse_account_id(record.key), record.value)
        return parse_account_command(record.value, default_currency=self._currency)

    def _own_of(self, value: bytes | None) -> tuple[str | None, str | None]:
        return own_of_account_command(value)

    def account_result(self, key: bytes, result: AccountAnswered) -> None:
        """Take a result: its command is answered."""
        if self._copied:
            self._of_copy.setdefault(self._right(key), []).append((key, result))
        else:
            self.answered(key, result.command, result.type)
        name = result.account
        self._last_shown[name] = max(result.sequence or 0, self._last_shown.get(name, 0))
        if result.outcome == "completed" and not result.replayed:
            self.changes.setdefault(name, []).append(result)

    def names(self) -> frozenset[str]:
        """Return the accounts with an unanswered command."""
        return frozenset(key.decode() for key, _ in self._open)

    def lacking_in_copy(self) -> frozenset[int]:
        """Return the partitions of whose results a copy shows that some were deleted.

        All results of a partition's commands for its own accounts are in the order of the commands.
        If one has none, and a later one has, it was deleted; or if none is left at all.
        """
        if self._merged:
            return frozenset()
        given: Counter[tuple[bytes, str]] = Counter()
        for results in self._of_copy.values():
            given.update((key, self._own_in_copy(r.command, r.type)) for key, r in results)
        answered: dict[int, int] = {}
        unanswered: dict[int, int] = {}
        for (key, own), places in self._open.items():
            right, count = self._right(key), given[key, own]
            for number, (partition, offset, _) in enumerate(places):
                if partition != right:
                    continue
                if number < count:
                    answered[right] = max(offset, answered.get(right, -1))
                else:
                    unanswered[right] = min(offset, unanswered.get(right, offset))
        return frozenset(
            partition
            for partition, offset in unanswered.items()
            if partition not in answered or offset < answered[partition]
        )

    def unclear_in_copy(self) -> dict[int, int]:
        """Return the partitions of a copy whose results fit later commands as well as the first.

        Of each the offset of the last of these later commands: those up to there may be answered.
        """
        if self._merged:
            return {}
        commands: dict[int, list[tuple[int, tuple[bytes, str]]]] = {}
        forwarded: set[tuple[bytes, str]] = set()
        for (key, own), places in self._open.items():
            right = self._right(key)
            for place in places:
                if place.partition == right:
                    commands.setdefault(right, []).append((place.offset, (key, own)))
                else:
                    forwarded.add((key, own))
        found: dict[int, int] = {}
        for partition, results in self._of_copy.items():
            asked = [
                each for each in sorted(commands.get(partition, ())) if each[1] not in forwarded
            ]
            there = {name for _, name in asked}
            named = ((key, self._own_in_copy(r.command, r.type)) for key, r in results)
            given = [name for name in named if name in there]
            last = _last_fit([name for _, name in asked], given) if given else 0
            if last:
                found[partition] = asked[last + len(given) - 1][0]
        return found

    def match_copied(self, lacking: AbstractSet[int]) -> None:
        """Match the results of a copy with its commands.

        ``lacking`` are the partitions of which retention had deleted results. Of their accounts the
        last commands are the answered ones, and not the first.
        """
        for partition, results in self._of_copy.items():
            if partition in lacking:
                self._match_last(results)
            else:
                for key, result in results:
                    self.answered(key, result.command, result.type)
        self._of_copy.clear()

    def _right(self, key: bytes) -> int:
        """Return the partition of an account."""
        return partition_of(key, self._partitions)

    def _match_last(self, results: Sequence[tuple[bytes, AccountAnswered]]) -> None:
        """Match the results of one partition, which have the order of each partition's commands."""
        before: dict[tuple[int, bytes | None], int] = {}
        for key, result in reversed(results):
            of_one = key if self._merged else None
            own = self._own_in_copy(result.command, result.type)
            place = next(
                (
                    place
                    for place in reversed(self._open.get((key, own), ()))
                    if place.offset < before.get((place.partition, of_one), place.offset + 1)
                ),
                None,
            )
            if place is None:
                self.unmatched_results += 1
                continue
            before[place.partition, of_one] = place.offset
            self._remove(key, own, place)
            self._answered_at(key, place)

    def last_shown(self, name: str) -> int:
        """Return the highest number of an entry that a result for this account shows; else 0."""
        return self._last_shown.get(name, 0)

    def last_answered(self, key: bytes, partition: int) -> int:
        """Return the offset in a partition of the last answered command; -1 if there is none.

        What the rebuild itself answers does not count: it says nothing of the commands before it.
        Of a command for this account, or for any of a partition's own accounts: the others are
        forwarded, and answered later.
        """
        own = self._last_answered.get((key, partition), -1)
        if self._merged or self._right(key) != partition:
            return own
        return max(own, self._last_answered.get((None, partition), -1))

    def consume(self, key: bytes, own: str, place: Place) -> None:
        """Note that the rebuild answers a command."""
        self._remove(key, own, place)
        self._handled(place)

    def forget(self, key: bytes, own: str, place: Place) -> None:
        """Note that a command was answered, and that retention has deleted its result."""
        super().forget(key, own, place)
        self._note_answered(key, place)

    def _answered_at(self, key: bytes, place: Place) -> None:
        super()._answered_at(key, place)
        self._note_answered(key, place)

    def _note_answered(self, key: bytes, place: Place) -> None:
        at, last = (key, place.partition), self._last_answered
        last[at] = max(place.offset, last.get(at, -1))
        if self._right(key) == place.partition:
            of_all = None, place.partition
            last[of_all] = max(place.offset, last.get(of_all, -1))


def _last_fit(commands: Sequence[tuple[bytes, str]], results: Sequence[tuple[bytes, str]]) -> int:
    """Return the last index from which on successive commands are those of the results; else 0."""
    count = len(results)
    for start in range(len(commands) - count, -1, -1):
        if commands[start] != results[0] or commands[start + count - 1] != results[-1]:
            continue
        if commands[start : start + count] == results:
            return start
    return 0


def next_change(
    account: Account | None, changes: Sequence[AccountAnswered]
) -> tuple[Entry, int] | None:
    """Return the entry after those of an account, where a result shows it, with its time.

    It moves nothing, so it is the next one only if the result shows the same balance and held.
    """
    last, has = 0, (0, 0)
    if account is not None:
        last, has = account.sequence, (account.balance, account.held)
    for result in changes:
        if result.sequence != last + 1 or (result.balance, result.held) != has:
            continue
        assert result.status is not None, "a result of a change shows the account"
        assert result.currency is not None, "a result of a change shows the account"
        balance, held = has
        after = Account(
            balance,
            last + 1,
            result.currency,
            held,
            Status(result.status),
            result.credit_limit or 0,
        )
        kind = result.type
        assert kind in {"open", "freeze", "unfreeze", "close", "limit"}, "no other changes any"
        transfer = Transfer(kind, result.account, 0, result.currency, COUNTER_OF_RULES)  # type: ignore[arg-type]
        return Entry(transfer, after), epoch_ms(result.time)
    return None
