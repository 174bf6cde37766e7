"""An admin client whose connection errors state their cause (``diagnosis``)."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts
from aiokafka.errors import (
    KafkaConnectionError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
)

from .diagnosis import diagnosis
from .wire import Metadata


@asynccontextmanager
async def open_admin(arguments: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client for the block; ``arguments`` are those of every aiokafka client.

    Raises ``Refusal`` when a broker refuses this process, and ``KafkaConnectionError`` with the
    cause in its text when no broker answers.
    """
    admin = AIOKafkaAdminClient(**arguments)
    try:
        try:
            await admin.start()
        except OSError as error:
            raise KafkaConnectionError(str(error)) from error
        yield admin
    except (KafkaConnectionError, NodeNotReadyError) as error:
        # A listener that requires a login, or another token, accepts the connection and closes it
        # after the first request.
        hosts = [(host, port) for host, port, _ in collect_hosts(arguments["bootstrap_servers"])]
        raise KafkaConnectionError(await diagnosis(hosts, arguments)) from error
    finally:
        await admin.close()


async def hidden_topics(admin: AIOKafkaAdminClient, names: Collection[str]) -> list[str]:
    """Return those of these topics that this user may not see; none is created.

    A list of all topics leaves those out; one that is asked for by name is refused.
    """
    client = admin._client  # noqa: SLF001 - aiokafka knows no version that creates nothing
    _, shown = await client.send(client.get_random_node(), Metadata(sorted(names)))
    return [topic.topic for topic in shown if topic.code == TopicAuthorizationFailedError.errno]
