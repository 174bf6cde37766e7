"""Same topics: a worker's topics are those that it began with, not others of their names.

A topic that is deleted and recreated under a running worker takes its appends and answers its
fetches, as if nothing were: it has the name, and no records, no fences and other positions.
"""

from collections.abc import Awaitable, Callable, Sequence

from exactstage.errors import NoTopic, NotOurs
from exactstage.log import Cluster

_NEXT_STEP = "Stop all workers; docs/runbook.md says for each topic how to go on"

Describe = Callable[[Sequence[str]], Awaitable[Cluster]]


class SameTopics:
    """The ids that topics had when they were first described."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._ids: dict[str, str] = {}

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of these topics. Raises ``NotOurs`` where one is another than before."""
        found = await self._describe(topics)
        for topic, id_ in found.topics.items():
            first = self._ids.setdefault(topic, id_)
            if first != id_:
                message = (
                    f"{topic} had the topic id {first} when this process began, and has the id "
                    f"{id_} now: it was deleted and recreated, and what was in it is gone. "
                    f"{_NEXT_STEP}"
                )
                raise NotOurs(message)
        return found

    async def require(self) -> None:
        """Look again at what was described so far. Raises ``NotOurs`` where one is not the same."""
        if not self._ids:
            return
        try:
            await self.describe(list(self._ids))
        except NoTopic as error:
            message = f"{', '.join(error.names)} was deleted while this process ran. {_NEXT_STEP}"
            raise NotOurs(message) from error
