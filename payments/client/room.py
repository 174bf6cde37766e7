"""Room: how much a client that reads accounts may keep in memory, counted in items."""

from payments.client.errors import AccountsUnavailable


class Room:
    """A number of items that all partitions share."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    def take(self, items: int) -> None:
        """Take room for more items. Raises ``AccountsUnavailable`` when there is none."""
        if self._taken + items > self._limit:
            message = (
                f"more than {self._limit} accounts and ledger entries would be kept; a higher "
                f"PAYMENTS_CLIENT_MAX_INDEXED needs more memory"
            )
            raise AccountsUnavailable(message)
        self._taken += items
