"""Send payment commands and wait for their results; copy this into a service of your own."""

import asyncio
import json
import os
import sys
import uuid
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

BROKERS = os.environ.get("PAYMENTS_BROKERS", "localhost:9092")
PREFIX = os.environ.get("PAYMENTS_TOPIC_PREFIX", "")
COMMANDS, RESULTS = PREFIX + "payments.commands", PREFIX + "payments.results"


class Payments:
    """A client: each command has an id of its own, and its result carries the same id."""

    async def __aenter__(self) -> Self:
        """Connect; only results from now on are read."""
        async with AIOKafkaConsumer(bootstrap_servers=BROKERS) as anyone:
            # Many brokers create a topic that a client asks for by name, so all are asked for.
            if missing := {COMMANDS, RESULTS} - await anyone.topics():
                sys.exit(f"no topic {', '.join(missing)}; make it with: payments topics apply")
        self._waiting: dict[str, asyncio.Future[dict[str, object]]] = {}
        self._producer = AIOKafkaProducer(bootstrap_servers=BROKERS, enable_idempotence=True)
        self._results = AIOKafkaConsumer(RESULTS, bootstrap_servers=BROKERS)
        await asyncio.gather(self._producer.start(), self._results.start())
        await self._results.seek_to_end()  # before anything is sent, so that no result is missed
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        """Disconnect."""
        self._reading.cancel()
        await asyncio.gather(self._producer.stop(), self._results.stop())

    async def send(self, payment: str, **command: object) -> dict[str, object]:
        """Send a command, return its result. After a TimeoutError, send it again: that is safe."""
        number = str(uuid.uuid4())
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        value = json.dumps({"id": number, **command}).encode()
        await self._producer.send_and_wait(COMMANDS, value, payment.encode())
        return await asyncio.wait_for(answer, timeout=30)

    async def _read(self) -> None:
        async for record in self._results:
            if record.value is None:  # Not written by a worker: each result has a value.
                continue
            result = json.loads(record.value)
            answer = self._waiting.pop(result["command"], None)
            if answer is not None and not answer.done():
                answer.set_result(result)


async def main() -> None:
    """Pay in, look, and take it back."""
    payment = f"order-{uuid.uuid4().hex[:8]}"
    async with Payments() as payments:
        print(await payments.send(payment, type="deposit", account="alice", amount=500))
        print(await payments.send(payment, type="get"))
        print(await payments.send(payment, type="cancel"))


if __name__ == "__main__":
    asyncio.run(main())
