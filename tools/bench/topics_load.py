"""The load over topics: a closed loop with librdkafka, in a process of its own.

``concurrency`` payments are in flight at any time, with unique ids, on 1,000 accounts; the next one
is sent when a result comes. Prints one line of JSON: payments/s and latencies in milliseconds.
"""

import argparse
import json
import random
import sys
import time
import uuid
from dataclasses import asdict

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tools.bench.latencies import Figures, Stopwatch

STALLED_SECONDS = 10.0
ACCOUNTS = 1000
COMPLETED = b'"outcome":"completed"'


class ClosedLoop:
    """Keeps a number of payments in flight, and notes how long each took."""

    def __init__(self, brokers: str, commands: str, results: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "linger.ms": 0,
                "acks": "all",
                "partitioner": "murmur2_random",
                "socket.nagle.disable": True,
            }
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": f"bench-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 0,
            }
        )
        self._commands = commands
        self._assign_at_end(results)
        self._run = uuid.uuid4().hex[:8]
        self._sent = 0
        self._waiting: dict[bytes, float] = {}
        self._watch = Stopwatch()

    def _assign_at_end(self, topic: str) -> None:
        metadata = self._consumer.list_topics(topic, timeout=10).topics[topic]
        ends = []
        for partition in metadata.partitions:
            at = TopicPartition(topic, partition)
            at.offset = self._consumer.get_watermark_offsets(at, timeout=10)[1]
            ends.append(at)
        self._consumer.assign(ends)
        self._consumer.poll(0.5)

    def _send(self) -> None:
        payment = f"{self._run}-{self._sent}".encode()
        account = f"acct-{random.randrange(ACCOUNTS)}"
        self._sent += 1
        self._waiting[payment] = time.perf_counter()
        value = json.dumps(
            {
                "type": "make",
                "id": payment.decode(),
                "account": account,
                "amount": 1,
                "currency": "EUR",
            }
        )
        self._producer.produce(self._commands, key=payment, value=value)
        self._producer.poll(0)

    def _take(self, message: Message, now: float, stop_at: float) -> None:
        if message.error() is not None:
            sys.exit(f"reading results: {message.error()}")
        sent_at = self._waiting.pop(message.key() or b"", None)
        if sent_at is None:
            return
        self._watch.note(sent_at, now)
        if COMPLETED not in (message.value() or b""):
            self._watch.not_completed += 1
        if now < stop_at:
            self._send()

    def run(self, seconds: float, concurrency: int, stalled_seconds: float) -> Figures:
        """Run for ``seconds``, then wait for what is in flight; end when nothing comes any more."""
        self._watch = Stopwatch()
        started = time.perf_counter()
        stop_at = started + seconds
        for _ in range(concurrency):
            self._send()
        last = started
        few = concurrency <= 8  # where waiting for a batch would cost latency
        while self._waiting and time.perf_counter() - last < stalled_seconds:
            if few:
                message = self._consumer.poll(0.05)
                messages = [] if message is None else [message]
            else:
                messages = self._consumer.consume(500, 0.002)
            now = time.perf_counter()
            for message in messages:
                self._take(message, now, stop_at)
                last = now
            self._producer.poll(0)
        figures = self._watch.figures(len(self._waiting))
        self._consumer.close()
        return figures


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--commands", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--stalled-seconds", type=float, default=STALLED_SECONDS)
    given = parser.parse_args()
    loop = ClosedLoop(given.brokers, given.commands, given.results)
    figures = loop.run(given.seconds, given.concurrency, given.stalled_seconds)
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")


if __name__ == "__main__":
    main()
