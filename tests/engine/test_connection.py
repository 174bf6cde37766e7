"""Connections: each leads to the cluster of the first one; all close, whatever has died before."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import client as aiokafka_client
from aiokafka import errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.protocol.metadata import MetadataResponse_v1

from exactstage.errors import FailStop
from exactstage.kafka.connection import Connection
from exactstage.kafka.metadata import NonCreatingClient


class Link:
    """A connection to a broker of one cluster."""

    host, port = "kafka", 9092

    def __init__(self, cluster: str | None) -> None:
        self.cluster = cluster
        self.open = True
        self.asked = 0

    def connected(self) -> bool:
        """Return whether it is open."""
        return self.open

    def close(self, *_: object) -> None:
        """Close it."""
        self.open = False

    async def send(self, _: object) -> SimpleNamespace:
        """Answer with the cluster, whatever is asked."""
        self.asked += 1
        if self.cluster == "away":
            raise errors.KafkaConnectionError
        return SimpleNamespace(cluster_id=self.cluster)


def client_of(monkeypatch: pytest.MonkeyPatch, *links: Link) -> NonCreatingClient:
    """Return a client whose connections are these, one after the other."""
    left = list(links)

    async def create(*_: object, **__: object) -> Link:
        return left.pop(0)

    monkeypatch.setattr(aiokafka_client, "create_conn", create)
    client = NonCreatingClient()
    node = SimpleNamespace(host="kafka", port=9092)
    client.cluster = SimpleNamespace(broker_metadata=lambda _: node, add_listener=lambda _: None)
    return client


async def test_no_request_goes_to_another_cluster_that_took_an_address_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name or port that leads elsewhere later; at a start, positions tell (test_takeover)."""
    first, same, other = Link("one"), Link("one"), Link("two")
    client = client_of(monkeypatch, first, same, other)
    assert await client._get_conn(1) is first
    assert await client._get_conn(1, group=ConnectionGroup.COORDINATION) is same
    assert await client._get_conn(1) is first
    assert first.asked == 1
    first.close()
    with pytest.raises(FailStop, match=r"kafka:9092 is a broker of cluster two .* cluster one"):
        await client.send(1, object())
    assert not other.open
    assert other.asked == 1


async def test_a_separate_connection_uses_the_same_metadata_and_leads_to_the_same_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a reader begins with a fetch, and reads no other cluster than its log writes to."""
    link, other = Link("one"), Link("two")
    connection = Connection({}, delivery_timeout_seconds=1.0)
    connection._client = client_of(monkeypatch, link, other)
    assert await connection.client._get_conn(1) is link
    separate = connection.separate()
    assert separate.client.cluster is connection.client.cluster
    with pytest.raises(FailStop, match=r"kafka:9092 is a broker of cluster two .* cluster one"):
        await separate.client._get_conn(1)
    assert link.open


async def test_a_connection_that_does_not_say_its_cluster_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away, back = Link("away"), Link("one")
    client = client_of(monkeypatch, away, back)
    with pytest.raises(errors.NodeNotReadyError):
        await client.send(1, object())
    assert not away.open
    assert await client._get_conn(1) is back


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


async def test_leaders_that_are_learned_anew_are_heard_of_until_the_end() -> None:
    connection = Connection({}, delivery_timeout_seconds=1.0)
    connection._client = NonCreatingClient()
    separate = connection.separate()
    answer = MetadataResponse_v1([(1, "kafka", 9092, None)], 1, [])
    connection.client.cluster.update_metadata(answer)
    assert (connection.leaders_version, separate.leaders_version) == (0, 1)
    await separate.close()
    await separate.close()
    separate.client.cluster.update_metadata(answer)
    assert separate.leaders_version == 1
