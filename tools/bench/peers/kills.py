"""Kills under load: payments are sent at a fixed rate, each once, while the handler is killed.

The handler (worker or application) is killed with SIGKILL and started again at once. When results
stop coming, the topics are read: which payments were sent, answered, and moved their money.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import Message

from tools.bench.loading import Target, TopicsEndpoint, load_beside
from tools.bench.topics_client import read_whole
from tools.dev.errors import ToolError
from tools.dev.installations import OPENING_BALANCE

RATE = 200
FIRST_KILL_SECONDS, BETWEEN_KILLS_SECONDS = 5.0, 15.0
QUIET_SECONDS = 60.0
"""Without a result for so long, no more is waited for: six times the session timeout of all."""


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
        raise ToolError(f"{target.name} can't be killed here")
    began = time.time()
    kills_at = [began + FIRST_KILL_SECONDS + BETWEEN_KILLS_SECONDS * n for n in range(kills)]
    seconds = FIRST_KILL_SECONDS + BETWEEN_KILLS_SECONDS * kills
    options = {"seconds": seconds, "rate": RATE, "stalled-seconds": QUIET_SECONDS}
    with load_beside(endpoint, **options) as load:
        for at in kills_at:
            time.sleep(max(0.0, at - time.time()))
            target.handler.restart()
        if load.wait() != 0:  # It ends when no result has come for a while.
            raise ToolError(f"the load on {target.name} ended with exit code {load.returncode}")
    time.sleep(BETWEEN_KILLS_SECONDS)  # A second answer would come after the first one of the last.
    commands = {
        _text(each): _time(each) for each in read_whole(endpoint.brokers, endpoint.commands)
    }
    sent = {payment: at for payment, at in commands.items() if at >= began}
    results = [
        each for each in read_whole(endpoint.brokers, endpoint.results) if _text(each) in sent
    ]
    answered = Counter(map(_text, results))
    found = audit(sent, answered, map(_entry, read_whole(endpoint.brokers, endpoint.ledger)))
    arrivals = [(sent[_text(each)], _time(each)) for each in results]
    return KillFigures(found, [_back(at, arrivals) for at in kills_at])


def _text(message: Message) -> str:
    """Return the key: the payment, of commands and results."""
    return (message.key() or b"").decode()


def _time(message: Message) -> float:
    """Return the time of a record: all topics have the broker's (``LogAppendTime``)."""
    return message.timestamp()[1] / 1000


def _entry(message: Message) -> Entry:
    found = json.loads(message.value() or b"{}")
    return Entry(found["account"], found["payment"], found["amount"], found["balance"])


def _back(kill: float, arrivals: Iterable[tuple[float, float]]) -> float | None:
    """Return the seconds from a kill to the first result of a payment sent after it."""
    after = (arrived for sent, arrived in arrivals if sent > kill)
    return min((round(arrived - kill, 2) for arrived in after), default=None)
