"""Whether a system does the job at all: what is sent, what must be answered, where the money is.

A system that answers wrongly is not measured: how fast it does something else means nothing.
"""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from tools.bench.http_client import DIALECTS, Connection
from tools.bench.loading import HttpEndpoint, Target, TopicsEndpoint
from tools.bench.topics_client import from_start, read_whole, writer
from tools.dev.errors import ToolError
from tools.dev.installations import OPENING_BALANCE

ANSWER_SECONDS = 60.0
"""Faust with exactly_once took over 20 for a payment while little else was sent."""
TRIES = 3


class Step(NamedTuple):
    """One command, how it must end, and what the account then has below its opening balance."""

    type: str
    payment: str
    amount: int
    outcomes: tuple[str, ...]
    taken: int


STEPS: Sequence[Step] = (
    Step("make", "first", 5, ("completed",), 5),
    Step("make", "first", 5, ("completed",), 5),
    Step("make", "first", 6, ("rejected",), 5),
    Step("cancel", "first", 0, ("cancelled",), 0),
    Step("cancel", "first", 0, ("cancelled",), 0),
    Step("make", "first", 5, ("cancelled",), 0),
    Step("cancel", "early", 0, ("cancelled",), 0),
    Step("make", "early", 5, ("cancelled",), 0),
    Step("make", "too-much", OPENING_BALANCE + 1, ("declined",), 0),
    Step("make", "second", 7, ("completed",), 7),
)


class Talk(Protocol):
    """One conversation with a system that runs."""

    def send(self, step: Step, payment: str, account: str) -> str:
        """Send the step's command; return the outcome that is answered."""

    def balance(self, account: str) -> int:
        """Return the account's balance."""


def talk_with(target: Target) -> Talk:
    """Begin a conversation with a system that runs."""
    endpoint = target.endpoint
    return HttpTalk(endpoint) if isinstance(endpoint, HttpEndpoint) else TopicsTalk(endpoint)


def check(name: str, talk: Talk) -> None:
    """Go through all steps; raise ``ToolError`` at the first answer that is wrong."""
    run = uuid.uuid4().hex[:8]
    account = f"account-{run}"
    for number, step in enumerate(STEPS, start=1):
        outcome = talk.send(step, f"{run}-{step.payment}", account)
        where = f"{name}, step {number} ({step.type} of payment {step.payment!r})"
        if outcome not in step.outcomes:
            raise ToolError(f"{where}: answered {outcome!r} instead of {step.outcomes}")
        balance, wanted = talk.balance(account), OPENING_BALANCE - step.taken
        if balance != wanted:
            raise ToolError(f"{where}: the balance is {balance} instead of {wanted}")


class HttpTalk:
    """A conversation over HTTP."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._dialect = DIALECTS[endpoint.dialect]
        self._connection = Connection(endpoint.port, ANSWER_SECONDS)

    def send(self, step: Step, payment: str, account: str) -> str:
        """Send a command; return the outcome, also where it is inside a problem's details."""
        if step.type == "make":
            request = self._dialect.make_request(payment, account, step.amount)
        else:
            request = self._dialect.cancel_request(payment)
        answer = self._answer(request)
        return str(answer.get("outcome") or answer.get("result", {}).get("outcome"))

    def balance(self, account: str) -> int:
        """Return the account's balance."""
        return int(self._answer(self._dialect.balance_request(account)).get("balance", -1))

    def _answer(self, request: bytes) -> Any:
        return json.loads(self._connection.exchange(request)[1])


class TopicsTalk:
    """A conversation over topics. A command without an answer is sent again: the same one."""

    def __init__(self, endpoint: TopicsEndpoint) -> None:
        self._endpoint = endpoint
        self._producer = writer(endpoint.brokers)
        self._results = from_start(endpoint.brokers, endpoint.results)
        self._sent = 0

    def send(self, step: Step, payment: str, account: str) -> str:
        """Send a command; return the outcome of its result, "no answer" where none comes."""
        self._sent += 1
        command: dict[str, object] = {"type": step.type, "id": f"{payment}-{self._sent}"}
        if step.type == "make":
            command |= {"account": account, "amount": step.amount, "currency": "EUR"}
        for _ in range(TRIES):
            self._producer.produce(self._endpoint.commands, key=payment, value=json.dumps(command))
            self._producer.flush(ANSWER_SECONDS)
            until = time.monotonic() + ANSWER_SECONDS
            while time.monotonic() < until:
                message = self._results.poll(0.05)
                if message is None or message.error() is not None:
                    continue
                result = json.loads(message.value() or b"{}")
                if result.get("command") == command["id"]:
                    return str(result["outcome"])
        return "no answer"

    def balance(self, account: str) -> int:
        """Return the balance after the last ledger entry of the account.

        The entry is published before the answer that follows from it, but by another stage: so it
        is there, and only what is there has to be read.
        """
        balance = OPENING_BALANCE
        for message in read_whole(self._endpoint.brokers, self._endpoint.ledger):
            if message.key() == account.encode():
                balance = int(json.loads(message.value() or b"{}")["balance"])
        return balance
