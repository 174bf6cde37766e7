"""Creating the topics of stages, as the engine needs them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from exactstage.errors import FailStop, NotAuthorized
from exactstage.stage import Stage, topics_of

from .admin import open_admin
from .rights import grant_command

_LIMIT_SECONDS, _POLL_SECONDS = 30.0, 0.05

_EVERY_TOPIC = {"message.timestamp.type": "LogAppendTime"}
_JOURNAL = {
    "cleanup.policy": "compact",
    "max.message.bytes": "4194304",
    # Records of the last segment are never compacted: so it is small, and closed soon.
    "segment.bytes": "16777216",
    "segment.ms": "60000",
    "min.cleanable.dirty.ratio": "0.2",
    "max.compaction.lag.ms": "900000",
    # A takeover must not read for longer than a tombstone stays.
    "delete.retention.ms": "300000",
}
_DEAD_LETTERS = {"max.message.bytes": "4194304"}


async def create_topics(
    arguments: Mapping[str, Any],
    stages: Sequence[Stage],
    *,
    partitions: int,
    replication: int,
) -> list[str]:
    """Create the topics of these stages that are not there yet; return their names.

    ``arguments`` are those of every aiokafka client. Topics that are there are left as they are: a
    host checks them when it starts. The brokers' defaults decide how long records stay. Raises
    ``FailStop`` where the brokers refuse it, or do not show the topics in time.
    """
    journals = {stage.changelog for stage in stages}
    letters = {stage.dead_letters for stage in stages}
    async with open_admin(arguments) as admin:
        missing = sorted(set(topics_of(stages)) - await _ready(admin))
        for name in missing:
            configs = _EVERY_TOPIC | (_JOURNAL if name in journals else {})
            configs |= _DEAD_LETTERS if name in letters else {}
            new = NewTopic(name, partitions, replication, topic_configs=configs)
            await _create(admin, new, arguments)
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not await _ready(admin) >= set(missing):
            if time.monotonic() > deadline:
                message = f"the cluster does not show {missing} after {_LIMIT_SECONDS:.0f} s"
                raise FailStop(message)
            await asyncio.sleep(_POLL_SECONDS)
    return missing


async def _ready(admin: AIOKafkaAdminClient) -> set[str]:
    """Return the topics all of whose partitions have a leader."""
    # All topics are asked for: asking for a missing one by name could create it.
    return {
        topic["topic"]
        for topic in await admin.describe_topics()
        if topic["partitions"] and all(each["leader"] >= 0 for each in topic["partitions"])
    }


async def _create(admin: AIOKafkaAdminClient, new: NewTopic, arguments: Mapping[str, Any]) -> None:
    response = await admin.create_topics([new])
    [result] = response.to_object()["topic_errors"]
    code = result["error_code"]
    if code in {0, TopicAlreadyExistsError.errno}:
        return
    detail = result.get("error_message")
    if code in {TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno}:
        grant = grant_command(arguments, ["Create"], "topic", [new.name])
        message = (
            f"not authorized: this user lacks Create on {new.name} ({detail}). Grant it: {grant}"
        )
        raise NotAuthorized(message)
    message = f"the brokers refuse to create topic {new.name}: {detail} ({for_code(code).__name__})"
    raise FailStop(message)
