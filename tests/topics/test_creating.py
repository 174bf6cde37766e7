"""Creating topics: one request for each, since a request may not make too many partitions."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import PolicyViolationError, TopicAlreadyExistsError

from payments.topics.cluster import Cluster, Plan, TopicsError
from payments.topics.file import Topic

MOST_PARTITIONS = 10_000
"""In one request: Kafka's controller answers ``POLICY_VIOLATION`` to more."""

WANTED = tuple(Topic(name, 4096, 1, {"retention.ms": "1"}) for name in ("a", "b", "c"))


class Admin:
    """A controller that keeps Kafka's limit; ``known`` were made by somebody else meanwhile."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self.made: list[NewTopic] = []
        self._known = known

    async def create_topics(self, topics: Sequence[NewTopic]) -> Any:
        """Refuse all of them when they have too many partitions together."""
        too_many = sum(topic.num_partitions for topic in topics) > MOST_PARTITIONS
        self.made += topics
        errors = [
            {
                "topic": topic.name,
                "error_code": (
                    PolicyViolationError.errno
                    if too_many
                    else TopicAlreadyExistsError.errno
                    if topic.name in self._known
                    else 0
                ),
                "error_message": "Excessively large number of partitions per request.",
            }
            for topic in topics
        ]
        return SimpleNamespace(to_object=lambda: {"topic_errors": errors})

    async def describe_topics(self) -> list[dict[str, Any]]:
        """Show what was made."""
        partition = {"replicas": [1], "leader": 1}
        return [{"topic": t.name, "partitions": [partition] * t.num_partitions} for t in self.made]

    async def describe_configs(self, resources: Sequence[Any]) -> list[Any]:
        """Show the one configuration of each."""
        found = [(0, "", 2, r.name, [("retention.ms", "1", False, 1)]) for r in resources]
        return [SimpleNamespace(resources=found)]


@pytest.mark.parametrize("known", [(), ("b",)])
async def test_topics_of_many_partitions_are_created_together_with_each_other(
    known: Sequence[str],
) -> None:
    admin = Admin(known)
    await Cluster(admin, {}).apply(Plan(WANTED, (), ()), WANTED)
    assert [(topic.name, topic.num_partitions) for topic in admin.made] == [
        ("a", 4096),
        ("b", 4096),
        ("c", 4096),
    ]


async def test_what_the_controller_says_of_a_topic_is_told() -> None:
    huge = Topic("huge", MOST_PARTITIONS + 1, 1, {})
    with pytest.raises(TopicsError, match="topic huge is refused: Excessively large"):
        await Cluster(Admin(), {}).apply(Plan((huge,), (), ()), (huge,))
