"""An admin client that says why it has no connection, as all does that connects (``diagnosis``)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from .diagnosis import diagnosis


@asynccontextmanager
async def open_admin(arguments: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect for as long as the block lasts; ``arguments`` are those of every aiokafka client.

    Raises ``Refusal`` where a broker refuses this process, and ``KafkaConnectionError`` with the
    cause in its text where none answers.
    """
    admin = AIOKafkaAdminClient(**arguments)
    try:
        try:
            await admin.start()
        except OSError as error:
            raise KafkaConnectionError(str(error)) from error
        yield admin
    except (KafkaConnectionError, NodeNotReadyError) as error:
        # A listener that wants a login, or another token, takes the connection and closes it later.
        hosts = [(host, port) for host, port, _ in collect_hosts(arguments["bootstrap_servers"])]
        raise KafkaConnectionError(await diagnosis(hosts, arguments)) from error
    finally:
        await admin.close()
