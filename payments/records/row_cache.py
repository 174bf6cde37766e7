"""Rows kept decoded: those of payments and accounts that are in flight are read again at once."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

MAX_ROWS = 8192
"""Rows that a stage keeps decoded of each kind."""


class RowCache(Generic[Value]):
    """Rows as the domain has them, for as long as the journal's row is the very same."""

    def __init__(self, decode: Callable[[bytes], Value]) -> None:
        self._decode = decode
        self._held: dict[bytes, tuple[bytes, Value]] = {}

    def get(self, key: bytes, row: bytes | None) -> Value | None:
        """Return the row decoded; None where there is none."""
        if row is None:
            return None
        held = self._held.get(key)
        return held[1] if held is not None and held[0] is row else self._decode(row)

    def put(self, key: bytes, row: bytes, value: Value) -> None:
        """Keep what ``row`` was encoded from. If the decision is discarded, it is never found."""
        if len(self._held) >= MAX_ROWS:
            self._held.clear()
        self._held[key] = row, value

    def forget(self, key: bytes) -> None:
        """Keep a row no longer."""
        self._held.pop(key, None)
