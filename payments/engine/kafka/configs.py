"""Configurations of topics: what the engine relies on, asked of the brokers before it starts."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.protocol.admin import DescribeConfigsRequest

from payments.engine.errors import FailStop, NotAuthorized, usual_apply

from .connection import RETRIABLE, Connection, Patience, error_for
from .rights import Right, refusal

CLEANUP, TIME, TOMBSTONES = "cleanup.policy", "message.timestamp.type", "delete.retention.ms"
COMPACT, APPEND_TIME = "compact", "LogAppendTime"
_TOPIC_RESOURCE = 2

Configs = Mapping[str, Mapping[str, str]]
"""Values by topic and name; what a topic does not set is the broker's default."""


async def read_configs(connection: Connection, topics: Collection[str]) -> Configs:
    """Return what each topic has of the configurations above.

    Raises ``FailStop`` when the brokers refuse: a worker needs the right DescribeConfigs.
    """
    patience = Patience("reading the configuration of topics", connection.delivery_timeout_seconds)
    resources = [(_TOPIC_RESOURCE, topic, [CLEANUP, TIME, TOMBSTONES]) for topic in topics]
    while True:
        try:
            node = connection.client.get_random_node()
            if node is None:
                raise errors.NodeNotReadyError
            response = await connection.send(node, DescribeConfigsRequest(resources))
            return {
                name: _values(name, code, entries, connection.arguments)
                for code, _, _, name, entries in response.resources
            }
        except RETRIABLE as error:
            await patience.after(error)
            await connection.refresh()


def _values(
    topic: str, code: int, entries: Sequence[tuple[str, str]], arguments: Mapping[str, Any]
) -> dict[str, str]:
    error = error_for(code)
    if error is None:
        return {entry[0]: entry[1] for entry in entries}
    if issubclass(error, RETRIABLE):
        raise error(topic)
    if error is errors.TopicAuthorizationFailedError:
        raise NotAuthorized(refusal({topic: [Right.DESCRIBE_CONFIGS]}, arguments))
    message = f"the configuration of {topic} can't be read: {error.__name__}"
    raise FailStop(message)


def require(
    configs: Configs,
    *,
    inputs: Collection[str],
    journals: Collection[str],
    apply_command: Callable[[Iterable[str]], str] = usual_apply,
) -> None:
    """Raise ``FailStop`` where a topic is not as the engine needs it.

    A journal is compacted and nothing else: what is deleted there is forgotten money. An input is
    not compacted, or a command would go for a later one of the same payment. All of them have
    LogAppendTime: payments expire by these times.
    """
    problems = [
        (topic, f"{topic} has {name}={configs[topic][name]}, needed is {needed}")
        for topic, name, needed in (
            *((topic, CLEANUP, COMPACT) for topic in journals),
            *((topic, CLEANUP, "delete") for topic in inputs),
            *((topic, TIME, APPEND_TIME) for topic in (*inputs, *journals)),
        )
        if configs[topic][name] != needed
    ]
    if problems:
        command = apply_command(dict.fromkeys(topic for topic, _ in problems))
        told = "; ".join(problem for _, problem in problems)
        message = f"{told}; bring the topics back with: {command}"
        raise FailStop(message)


def shortest_tombstone_seconds(configs: Configs, journals: Collection[str]) -> float:
    """Return how long a tombstone surely stays in all of these journals."""
    return min(int(configs[topic][TOMBSTONES]) for topic in journals) / 1000
