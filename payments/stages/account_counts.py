"""What the accounts stage counts for metrics: results of commands for accounts.

They are counted when they are published, so a worker that is fenced counts none that another one
publishes.
"""

from payments.domain.account_commands import ACCOUNT_COMMAND_TYPES
from payments.domain.account_table import AccountAnswer
from payments.stages.payment_counts import UNREADABLE

_TYPES = frozenset(ACCOUNT_COMMAND_TYPES)


class AccountCounts:
    """Counts of one worker's accounts stage. Any thread may read them."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str, str], int] = {}
        """By type, outcome and reason ("" for none)."""

    def published(self, answer: AccountAnswer) -> None:
        """Count a result that the brokers have."""
        # What is no type that there is would be a client's text.
        type_ = answer.type if answer.type in _TYPES else UNREADABLE
        key = str(type_), str(answer.outcome), "" if answer.reason is None else str(answer.reason)
        self.results[key] = self.results.get(key, 0) + 1
