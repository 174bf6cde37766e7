"""A record as it is read, and where: what all that touches a log has in common."""

from collections.abc import Sequence
from typing import NamedTuple

Header = tuple[str, bytes | None]
Headers = Sequence[Header]
"""Names and values; a value may be null."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Return the form used in every message: ``topic/partition``."""
        return f"{self.topic}/{self.partition}"


class Record(NamedTuple):
    """A record as read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970, UTC: the broker's where the topic says LogAppendTime."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    """In order; a name may come more than once."""
