"""A client, or a gateway, whose brokers' addresses lead to another cluster while it runs.

A connection that is made again is tried in ``tests/engine/test_connection.py``, a start in the
recovery's tests: there the positions of journals tell.
"""

from types import SimpleNamespace

import pytest

from exactstage.errors import FailStop
from payments.client import kafka
from payments.client.kafka import KafkaTransport


async def test_a_client_connects_anew_to_the_cluster_it_began_on_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clusters = ["one", "one", "two", "one"]
    closed: list[str] = []

    class Log:
        def __init__(self, *_: object, **__: object) -> None:
            self.cluster = clusters.pop(0)
            self.connection = SimpleNamespace(client=SimpleNamespace(cluster_id=self.cluster))

        async def start(self, _: object) -> None:
            """Connect."""

        async def close(self) -> None:
            """Note it."""
            closed.append(self.cluster)

    monkeypatch.setattr(kafka, "KafkaLog", Log)
    transport = KafkaTransport({"bootstrap_servers": "kafka:9092"}, delivery_timeout_seconds=1.0)
    await transport.open(["results"])
    await transport.open(["results"])
    with pytest.raises(FailStop, match=r"kafka:9092 is a broker of cluster two now, .* one;"):
        await transport.open(["results"])
    assert closed == ["one", "one", "two"]
    await transport.open(["results"])
