"""Retention: which records may be missing because the brokers have deleted old ones."""

from math import inf

from exactstage import TopicPartition, partition_of

CLOCKS_DIFFER_MS = 60_000
"""How much the clocks of workers and brokers may differ."""


class Retention:
    """Keeps, for each partition that lacks its first records, the time of its oldest record."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._since_ms: dict[TopicPartition, float] = {}
        self._topics: set[str] = set()

    def begins(self, at: TopicPartition) -> None:
        """Note that a partition's first records were deleted."""
        self._since_ms[at] = inf
        self._topics.add(at.topic)

    def read(self, at: TopicPartition, time_ms: int) -> None:
        """Note the time of a record; the first one counts."""
        if self._since_ms.get(at) == inf:
            self._since_ms[at] = time_ms + CLOCKS_DIFFER_MS

    def lacks(self, topic: str) -> bool:
        """Whether a topic lacks records."""
        return topic in self._topics

    def lacking(self, topic: str) -> frozenset[int]:
        """Return the partitions of a topic that lack records."""
        return frozenset(at.partition for at in self._since_ms if at.topic == topic)

    def may_lack(self, topic: str, key: bytes | None, time_ms: int) -> bool:
        """Whether retention may have deleted the topic's records of a key from about this time."""
        if topic not in self._topics:
            return False
        at = TopicPartition(topic, partition_of(key or b"", self._partitions))
        return time_ms <= self._since_ms.get(at, -inf)
