"""The storm: commands at a steady rate from several producers, and every result that comes.

It runs in a thread of its own and never waits for a broker: what can't be sent yet stays in the
queues of librdkafka. It knows which commands were acknowledged and which of them were answered.
"""

import json
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from payments.settings import Settings
from tools.chaos.commands import RULE_EVERY, Commands, Sent

PRODUCERS = {
    "crc32, idempotent": ("consistent_random", True),
    "crc32": ("consistent_random", False),
    "murmur2, idempotent": ("murmur2_random", True),
    "murmur2": ("murmur2_random", False),
}
SEND_LIMIT_MS = 120_000
"""Longer than any outage here: a producer gives a command up after it."""

MAX_UNANSWERED = 20_000
REMEMBERED = 10_000
FLUSH_SECONDS = 60.0
BIN_SECONDS = 1.0


@dataclass(slots=True)
class UnderWay:
    """A command without a result: its number, its producer, and when it was sent."""

    id: str
    number: int
    producer: str
    sent: float
    acknowledged: bool = False


@dataclass
class Tally:
    """What was counted so far; times are seconds since the storm began."""

    sent: int = 0
    sent_by_kind: Counter[str] = field(default_factory=Counter)
    sent_by_producer: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    results: int = 0
    notices: int = 0
    holds: int = 0
    """Authorizes that have held money, each once."""

    lapses: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    """Not acknowledged in time: whether these were written is not known."""

    aborted: int = 0
    producers_replaced: int = 0
    wrong: list[str] = field(default_factory=list)
    """Results that may not be: of a command that was never sent, or a second one."""

    results_by_second: Counter[int] = field(default_factory=Counter)


