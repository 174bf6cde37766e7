"""A record as it is read, and where: what all that touches a log has in common."""

from collections.abc import Sequence
from typing import NamedTuple

Header = tuple[str, bytes | None]
Headers = Sequence[Header]
"""Names and values; a value may be null."""


def address_text(topic: str, partition: int, offset: int) -> str:
    """Return a record's address as every message, header and id has it."""
    return f"{topic}/{partition}/{offset}"


def parse_address(text: str) -> tuple[str, int, int]:
    """Return topic, partition and offset. Raises ``ValueError`` when it is something else."""
    topic, *numbers = text.rsplit("/", 2)
    if not topic or len(numbers) < 2 or not all(n.isascii() and n.isdecimal() for n in numbers):
        message = f"{text!r} is no address such as orders/3/17"
        raise ValueError(message)
    return topic, int(numbers[0]), int(numbers[1])


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Return the form used in every message: ``topic/partition``."""
        return f"{self.topic}/{self.partition}"

    def address(self, offset: int) -> str:
        """Return the address of the record at an offset: ``topic/partition/offset``."""
        return address_text(self.topic, self.partition, offset)


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

    @property
    def address(self) -> str:
        """The record's address: ``topic/partition/offset``."""
        return address_text(self.topic, self.partition, self.offset)
