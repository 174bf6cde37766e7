"""Same topics: a worker's topics keep the topic ids that they had when the worker started.

A topic that is deleted and recreated under a running worker has no records, no fences and other
positions. Appends and fetches that name it by its id are refused; where a broker does not know such
requests (Produce before Kafka 4.1), it takes them without an error.
"""

from collections.abc import Awaitable, Callable, Sequence

from exactstage.errors import NoTopic, NotOurs
from exactstage.log import Cluster

from .cluster import raw

_NEXT_STEP = "Stop all workers; docs/runbook.md has the next step for each topic"

Describe = Callable[[Sequence[str]], Awaitable[Cluster]]


class SameTopics:
    """The topic ids at the first description of each topic."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._ids: dict[str, str] = {}
        self.raw_ids: dict[str, bytes] = {}
        """The same ids as requests have them."""

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of these topics. Raises ``NotOurs`` when one has changed."""
        found = await self._describe(topics)
        for topic, id_ in found.topics.items():
            first = self._ids.setdefault(topic, id_)
            self.raw_ids.setdefault(topic, raw(id_))
            if first != id_:
                message = (
                    f"{topic} had the topic id {first} when this process began, and has the id "
                    f"{id_} now: it was deleted and recreated, and what was in it is gone. "
                    f"{_NEXT_STEP}"
                )
                raise NotOurs(message)
        return found

    async def require(self) -> None:
        """Describe all topics described so far again. Raises ``NotOurs`` when an id has changed."""
        if not self._ids:
            return
        try:
            await self.describe(list(self._ids))
        except NoTopic as error:
            message = f"{', '.join(error.names)} was deleted while this process ran. {_NEXT_STEP}"
            raise NotOurs(message) from error
