"""The pulse: makes at a steady rate to every partition, and when each partition answered."""

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from exactstage.partitioner import partition_of
from payments.settings import Settings
from tools.chaos.errors import ChaosError

JOIN_SECONDS = 30.0
LOOK_SECONDS = 0.1
ACCOUNTS = 1000


@dataclass(frozen=True, slots=True)
class Beat:
    """One answered make: its partition, and when it was sent and answered (``monotonic``)."""

    partition: int
    sent: float
    answered: float


class Pulse:
    """Sends and reads in a thread of its own, from ``start`` to ``close``."""

    def __init__(self, settings: Settings, *, rate: float) -> None:
        self._settings = settings
        self._rate = rate
        self._producer = Producer(
            {
                "bootstrap.servers": settings.brokers,
                "partitioner": "murmur2_random",
                "acks": "all",
                "linger.ms": 0,
            }
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.brokers,
                "group.id": f"pulse-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        topic = settings.topics.results
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(settings.partitions)])
        self._sent: dict[bytes, float] = {}
        self._running = True
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self.beats: list[Beat] = []
        self.failure: KafkaException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the connections."""
        self._running = False
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        self._consumer.close()
        self._producer.purge()
        self._producer.flush(1.0)

    async def until_all_answered(self, sent_before: float, limit_seconds: float) -> None:
        """Wait until all that was sent before a time is answered; raises ``ChaosError``."""
        deadline = time.monotonic() + limit_seconds
        while True:
            sent = sum(at < sent_before for at in list(self._sent.values()))
            answered = sum(beat.sent < sent_before for beat in list(self.beats))
            if sent == answered:
                return
            if self.failure is not None or time.monotonic() > deadline:
                why = self.failure or f"not answered after {limit_seconds:.0f} s"
                raise ChaosError(f"{sent - answered} of {sent} payments: {why}")
            await asyncio.sleep(LOOK_SECONDS)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while self._running:
                now = time.monotonic()
                while due <= now:
                    self._send(now)
                    due += 1 / self._rate
                self._producer.poll(0)
                for message in self._consumer.consume(500, 0.002):
                    self._take(message, time.monotonic())
        except KafkaException as error:
            self.failure = error

    def _send(self, now: float) -> None:
        payment = uuid.uuid4().hex.encode()
        value = b'{"type":"make","account":"acct-%d","amount":1}' % (len(self._sent) % ACCOUNTS)
        self._sent[payment] = now
        self._producer.produce(self._settings.topics.commands, key=payment, value=value)

    def _take(self, message: Message, now: float) -> None:
        if (error := message.error()) is not None:
            raise KafkaException(error)
        sent = self._sent.get(message.key() or b"")
        if sent is not None:
            partition = partition_of(message.key() or b"", self._settings.partitions)
            self.beats.append(Beat(partition, sent, now))
