"""Kills under load: payments are sent at a fixed rate, each once, while the handler is killed.

The handler (worker or application) is killed with SIGKILL and started again at once; then it is
waited until results stop coming, and all results and ledger entries are counted.
"""

import json
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.bench.errors import BenchError
from tools.bench.latencies import SLICE_SECONDS
from tools.bench.measuring import say
from tools.bench.peers.audit import Audit, audit
from tools.bench.peers.install import PEERS
from tools.bench.peers.measuring import warm_up
from tools.bench.peers.reading import read_ledger, reader, writer
from tools.bench.peers.targets import System, Target, TopicsEndpoint

RATE = 200
ACCOUNTS = 100
FIRST_KILL_SECONDS = 5.0
BETWEEN_KILLS_SECONDS = 15.0
QUIET_SECONDS = 60.0
"""Without a result for so long, no more is waited for: six times the session timeout of all."""

SEND_LIMIT_SECONDS = 60.0
WARM_UP_SECONDS, WARM_UP_CONCURRENCY = 2.0, 64


@dataclass(slots=True)
class KillFigures:
    """What one run with kills ended in; ``timeline`` holds results per ``SLICE_SECONDS``."""

    system: str
    name: str
    peer: str
    durability: str
    environment: str
    kills: int
    audit: Audit | None = None
    back_seconds: list[float | None] = field(default_factory=list)
    """From each kill to the first result of a payment that was sent after it."""

    kill_seconds: list[float] = field(default_factory=list)
    timeline: list[int] = field(default_factory=list)
    refused: str | None = None
    """Why it was not measured."""


def measure_kills(system: System, figures: KillFigures) -> None:
    """Start a system, check it, kill it under load so many times, and count."""
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=PEERS) as folder,
        system.start(Path(folder)) as target,
    ):
        if target.handler is None or not isinstance(target.endpoint, TopicsEndpoint):
            raise BenchError(f"{system.name} can't be killed over {system.transport}")
        warm_up(system, target, WARM_UP_SECONDS, WARM_UP_CONCURRENCY)
        run = _Run(target, target.endpoint)
        run.load(figures.kills)
        figures.audit = audit(run.sent_at, run.results, read_ledger(target.endpoint))
    say(f"kills, {system.name} ({system.durability}): {figures.audit}")
    figures.back_seconds = run.back_seconds()
    figures.kill_seconds = [round(at, 2) for at in run.kills]
    figures.timeline = run.timeline()


class _Run:
    """One load with kills; all times are seconds since its start."""

    def __init__(self, target: Target, endpoint: TopicsEndpoint) -> None:
        self._target = target
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
                self._restart()
            while len(self.sent_at) < RATE * self._now():
                self._send()
            self._take()
        self._producer.flush(SEND_LIMIT_SECONDS)
        heard = self._now()
        while len(self.results) < len(self.sent_at) and self._now() - heard < QUIET_SECONDS:
            if self._take():
                heard = self._now()
        # A second answer would come after the first one of the last payment.
        settled = self._now() + BETWEEN_KILLS_SECONDS
        while self._now() < settled:
            self._take()
        self._results.close()

    def back_seconds(self) -> list[float | None]:
        """Return how long each kill was felt."""
        return [self._back(at) for at in self.kills]

    def timeline(self) -> list[int]:
        """Return how many results came in each step."""
        last = self._arrivals[-1][0] if self._arrivals else 0.0
        steps = [0] * (int(last / SLICE_SECONDS) + 1)
        for at, _ in self._arrivals:
            steps[int(at / SLICE_SECONDS)] += 1
        return steps

    def _back(self, killed_at: float) -> float | None:
        for at, payment in self._arrivals:
            if self.sent_at[payment] > killed_at:
                return round(at - killed_at, 2)
        return None

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _restart(self) -> None:
        if self._target.handler is not None:
            self._target.handler.restart()

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


def kills_done(folder: Path, system: System, kills: int) -> bool:
    """Tell whether a system's run with so many kills is there."""
    file = _file(folder, system.key)
    return file.exists() and (found := _read(file)).refused is None and found.kills == kills


def write_kills(folder: Path, figures: KillFigures) -> None:
    """Write the figures of one run, beside the parts."""
    _file(folder, figures.system).write_text(json.dumps(asdict(figures)) + "\n")


def read_kills(folder: Path) -> list[KillFigures]:
    """Return all runs with kills that are there."""
    return [_read(file) for file in sorted(folder.glob("kills-*.json"))]


def _file(folder: Path, system: str) -> Path:
    return folder / f"kills-{system}.json"


def _read(file: Path) -> KillFigures:
    fields = json.loads(file.read_text())
    counted = fields.pop("audit")
    return KillFigures(**fields, audit=None if counted is None else Audit(**counted))
