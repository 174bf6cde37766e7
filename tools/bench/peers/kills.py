"""Kills under load: payments are sent at a fixed rate, each once, while the handler is killed.

The handler (worker or application) is killed with SIGKILL and started again at once; then it is
waited until results stop coming, and all results and ledger entries are counted.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator

from tools.bench.failures import BenchError
from tools.bench.loading import Target, TopicsEndpoint
from tools.bench.measured_process import Child
from tools.bench.peers.audit import Entry, audit
from tools.bench.peers.peer_results import KillFigures
from tools.bench.topics_client import read_whole, reader, writer

RATE = 200
ACCOUNTS = 100
FIRST_KILL_SECONDS = 5.0
BETWEEN_KILLS_SECONDS = 15.0
QUIET_SECONDS = 60.0
"""Without a result for so long, no more is waited for: six times the session timeout of all."""

SEND_LIMIT_SECONDS = 60.0
SLICE_SECONDS = 0.1
"""Width of one step of the timeline."""


def kill_under_load(target: Target, kills: int) -> KillFigures:
    """Kill a system's handler under load ``kills`` times, and count."""
    if target.handler is None or not isinstance(target.endpoint, TopicsEndpoint):
        raise BenchError(f"{target.name} can't be killed here")
    run = KilledRun(target.handler, target.endpoint)
    run.load(kills)
    counts = audit(run.sent_at, run.results, _ledger(target.endpoint))
    at = [round(each, 2) for each in run.kills]
    return KillFigures(kills, counts, run.back_seconds(), at, run.timeline())


def _ledger(endpoint: TopicsEndpoint) -> Iterator[Entry]:
    """Yield all committed ledger entries there are."""
    for message in read_whole(endpoint.brokers, endpoint.ledger):
        entry = json.loads(message.value() or b"{}")
        yield Entry(entry["account"], entry["payment"], entry["amount"], entry["balance"])


class KilledRun:
    """One load with kills; all times are seconds since its start."""

    def __init__(self, handler: Child, endpoint: TopicsEndpoint) -> None:
        self._handler = handler
        self._commands = endpoint.commands
        self._producer = writer(endpoint.brokers)
        self._results = reader(endpoint.brokers, endpoint.results)
        self._name = uuid.uuid4().hex[:8]
        self._started = time.monotonic()
        self.sent_at: dict[str, float] = {}
        self.results: Counter[str] = Counter()
        self.kills: list[float] = []
        self._arrivals: list[tuple[float, str]] = []

    def load(self, kills: int) -> None:
        """Send and kill, then wait until no result comes any more."""
        self._started = time.monotonic()
        kill_at = [FIRST_KILL_SECONDS + BETWEEN_KILLS_SECONDS * n for n in range(kills)]
        end = FIRST_KILL_SECONDS + BETWEEN_KILLS_SECONDS * kills
        while (now := self._now()) < end:
            if kill_at and now >= kill_at[0]:
                kill_at.pop(0)
                self.kills.append(self._now())
                self._handler.restart()
            while len(self.sent_at) < RATE * self._now():
                self._send()
            self._take()
        self._producer.flush(SEND_LIMIT_SECONDS)
        last = self._now()
        while len(self.results) < len(self.sent_at) and self._now() - last < QUIET_SECONDS:
            if self._take():
                last = self._now()
        # A second answer would come after the first one of the last payment.
        settled = self._now() + BETWEEN_KILLS_SECONDS
        while self._now() < settled:
            self._take()
        self._results.close()

    def back_seconds(self) -> list[float | None]:
        """Return the seconds from each kill to the first result of a payment sent after it."""
        return [self._back(kill) for kill in self.kills]

    def _back(self, kill: float) -> float | None:
        back = (at for at, payment in self._arrivals if self.sent_at[payment] > kill)
        return next((round(at - kill, 2) for at in back), None)

    def timeline(self) -> list[int]:
        """Return how many results came in each step."""
        last = self._arrivals[-1][0] if self._arrivals else 0.0
        steps = [0] * (int(last / SLICE_SECONDS) + 1)
        for at, _ in self._arrivals:
            steps[int(at / SLICE_SECONDS)] += 1
        return steps

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _send(self) -> None:
        number = len(self.sent_at)
        payment = f"{self._name}-{number}"
        command = {
            "type": "make",
            "id": payment,
            "account": f"acct-{self._name}-{number % ACCOUNTS}",
            "amount": 1,
            "currency": "EUR",
        }
        self.sent_at[payment] = self._now()
        self._producer.produce(self._commands, key=payment, value=json.dumps(command))
        self._producer.poll(0)

    def _take(self) -> int:
        taken = 0
        for message in self._results.consume(500, 0.02):
            payment = (message.key() or b"").decode()
            if message.error() is None and payment in self.sent_at:
                self.results[payment] += 1
                self._arrivals.append((self._now(), payment))
                taken += 1
        return taken
