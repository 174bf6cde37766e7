"""Claims of partition numbers: who has one writes its journals and public outputs.

A claim is a transactional id, ``<app id>-<partition>``, whose latest producer epoch is the fencing
token (docs/design.md 4.3).
"""

from collections.abc import Sequence

from .log import Log, TopicPartition, Writer
from .stage import Stage


class PartitionClaims:
    """Claims and renews for the stages of one application."""

    def __init__(self, log: Log, app_id: str, stages: Sequence[Stage]) -> None:
        self._log = log
        self._app_id = app_id
        self._journals = [stage.changelog for stage in stages]
        self._public = sorted({topic for stage in stages for topic in stage.public})

    def public_at(self, partition: int) -> list[TopicPartition]:
        """Return the public outputs that the owner of a partition number writes."""
        return [TopicPartition(topic, partition) for topic in self._public]

    async def claim(self, partition: int) -> Writer:
        """Own a partition number: older owners can't write to its public outputs any more."""
        return await self._log.claim(self._name(partition), self.public_at(partition))

    async def renew(self, partition: int, writer: Writer) -> None:
        """Renew a claim, over the public outputs and the journals of its partition.

        Raises ``Fenced`` when another worker has claimed it since.
        """
        journals = [TopicPartition(topic, partition) for topic in self._journals]
        fenced = self.public_at(partition) + journals
        await self._log.renew(self._name(partition), writer, fenced)

    def _name(self, partition: int) -> str:
        return f"{self._app_id}-{partition}"
