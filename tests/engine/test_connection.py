"""The end of a connection: everything closes, whatever has died before."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.client import AIOKafkaClient

from payments.engine.kafka.connection import Connection


async def test_a_client_closes_even_when_its_own_task_has_died() -> None:
    closed: list[str] = []

    async def close(**_: Any) -> None:
        closed.append("link")

    async def die() -> None:
        raise RuntimeError("the handler is closed")

    client = AIOKafkaClient()
    client._conns[1, 0] = SimpleNamespace(close=close)
    client._sync_task = asyncio.create_task(die())
    await asyncio.wait([client._sync_task])
    connection = Connection({}, delivery_timeout_seconds=1.0)
    connection._client = client
    await connection.close()
    assert closed == ["link"]
