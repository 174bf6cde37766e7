"""Client quotas on a broker: a worker that is throttled is slow, and nothing else.

Of the same kind: pauses under a second, which are not reported, and how longer ones are
(``tests/engine/test_throttling.py``), and requests that a broker answers late
(``tests/broker/test_standstill.py``).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String
from confluent_kafka import Consumer, Producer

from exactstage import TopicPartition
from exactstage.kafka import KafkaLog, encode_batch
from exactstage.kafka.wire import Produce
from exactstage.log import NO_HEADERS, Batch
from payments.settings import Settings
from payments.worker.health import why_not_ready
from tests.broker_fixture import Installations

from .client import WorkerProcess

CLIENT_ID = f"aiokafka-{aiokafka.__version__}"
"""That of a worker's connections; this test's own clients are librdkafka's."""

AT_ONCE = 1
LIMIT_SECONDS = 60.0
COMMANDS = 12

TEXT = String("utf-8")
_ENTITY = ("entity", Array(("type", TEXT), ("name", TEXT)))


class _Altered(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", TEXT), _ENTITY)),
    )


class _AlterClientQuotas0(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = _Altered
    SCHEMA = Schema(
        (
            "entries",
            Array(
                _ENTITY,
                ("ops", Array(("key", TEXT), ("value", Float64), ("remove", Boolean))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _AlterClientQuotas(Request[_AlterClientQuotas0]):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 49

    def __init__(self, *values: object) -> None:
        self._values = values

    def build(self, request_struct_class: type[_AlterClientQuotas0]) -> _AlterClientQuotas0:
        """Return the request in the format of its version."""
        return request_struct_class(*self._values)


async def _alter(settings: Settings, values: dict[str, float], *, remove: bool) -> None:
    log = KafkaLog(settings.connection())
    await log.start([])
    try:
        node = log.connection.client.get_random_node()
        ops = [(name, value, remove) for name, value in values.items()]
        only_validate = False
        request = _AlterClientQuotas([([("client-id", CLIENT_ID)], ops)], only_validate)
        answer = await log.connection.send(node, request)
        assert [entry[:2] for entry in answer.entries] == [(0, None)]
    finally:
        await log.close()


@asynccontextmanager
async def quotas(settings: Settings, **bytes_per_second: float) -> AsyncIterator[None]:
    """Set quotas of the worker's client id while the block lasts."""
    await _alter(settings, bytes_per_second, remove=False)
    try:
        yield
    finally:
        await _alter(settings, bytes_per_second, remove=True)


def answered(settings: Settings, count: int) -> dict[str, Any]:
    """Send so many commands, a few at a time; return the results by command."""
    brokers = {"bootstrap.servers": settings.brokers}
    producer = Producer({**brokers, "linger.ms": 0})
    consumer = Consumer(
        {**brokers, "group.id": settings.app_id + "-q", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([settings.topics.results])
    found: dict[str, Any] = {}
    try:
        for number in range(count):
            command = {"type": "make", "account": "abc", "amount": 1, "id": str(number)}
            producer.produce(settings.topics.commands, json.dumps(command), f"p{number}")
            producer.poll(0)
            while number + 1 - len(found) > AT_ONCE or (number + 1 == count > len(found)):
                message = consumer.poll(LIMIT_SECONDS)
                assert message is not None, f"{len(found)} of {count} are answered"
                assert message.error() is None
                result = json.loads(message.value() or b"")
                found[result["command"]] = result
    finally:
        consumer.close()
    return found


async def until_throttled(settings: Settings) -> None:
    """Append as a client with the worker's id, until the broker says that it throttles it."""
    at = TopicPartition(settings.topics.commands, 0)
    log = KafkaLog(settings.connection())
    await log.start([at.topic])
    try:
        node, writer = log.connection.leader(at), await log.new_writer()
        assert node is not None
        throttle_ms = 0
        async with asyncio.timeout(LIMIT_SECONDS):
            while not throttle_ms:
                get = Batch(at, writer, [(b"p0", b'{"type":"get"}', NO_HEADERS)])
                request = Produce({at.topic: [(at.partition, encode_batch(get))]}, 30_000)
                await log.connection.send(node, request)
                throttle_ms = request.throttle_ms
    finally:
        await log.close()


async def test_a_throttled_worker_answers_everything_and_says_only_why_it_is_slow(
    installations: Installations, tmp_path: Any
) -> None:
    settings = await installations.make(
        partitions=2, opening_balance=1_000_000, health_file=tmp_path / "ready"
    )
    async with quotas(settings, producer_byte_rate=3_000, consumer_byte_rate=1_000):
        worker = await WorkerProcess(settings).start()
        try:
            found = await asyncio.to_thread(answered, settings, COMMANDS)
            assert len(found) == COMMANDS
            assert {result["outcome"] for result in found.values()} == {"completed"}
            await until_throttled(settings)
            why = why_not_ready(tmp_path / "ready")
            assert why is None or "Kafka throttles this process: " in why
            assert await worker.stop() == 0
        finally:
            await worker.kill()
            lines = worker.log.read_text().splitlines()
            worker.log.unlink()
    warnings = [line for line in lines if " INFO " not in line]
    assert len(warnings) <= 1, warnings
    assert all("not ready since" in line and "throttles this" in line for line in warnings)
