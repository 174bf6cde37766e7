"""Kills under load: payments are sent at a fixed rate, each once, while the handler is killed.

The handler (worker or application) is killed with SIGKILL and started again at once; then it is
waited until results stop coming, and all results and ledger entries are counted.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tools.bench.failures import BenchError
from tools.bench.installations import OPENING_BALANCE
from tools.bench.loading import Target, TopicsEndpoint
from tools.bench.topics_client import from_start, make_command, read_whole, writer

RATE, ACCOUNTS = 200, 100
FIRST_KILL_SECONDS, BETWEEN_KILLS_SECONDS = 5.0, 15.0
QUIET_SECONDS = 60.0
"""Without a result for so long, no more is waited for: six times the session timeout of all."""

SEND_LIMIT_SECONDS = 60.0


class Entry(NamedTuple):
    """One ledger entry: ``amount`` was added to the account, ``balance`` is what it holds then."""

    account: str
    payment: str | None
    amount: int
    balance: int


class Audit(NamedTuple):
    """Counts of payments, of accounts at the end."""

    sent: int
    unanswered: int
    """Without any result."""

    answered_twice: int
    """With more than one result."""

    not_taken: int
    """Without a ledger entry: the money has not moved."""

    taken_twice: int
    """With more than one ledger entry: the money has moved again."""

    wrong_accounts: int
    """Accounts whose last balance is not the opening balance and all entries added up."""


@dataclass(slots=True)
class KillFigures:
    """What one run with kills ended in."""

    audit: Audit
    back_seconds: list[float | None]
    """From each kill to the first result of a payment that was sent after it."""


def audit(sent: Iterable[str], results: Mapping[str, int], entries: Iterable[Entry]) -> Audit:
    """Count what is missing and what is double. All payments are makes of an amount above zero.

    ``results`` is the number of result records by payment. Entries without a payment, or of one
    that was not sent, open accounts or belong to others; they count for their account alone.
    """
    wanted = set(sent)
    taken: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    last: dict[str, int] = {}
    for entry in entries:
        last[entry.account] = entry.balance
        if entry.payment is not None:
            moved[entry.account] += entry.amount
            taken[entry.payment] += 1
    return Audit(
        sent=len(wanted),
        unanswered=sum(not results.get(payment) for payment in wanted),
        answered_twice=sum(results.get(payment, 0) > 1 for payment in wanted),
        not_taken=sum(not taken[payment] for payment in wanted),
        taken_twice=sum(taken[payment] > 1 for payment in wanted),
        wrong_accounts=sum(
            balance != OPENING_BALANCE + moved[account] for account, balance in last.items()
        ),
    )


def kill_under_load(target: Target, kills: int) -> KillFigures:
    """Kill a system's handler under load ``kills`` times, and count."""
    endpoint = target.endpoint
    if target.handler is None or not isinstance(endpoint, TopicsEndpoint):
        raise BenchError(f"{target.name} can't be killed here")
    run = _Run(endpoint)
    killed = [FIRST_KILL_SECONDS + BETWEEN_KILLS_SECONDS * n for n in range(kills)]
    for at in killed:
        run.load_until(at)
        target.handler.restart()
    run.load_until(killed[-1] + BETWEEN_KILLS_SECONDS)
    run.settle()
    entries = (
        json.loads(each.value() or b"{}") for each in read_whole(endpoint.brokers, endpoint.ledger)
    )
    ledger = (Entry(e["account"], e["payment"], e["amount"], e["balance"]) for e in entries)
    return KillFigures(audit(run.sent_at, run.results, ledger), [run.back(at) for at in killed])


class _Run:
    """One load with kills; all times are seconds since its start."""

    def __init__(self, endpoint: TopicsEndpoint) -> None:
        self._commands = endpoint.commands
        self._producer = writer(endpoint.brokers)
        self._consumer = from_start(endpoint.brokers, endpoint.results)
        self._name = uuid.uuid4().hex[:8]
        self._started = time.monotonic()
        self.sent_at: dict[str, float] = {}
        self.results: Counter[str] = Counter()
        self._arrivals: list[tuple[float, str]] = []

    def load_until(self, end: float) -> None:
        """Send what is due, and take results."""
        while self._now() < end:
            while len(self.sent_at) < RATE * self._now():
                number = len(self.sent_at)
                payment, account = f"{self._name}-{number}", f"{self._name}-{number % ACCOUNTS}"
                self.sent_at[payment] = self._now()
                command = make_command(payment, account)
                self._producer.produce(self._commands, key=payment, value=command)
                self._producer.poll(0)
            self._take()

    def settle(self) -> None:
        """Wait until no result comes any more."""
        self._producer.flush(SEND_LIMIT_SECONDS)
        last = self._now()
        while len(self.results) < len(self.sent_at) and self._now() - last < QUIET_SECONDS:
            if self._take():
                last = self._now()
        # A second answer would come after the first one of the last payment.
        settled = self._now() + BETWEEN_KILLS_SECONDS
        while self._now() < settled:
            self._take()
        self._consumer.close()

    def back(self, kill: float) -> float | None:
        """Return the seconds from a kill to the first result of a payment sent after it."""
        back = (at for at, payment in self._arrivals if self.sent_at[payment] > kill)
        return next((round(at - kill, 2) for at in back), None)

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _take(self) -> int:
        taken = 0
        for message in self._consumer.consume(500, 0.02):
            payment = (message.key() or b"").decode()
            if message.error() is None and payment in self.sent_at:
                self.results[payment] += 1
                self._arrivals.append((self._now(), payment))
                taken += 1
        return taken
