"""The guided set of ``make run``: real commands over the topics, each shown with its result."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from payments.records.record_address import RecordAddress
from payments.settings import Settings
from payments.topics.cluster import cluster
from tools.dev.errors import BrokerError
from tools.dev.terminal import colored, say

RESULT_LIMIT_SECONDS = 60.0
WATCH_SECONDS = 0.2
NUMBERS_SINCE = 1_735_689_600
"""2025-01-01: run numbers count seconds from here, so they are short and never repeat."""
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
TOPICS = ("payments.commands", "payments.results")
OUTCOME_COLORS = {
    "authorized": "green",
    "captured": "green",
    "completed": "green",
    "found": "green",
    "refunded": "green",
    "rejected": "red",
}
AMOUNTS = ("held", "captured", "refunded")


@dataclass(frozen=True, slots=True)
class Step:
    """One command with what it shows, and the outcome that it must have."""

    title: str
    payment: str
    value: str | None
    """None: no command is sent, since the notice of a lapse comes by itself."""

    outcome: str
    replayed: bool = False


def run_number() -> str:
    """Return a short text that no earlier run has used."""
    rest, text = int(time.time()) - NUMBERS_SINCE, ""
    while rest:
        rest, digit = divmod(rest, len(DIGITS))
        text = DIGITS[digit] + text
    return text


def guided_set(run: str, opening_balance: int) -> list[Step]:
    """Return the commands of one run, on payments and an account of its own."""
    first, second, third, broken, held, lapsing = (f"pay-{run}-{n}" for n in range(1, 7))
    account = f"acc-{run}"

    def make(amount: int) -> str:
        return json.dumps({"type": "make", "account": account, "amount": amount})

    def authorize(hold_seconds: int) -> str:
        command = {"type": "authorize", "account": account, "amount": 100}
        return json.dumps({**command, "hold_seconds": hold_seconds})

    cancel, get = '{"type": "cancel"}', '{"type": "get"}'
    part = '{"type": "capture", "capture": "parcel-1", "amount": 60, "final": false}'
    last = '{"type": "capture", "capture": "parcel-2", "amount": 30}'
    refund = '{"type": "refund", "refund": "return-1", "amount": 20}'
    return [
        Step("A make takes 100 from an account", first, make(100), "completed"),
        Step(
            "The same again: same answer, not charged", first, make(100), "completed", replayed=True
        ),
        Step("The same id with another amount", first, make(200), "rejected"),
        Step("A cancel after it: the money goes back", first, cancel, "cancelled"),
        Step("A cancel before its make", second, cancel, "cancelled"),
        Step("That make, too late: never charged", second, make(100), "cancelled"),
        Step("A make over the balance", third, make(opening_balance + 1), "declined"),
        Step(
            "A broken record: answered, stops nothing", broken, '{"type": "make", "acc', "rejected"
        ),
        Step("A get shows the first payment's state", first, get, "found"),
        Step("An authorize holds 100 on the account", held, authorize(86_400), "authorized"),
        Step("A capture takes a part of what is held", held, part, "captured"),
        Step("The last capture: the rest is released", held, last, "captured"),
        Step("A refund gives 20 back", held, refund, "refunded"),
        Step("An authorize for one second only", lapsing, authorize(1), "authorized"),
        Step("Nothing captures it: the hold lapses", lapsing, None, "lapsed"),
    ]


async def run_guided_set(settings: Settings, steps: list[Step], watch: Callable[[], None]) -> None:
    """Send the steps one by one and print each with its result.

    ``watch`` is called while a result is awaited. Raises BrokerError when a result does not come
    within 60 s, a notice within one window more, or is not the expected one.
    """
    width = max(len(step.payment) for step in steps)
    async with _topics(settings) as (producer, results):
        for number, step in enumerate(steps, start=1):
            say(f"{number}. {step.title}")
            command, limit_seconds = None, RESULT_LIMIT_SECONDS + settings.window_seconds
            if step.value is not None:
                say(f"   ->  {step.payment:{width}}  {step.value}")
                record = await producer.send_and_wait(
                    settings.topics.commands, step.value.encode(), step.payment.encode()
                )
                # A command without an id of its own is named by the position of its record.
                command = str(RecordAddress(record.topic, record.partition, record.offset))
                limit_seconds = RESULT_LIMIT_SECONDS
            answer = _result_of(step.payment, command, results)
            result = await _watched(answer, watch, limit_seconds)
            say(f"   <-  {step.payment:{width}}  {_shown(result)}")
            if (result["outcome"], result["replayed"]) != (step.outcome, step.replayed):
                message = f"the result of step {number} should be {step.outcome}: {result}"
                raise BrokerError(message)


@asynccontextmanager
async def _topics(settings: Settings) -> AsyncIterator[tuple[Any, Any]]:
    """Connect a producer for commands and a consumer that sees all results from now on."""
    connection = settings.connection()
    await _require_topics(settings)
    producer = AIOKafkaProducer(**connection, enable_idempotence=True)
    results = AIOKafkaConsumer(settings.topics.results, **connection)
    try:
        await producer.start()
        await results.start()
        await results.seek_to_end()
        yield producer, results
    finally:
        await producer.stop()
        await results.stop()


async def _require_topics(settings: Settings) -> None:
    """Ask for all topics: a broker may create one that these clients ask for by name."""
    async with cluster(settings) as connected:
        missing = {settings.topic(name) for name in TOPICS} - await connected.names()
    if missing:
        names = ", ".join(sorted(missing))
        message = f"there is no topic {names}; make it with: payments topics apply"
        raise BrokerError(message)


async def _result_of(payment: str, command: str | None, results: Any) -> dict[str, Any]:
    """Return the result of a command, or the next notice of the payment."""
    async for record in results:
        result: dict[str, Any] = json.loads(record.value)
        if (result["payment"], result["command"]) == (payment, command):
            return result
    message = "the results ended"
    raise BrokerError(message)


async def _watched(answer: Any, watch: Callable[[], None], limit_seconds: float) -> dict[str, Any]:
    task: asyncio.Task[dict[str, Any]] = asyncio.ensure_future(answer)
    deadline = time.monotonic() + limit_seconds
    try:
        while True:
            done, _ = await asyncio.wait([task], timeout=WATCH_SECONDS)
            if done:
                return task.result()
            watch()
            if time.monotonic() > deadline:
                message = f"no result came within {limit_seconds:.0f} s"
                raise BrokerError(message)
    finally:
        task.cancel()


def _shown(result: dict[str, Any]) -> str:
    outcome = str(result["outcome"])
    parts = [colored(outcome.ljust(10), OUTCOME_COLORS.get(outcome, "yellow"))]
    if result["replayed"]:
        parts.append("replayed")
    if outcome == "found":
        parts.append(f"state {result['state']}")
    if result["reason"]:
        parts.append(str(result["reason"]))
    amounts = [f"{name} {result[name]}" for name in AMOUNTS if name in result]
    if amounts:
        parts.append(", ".join(amounts))
    if result["message"]:
        parts.append(colored(str(result["message"]), "dim"))
    return "  ".join(parts)