class Storm:
    """Sends and reads; ``start``, then ``calm`` ends the sending, then ``close``."""

    def __init__(self, settings: Settings, *, seed: int, rate: float) -> None:
        self._settings = settings
        self._rate = rate
        self._commands = Commands(seed, run=uuid.uuid4().hex[:6])
        self._producers = {name: self._producer(name) for name in PRODUCERS}
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.brokers,
                "group.id": f"chaos-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        topics = settings.topics.results, settings.topics.account_results
        self._consumer.assign(
            [TopicPartition(topic, p, 0) for topic in topics for p in range(settings.partitions)]
        )
        self._under_way: dict[str, UnderWay] = {}
        self._once: set[str] = set()
        self._never: set[str] = set()
        self._holds_to_send: deque[int] = deque()
        self._lock = threading.Lock()
        self._sending = True
        self._running = True
        self._thread = threading.Thread(target=self._run, name="storm", daemon=True)
        self._began = 0.0
        self.failure: Exception | None = None
        self.tally = Tally()
        self._latencies: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)

    def _producer(self, name: str) -> Producer:
        partitioner, idempotent = PRODUCERS[name]
        return Producer(
            {
                "bootstrap.servers": self._settings.brokers,
                "partitioner": partitioner,
                "enable.idempotence": idempotent,
                "acks": "all",
                # With more in flight an idempotent producer of librdkafka may report a message as
                # written that is not: the first one was refused (no leader yet), the second was
                # taken, since the partition knew nothing of the producer yet, and so the first one
                # counts as a repetition. Such a loss is no fault of what is tested here.
                "max.in.flight.requests.per.connection": 1,
                "linger.ms": 2,
                "message.timeout.ms": SEND_LIMIT_MS,
                "reconnect.backoff.max.ms": 500,
                "topic.metadata.refresh.interval.ms": 5000,
                "log_level": 0,
            }
        )

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        self._thread.start()

    def elapsed(self) -> float:
        """Return the seconds since the storm began."""
        return time.monotonic() - self._began

    def calm(self) -> None:
        """Send no more commands; results are still read."""
        self._sending = False

    def close(self) -> None:
        """End the thread and the connections."""
        self._running = False
        if self._thread.is_alive():
            self._thread.join(FLUSH_SECONDS)
        self._consumer.close()
        for producer in self._producers.values():
            producer.purge()
            producer.flush(1.0)

    def last_number(self) -> int:
        """Return the number of the last command that was sent; commands are numbered from 1."""
        return self.tally.sent

    def unanswered(self, up_to: int) -> list[UnderWay]:
        """Return the commands up to a number that have no result and were not given up."""
        with self._lock:
            return [one for one in self._under_way.values() if one.number <= up_to]

    def hold(self, count: int, seconds: int) -> None:
        """Send so many authorizes whose holds end together, each after so many seconds."""
        self._holds_to_send.extend([seconds] * count)

    def take(self, count: int, producer: str) -> list[Sent]:
        """Make commands that somebody else sends, once each; ``delivered`` or ``undo`` follows."""
        return [self._next(producer, once=True) for _ in range(count)]

    def delivered(self, commands: Iterable[Sent]) -> None:
        """Note that commands of ``take`` are in the topic."""
        for command in commands:
            self._delivered(command.id, None, None)

    def undo(self, commands: Iterable[Sent]) -> None:
        """Note that commands of ``take`` will never be in the topic: a result would be wrong."""
        with self._lock:
            for command in commands:
                self._never.add(command.id)
                self.tally.aborted += 1
                if self._under_way.pop(command.id, None) is None:
                    self.tally.wrong.append(f"{command.id} has a result before it was sent")

    def latencies_of_last(self, count: int) -> list[float]:
        """Return how long the last so many commands took from send to result, in seconds."""
        after = self.tally.sent - count
        return [seconds for number, seconds in list(self._latencies) if number > after]

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while self._running:
                now = time.monotonic()
                while self._holds_to_send:
                    self._send(self._holds_to_send.popleft())
                while self._sending and due <= now:
                    self._send()
                    due += 1 / self._rate
                due = max(due, now - 1.0)  # After a stall the storm does not catch up for long.
                for producer in self._producers.values():
                    producer.poll(0)
                self._take(self._consumer.consume(500, 0.005))
        except Exception as error:  # noqa: BLE001 - told by the thread that waits for the storm
            self.failure = error

    def _next(
        self, name: str, *, once: bool, hold_seconds: int | None = None, rules: bool = False
    ) -> Sent:
        """Make the next command, or a hold; ``once``: its producer can't write it twice.

        With ``rules`` it may be for an account.
        """
        with self._lock:
            commands = self._commands
            if hold_seconds is not None:
                command = commands.hold(hold_seconds)
            elif rules and self.tally.sent % RULE_EVERY == RULE_EVERY - 1:
                command = commands.rule()
            else:
                command = commands.next()
            self.tally.sent += 1
            self.tally.sent_by_kind[command.kind] += 1
            self.tally.sent_by_producer[name] += 1
            number, now = self.tally.sent, time.monotonic()
            self._under_way[command.id] = UnderWay(command.id, number, name, now)
            if once:
                self._once.add(command.id)
        return command

    def _send(self, hold_seconds: int | None = None) -> None:
        if len(self._under_way) >= MAX_UNANSWERED:
            return
        name = list(PRODUCERS)[self.tally.sent % len(PRODUCERS)]
        once = PRODUCERS[name][1]
        command = self._next(name, once=once, hold_seconds=hold_seconds, rules=True)
        try:
            self._produce(name, command)
        except KafkaException as error:
            if not error.args[0].fatal():
                raise
            # An idempotent producer that has lost its place is of no more use (librdkafka).
            self._producers[name] = self._producer(name)
            self.tally.producers_replaced += 1
            self._produce(name, command)

    def _produce(self, name: str, command: Sent) -> None:
        topics = self._settings.topics
        self._producers[name].produce(
            topics.account_commands if command.for_account else topics.commands,
            key=command.payment.encode(),
            value=command.value,
            on_delivery=partial(self._delivered, command.id),
        )

    def _delivered(
        self, command_id: str, error: KafkaError | None, _message: Message | None
    ) -> None:
        with self._lock:
            if error is not None:
                self._once.discard(command_id)
                if self._under_way.pop(command_id, None) is not None:
                    self.tally.given_up += 1
            elif (under := self._under_way.get(command_id)) is not None:
                under.acknowledged = True

    def _take(self, messages: list[Message]) -> None:
        now = time.monotonic()
        for message in messages:
            if (error := message.error()) is not None:
                if error.retriable() or error.code() in _PASSING:
                    continue
                raise KafkaException(error)
            result = json.loads(message.value() or b"")
            self.count_holds(result)
            self.take_result(result["command"], result["outcome"], now)

    def count_holds(self, result: Mapping[str, object]) -> None:
        """Count what began or ended a hold: the first answer of an authorize, and a lapse."""
        outcome = result["outcome"]
        self.tally.lapses += outcome == "lapsed" and result["command"] is None
        is_first = result["type"] == "authorize" and not result["replayed"]
        self.tally.holds += outcome == "authorized" and is_first

    def take_result(self, command_id: str | None, outcome: str, now: float) -> None:
        """Note one result, of the command with this id (None: a notice), read at ``now``."""
        tally = self.tally
        if command_id is None:
            tally.notices += 1
            return
        tally.results += 1
        tally.outcomes[outcome] += 1
        tally.results_by_second[int((now - self._began) / BIN_SECONDS)] += 1
        with self._lock:
            under = self._under_way.pop(command_id, None)
            if command_id in self._never:
                tally.wrong.append(f"{command_id} was never sent, and has a result: {outcome}")
            elif under is None and command_id in self._once:
                tally.wrong.append(f"{command_id} has a second result: {outcome}")
        if under is not None:
            tally.answered += 1
            self._latencies.append((under.number, now - under.sent))


_PASSING = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's own codes are named so
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
}
