"""The cluster: its id and the ids of topics.

A topic that is deleted and recreated keeps its name and gets a new id (KIP-516). Version 10 of
Metadata returns the ids; Kafka has it since 2.8, aiokafka does not.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable, Sequence

from aiokafka import errors

from exactstage.errors import FailStop, NotAuthorized, no_topic, usual_apply
from exactstage.log import Cluster

from .connection import RETRIABLE, Connection, RetryPolicy, error_for
from .rights import Right, rights_refusal
from .wire import DescribedTopic, Metadata

_NO_ID = bytes(16)
_DENIED = errors.TopicAuthorizationFailedError.errno
_UNKNOWN = errors.UnknownTopicOrPartitionError
KNOWN_WITHIN_SECONDS = 2.0
"""Time in which a broker that has just started learns of topics, or of a topic just created."""


async def describe(
    connection: Connection,
    topics: Sequence[str],
    apply_command: Callable[[Iterable[str]], str] = usual_apply,
) -> Cluster:
    """Return the ids of the cluster and of these topics.

    Raises ``NoTopic`` when a topic is missing, ``FailStop`` when the broker reports no ids.
    """
    retry = RetryPolicy("asking for topics", connection.delivery_timeout_seconds)
    time = asyncio.get_running_loop().time
    known_by = time() + KNOWN_WITHIN_SECONDS
    while True:
        try:
            node = connection.client.get_random_node()
            if node is None:
                raise errors.NodeNotReadyError
            cluster, found = await connection.send(node, Metadata(topics))
            missing = [topic for topic, code, *_ in found if error_for(code) is _UNKNOWN]
            if missing and time() > known_by:
                raise no_topic(missing, apply_command)
            _require_no_errors(connection, found)
        except RETRIABLE as error:
            await retry.after(error)
            await connection.refresh()
        except errors.KafkaError as error:
            message = f"the broker does not say which topics it has: {error!r}"
            raise FailStop(message) from error
        else:
            break
    without = [topic for topic, _, id_, _ in found if id_ == _NO_ID]
    if without or cluster is None:
        message = (
            f"the broker has no id for {', '.join(without) or 'its cluster'}; Kafka has them since "
            f"2.8 (with ZooKeeper: since inter.broker.protocol.version 2.8)"
        )
        raise FailStop(message)
    return Cluster(cluster, {topic: printed(id_) for topic, _, id_, _ in found})


def _require_no_errors(connection: Connection, found: Sequence[DescribedTopic]) -> None:
    refused = {topic: [Right.DESCRIBE] for topic, code, *_ in found if code == _DENIED}
    if refused:
        raise NotAuthorized(rights_refusal(refused, connection.arguments))
    for topic, code, *_ in found:
        if (error := error_for(code)) is not None:
            raise error(topic)


def printed(id_: bytes) -> str:
    """Return a topic id as Kafka's tools print it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(id_).decode().rstrip("=")


def raw(printed_id: str) -> bytes:
    """Return the 16 bytes of a topic id that Kafka's tools print."""
    return base64.urlsafe_b64decode(printed_id + "==")
