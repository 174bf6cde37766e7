"""A client quota that is too low: the worker names it, where the broker would look silent."""

import asyncio

from exactstage.kafka.throttling import Throttling
from exactstage.readiness import Readiness


async def test_a_quota_that_holds_a_worker_back_is_why_it_is_not_ready() -> None:
    """On the wire: ``tests/engine/test_wire.py``. Quotas never make it inexact, only slow."""
    throttling = Throttling()
    readiness = Readiness(stall_seconds=0.0)
    now = asyncio.get_running_loop().time
    throttling.note(200)
    assert readiness.look(throttling.troubles("kafka:9092"), now()) == []
    throttling.note(3000)
    throttling.note(11_000)
    throttling.note(2000)
    [reason] = readiness.look(throttling.troubles("kafka:9092"), now())
    assert reason.startswith(
        "Kafka throttles this process: a client quota (pauses of up to 11.0 s): it is lower than "
        "the load (producer_byte_rate, consumer_byte_rate, request_percentage); see kafka-configs"
    )
