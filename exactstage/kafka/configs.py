"""Topic configurations that the engine relies on, read from the brokers before it starts."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.protocol.admin import DescribeConfigsRequest

from exactstage.errors import FailStop, NotAuthorized, usual_apply

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .rights import Right, rights_refusal

CLEANUP, TIME, TOMBSTONES = "cleanup.policy", "message.timestamp.type", "delete.retention.ms"
COMPACT, APPEND_TIME = "compact", "LogAppendTime"
RETENTION_TIME, RETENTION_SIZE = "retention.ms", "retention.bytes"
UNLIMITED = "-1"
_RELIED_ON = (CLEANUP, TIME, TOMBSTONES)
_TOPIC_RESOURCE = 2

Configs = Mapping[str, Mapping[str, str]]
"""Values by topic and name; a value that the topic does not set is the broker's default."""


async def read_configs(connection: Connection, topics: Collection[str]) -> Configs:
    """Return the configurations above of each topic.

    Raises ``NotAuthorized`` without the right DescribeConfigs, ``FailStop`` for other refusals.
    """
    return {
        name: _values(name, code, entries, connection.arguments)
        for code, _, _, name, entries in await _described(connection, topics, _RELIED_ON)
    }


async def read_retention(connection: Connection, topics: Collection[str]) -> Configs:
    """Return each topic's retention settings; without the topics that this user may not see."""
    found = await _described(connection, topics, (CLEANUP, RETENTION_TIME, RETENTION_SIZE))
    return {
        name: _values(name, code, entries, connection.arguments)
        for code, _, _, name, entries in found
        if error_for(code) is not errors.TopicAuthorizationFailedError
    }


async def _described(
    connection: Connection, topics: Collection[str], names: Collection[str]
) -> Sequence[tuple[int, str, int, str, Sequence[tuple[str, str]]]]:
    retry = RetryPolicy("reading the configuration of topics", connection.delivery_timeout_seconds)
    resources = [(_TOPIC_RESOURCE, topic, list(names)) for topic in topics]
    while True:
        try:
            node = connection.client.get_random_node()
            if node is None:
                raise errors.NodeNotReadyError
            response = await connection.send(node, DescribeConfigsRequest(resources))
            found: Sequence[Any] = response.resources
            for code, _, _, name, _ in found:
                error = error_for(code)
                if error is not None and issubclass(error, RETRIABLE):
                    raise error(name)
            return found  # noqa: TRY300 - a failure above is retried
        except RETRIABLE as failure:
            await retry.after(failure)
            await connection.refresh()


def _values(
    topic: str, code: int, entries: Sequence[tuple[str, str]], arguments: Mapping[str, Any]
) -> dict[str, str]:
    error = error_for(code)
    if error is None:
        return {entry[0]: entry[1] for entry in entries}
    if error is errors.TopicAuthorizationFailedError:
        raise NotAuthorized(rights_refusal({topic: [Right.DESCRIBE_CONFIGS]}, arguments))
    message = f"the configuration of {topic} can't be read: {error.__name__}"
    raise FailStop(message)


def require(
    configs: Configs,
    *,
    inputs: Collection[str],
    journals: Collection[str],
    apply_command: Callable[[Iterable[str]], str] = usual_apply,
) -> None:
    """Raise ``FailStop`` for a topic that is not configured as the engine needs it.

    A journal is only compacted: retention would delete rows. An input is not compacted: a later
    record with the same key would delete an unread one. All of them have LogAppendTime: expiry
    relies on these times.
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
        listed = "; ".join(problem for _, problem in problems)
        message = f"{listed}; bring the topics back with: {command}"
        raise FailStop(message)


def shortest_tombstone_seconds(configs: Configs, journals: Collection[str]) -> float:
    """Return for how many seconds all of these journals are sure to keep a tombstone."""
    return min(int(configs[topic][TOMBSTONES]) for topic in journals) / 1000


def losses(
    configs: Configs,
    keeps: Mapping[str, float],
    apply_command: Callable[[Iterable[str]], str] = usual_apply,
) -> list[str]:
    """Return a sentence for each topic that deletes records sooner than ``keeps`` allows.

    ``keeps`` has the seconds for which each topic has to keep its records.
    """
    found: list[str] = []
    for topic, values in configs.items():
        seconds = keeps[topic]
        wrong = []
        if values[CLEANUP] != "delete":
            wrong.append(CLEANUP)  # Compaction keeps one record of each key.
        age = values[RETENTION_TIME]
        if age != UNLIMITED and int(age) < seconds * 1000:
            wrong.append(RETENTION_TIME)
        if values[RETENTION_SIZE] != UNLIMITED:
            wrong.append(RETENTION_SIZE)
        if wrong:
            settings = ", ".join(f"{name}={values[name]}" for name in wrong)
            needed = "for ever" if math.isinf(seconds) else f"for {seconds:.0f} s at least"
            found.append(
                f"{topic} has {settings}, and its records have to be kept {needed}; bring it back "
                f"with: {apply_command([topic])}"
            )
    return found
