"""Ownership: the journals that this worker owns, by stage and partition."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from .journal import Journal
from .log import TopicPartition, Writer
from .senders import Owner  # noqa: TC001 - an attribute's type, which docs may read


class Ownership:
    """Journals by stage and partition; a partition is owned for all stages or for none."""

    def __init__(self, stages: Iterable[str]) -> None:
        self._journals: dict[str, dict[int, Journal]] = {stage: {} for stage in stages}
        self.owners: dict[str, Owner] = {}
        """This worker's ownership of each ``<stage>/<partition>`` that it owns."""

    @property
    def partitions(self) -> AbstractSet[int]:
        """Partition numbers that are owned."""
        return next(iter(self._journals.values())).keys()

    def of(self, stage: str) -> Mapping[int, Journal]:
        """Return the journals of one stage by partition."""
        return self._journals[stage]

    def journals(self) -> list[Journal]:
        """Return every journal."""
        return [journal for found in self._journals.values() for journal in list(found.values())]

    def written(self) -> list[TopicPartition]:
        """Return the partitions that only their owner writes: journals and public outputs."""
        journals = self.journals()
        public = {
            TopicPartition(topic, each.partition) for each in journals for topic in each.public
        }
        return [*(journal.at for journal in journals), *sorted(public)]

    def holds(self, journal: Journal) -> bool:
        """Whether ``journal`` is still owned."""
        return self._journals[journal.stage].get(journal.partition) is journal

    def writers(self) -> dict[int, Writer]:
        """Return the writer of each partition."""
        journals = next(iter(self._journals.values()))
        return {partition: journal.writer for partition, journal in journals.items()}

    def add(self, journal: Journal) -> None:
        """Own a journal."""
        assert journal.owner is not None, "a journal is identified when it is taken over"
        self._journals[journal.stage][journal.partition] = journal
        self.owners[str(journal)] = journal.owner

    def remove(self, partition: int) -> list[Journal]:
        """Give a partition up; return its journals."""
        removed = [journals.pop(partition) for journals in self._journals.values()]
        for journal in removed:
            del self.owners[str(journal)]
        return removed
