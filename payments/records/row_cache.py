"""Cache of decoded rows: those of in-flight payments are read again within milliseconds."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

MAX_ROWS = 8192
"""Most decoded rows of one kind in a stage."""


class RowCache(Generic[Value]):
    """Decoded rows by key; one is valid for as long as the journal has the identical row."""

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
        """Keep the value of ``row``. It is never returned if the decision is discarded."""
        if len(self._held) >= MAX_ROWS:
            self._held.clear()
        self._held[key] = row, value

    def forget(self, key: bytes) -> None:
        """Drop a row."""
        self._held.pop(key, None)
