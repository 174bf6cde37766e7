"""The client library: sends commands to the payments on Kafka and returns their results.

``PaymentsClient`` uses the topics directly: it writes commands, and finds each command's result by
the command's own id. See docs/client.md.
"""

from payments.client.client import PaymentsClient
from payments.client.errors import (
    AccountsUnavailable,
    BrokersUnavailable,
    CatchingUp,
    ClientClosed,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    PaymentsClientError,
    RightsMissing,
    WatchBroken,
)
from payments.client.resuming import Mark
from payments.client.transport import LogTransport
from payments.client.watching import Watch
from payments.domain.payment_table import State
from payments.domain.results import Outcome, Reason
from payments.records.record_models import (
    AccountBalance,
    AccountResult,
    CounterBalance,
    Later,
    LedgerEntry,
    Result,
)
from payments.settings import Settings

__all__ = [
    "AccountBalance",
    "AccountResult",
    "AccountsUnavailable",
    "BrokersUnavailable",
    "CatchingUp",
    "ClientClosed",
    "CounterBalance",
    "DeadlineExceeded",
    "InvalidCommand",
    "Later",
    "LedgerEntry",
    "LogTransport",
    "Mark",
    "Outcome",
    "Overloaded",
    "PaymentsClient",
    "PaymentsClientError",
    "Reason",
    "Result",
    "RightsMissing",
    "Settings",
    "State",
    "Watch",
    "WatchBroken",
]
