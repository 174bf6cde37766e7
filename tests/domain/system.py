"""The domain composed as an application does it: rows and messages are bytes between decisions."""

from collections import defaultdict, deque

from payments.domain.account import Opening, Settled, counter_name, post, post_counter
from payments.domain.payment import Message, Policy, Received, WindowCloses, decide
from payments.domain.results import Reason
from payments.records.commands import parse_command
from payments.records.internal_codec import (
    decode_account,
    decode_counter,
    decode_payment,
    decode_settled,
    decode_transfer,
    encode_account,
    encode_counter,
    encode_payment,
    encode_settled,
    encode_transfer,
)
from payments.records.record_models import LedgerEntry, Result
from payments.records.record_writer import encode_ledger_entry, encode_result
from payments.stages.expiry import Expiry

WIDTH_MS, RETENTION_MS, MAX_WAITERS = 10, 50, 3


class System:
    """One partition of both stages; transfers wait in the order of their account."""

    def __init__(self, policy: Policy, opening: Opening) -> None:
        self.policy, self.opening = policy, opening
        self.payments: dict[bytes, bytes] = {}
        self.accounts: dict[str, bytes] = {}
        self.counters: dict[str, bytes] = {}
        self.transfers: dict[str, deque[bytes]] = defaultdict(deque)
        self.ledger: list[LedgerEntry] = []
        self.results: list[Result] = []
        self.timers = Expiry(
            width_ms=WIDTH_MS, retention_ms=RETENTION_MS, refundable_ms=RETENTION_MS
        ).timers

    def command(self, key: bytes, value: bytes, time_ms: int) -> None:
        """Take the value of a command record."""
        command = parse_command(value, default_currency="EUR")
        assert command.id is not None
        self.decide(key, Received(command, command.id), time_ms)

    def decide(self, key: bytes, message: Message, time_ms: int) -> None:
        """Decide a message: change the row, note the results and the transfer."""
        row = self.payments.get(key)
        before = None if row is None else decode_payment(row)
        decision = decide(before, message, time_ms=time_ms, policy=self.policy)
        if decision.payment is None:
            self.payments.pop(key, None)
        elif decision.payment is not before:
            self.payments[key] = encode_payment(decision.payment)
        for answer in decision.answers:
            value = encode_result(key.decode(), answer, time_ms)
            self.results.append(Result.model_validate_json(value))
        if decision.transfer is not None:
            value = encode_transfer(decision.transfer, key.decode())
            self.transfers[decision.transfer.account].append(value)

    def settle(self, account: str, time_ms: int) -> None:
        """Post the oldest transfer of an account, and tell its payment."""
        transfer = decode_transfer(self.transfers[account].popleft())
        row = self.accounts.get(account)
        held = None if row is None else decode_account(row)
        posting = post(held, transfer, opening=self.opening)
        settled = Settled(ok=True)
        if isinstance(posting, Reason):
            settled = Settled(ok=False, reason=posting)
        else:
            self.accounts[account] = encode_account(posting.account)
            for entry in posting.entries:
                name = counter_name(entry.transfer.counter, 0)
                counter = self.counters.get(name)
                leg = post_counter(None if counter is None else decode_counter(counter), entry)
                self.counters[name] = encode_counter(leg)
                value = encode_ledger_entry(entry, partition=0, time_ms=time_ms)
                self.ledger.append(LedgerEntry.model_validate_json(value))
        assert transfer.payment is not None
        self.decide(transfer.payment.encode(), decode_settled(encode_settled(settled)), time_ms)

    def expire(self, now_ms: int, limit: int) -> bool:
        """Close windows for at most ``limit`` keys; return whether there may be more."""
        due = [
            key
            for key, row in self.payments.items()
            if min(self.timers(key, row), default=now_ms + 1) <= now_ms
        ]
        for key in due[:limit]:
            self.decide(key, WindowCloses(), now_ms)
        return len(due) > limit
