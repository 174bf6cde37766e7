"""The soak: hours of everyday life in minutes, and then every line that any process has logged.

    make soak                    # 30 minutes
    make soak SOAK_MINUTES=6     # the shortest form: Faust's own checks begin after 5 minutes

One broker and two installations on it. In the first, three workers and a gateway are used by Kafka
clients, by HTTP and by kcat, while workers leave, join and are killed and the broker is restarted;
from 14 minutes on nobody sends anything for over 5 minutes in the middle. In the second, one worker
has nothing to do until the end: then it must still answer. Afterwards each line of each log must be
one that ``chaos.allowed_lines`` allows.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from payments.settings import Settings
from tools.chaos import verdict
from tools.chaos.allowed_lines import Reading, read_logs
from tools.chaos.brokers import Brokers, single_broker
from tools.chaos.errors import ChaosError
from tools.chaos.fleet import Fleet, Seat, last_line
from tools.chaos.run import say
from tools.chaos.scene import start
from tools.chaos.storm import Storm
from tools.closing import closing_lines
from tools.dev.child_process import PAYMENTS, WorkerProcess
from tools.dev.errors import BrokerError, ToolError
from tools.dev.installations import installation
from tools.dev.markdown import markdown_table

SHORTEST_MINUTES = 6.0
IDLE_SECONDS = 330.0
"""Longer than Faust's five minutes."""

IDLE_FROM_MINUTES = 14.0
"""So long a soak must be to have an idle time for all."""

BETWEEN_SECONDS = 40.0
AWAY_SECONDS = 25.0
OUT_SECONDS = 8.0
RATE = 20.0
WORKERS = 3
PARTITIONS = 8
LIMIT_SECONDS = 90.0
LOOK_SECONDS = 0.2
SESSION_SECONDS, REQUEST_SECONDS = 6.0, 8.0
DELIVERY_SECONDS = 300.0
"""Longer than a broker's restart on a busy machine: nobody gives up."""

GATEWAY = (*PAYMENTS, "gateway", "--port", "0")


@dataclass
class Soak:
    """The processes of one run, and what was seen of them."""

    brokers: Brokers
    settings: Settings
    folder: Path
    fleet: Fleet
    idle: WorkerProcess
    idle_settings: Settings
    gateway: WorkerProcess
    findings: list[str] = field(default_factory=list)
    posted: int = 0
    produced: int = 0
    events: int = 0

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        [url] = re.findall(r"gateway ready on (\S+)", self.gateway.log.read_text())
        return str(url)


def main() -> int:
    """Run as a program; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _options()
    folder = given.into or Path(tempfile.mkdtemp(prefix="payments-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{given.minutes:g} minutes; logs in {folder}")
    with (
        single_broker() as brokers,
        _installed(brokers) as settings,
        _installed(brokers) as idle_settings,
    ):
        soak = _processes(brokers, settings, idle_settings, folder)
        asyncio.run(_run(soak, given.minutes * 60))
        soak.findings += verdict.complaints(verdict.verify(settings))
    reading = read_logs(sorted(folder.glob("*.log")))
    print(_report(soak, reading))
    findings = soak.findings + reading.findings
    print(*closing_lines(findings), sep="\n", flush=True)
    return 1 if findings else 0


def _installed(brokers: Brokers) -> AbstractContextManager[Settings]:
    return installation(
        brokers.bootstrap,
        partitions=PARTITIONS,
        flush=False,
        keep=True,
        session_timeout_seconds=SESSION_SECONDS,
        request_timeout_seconds=REQUEST_SECONDS,
        delivery_timeout_seconds=DELIVERY_SECONDS,
    )


def _processes(brokers: Brokers, settings: Settings, idle_settings: Settings, folder: Path) -> Soak:
    # One of them keeps its partitions over a restart, the others do not.
    seats = [
        Seat(
            f"worker-{number}",
            settings.model_copy(update={} if number else {"instance_id": "soak-0"}),
            folder,
        )
        for number in range(WORKERS)
    ]
    return Soak(
        brokers=brokers,
        settings=settings,
        folder=folder,
        fleet=Fleet(seats),
        idle=WorkerProcess(idle_settings, folder / "worker-idle.log"),
        idle_settings=idle_settings,
        gateway=WorkerProcess(settings, folder / "gateway.log", GATEWAY, "gateway ready"),
    )


async def _run(soak: Soak, seconds: float) -> None:
    began = time.monotonic()
    soak.fleet.start()
    try:
        await _ready(soak)
        await asyncio.to_thread(soak.gateway.wait_until_ready, LIMIT_SECONDS)
        await asyncio.to_thread(soak.idle.wait_until_ready, LIMIT_SECONDS)
        say("all are ready")
        if seconds >= IDLE_FROM_MINUTES * 60:
            half = (seconds - IDLE_SECONDS) / 2
            await _busy(soak, began + half)
            say(f"nobody sends anything for {IDLE_SECONDS:.0f} s")
            await asyncio.sleep(IDLE_SECONDS)
        await _busy(soak, began + seconds)
        await _idle_worker_answers(soak)
        await _stop(soak)
    finally:
        await soak.fleet.abandon()
        soak.idle.stop()
        soak.gateway.stop()


async def _busy(soak: Soak, until: float) -> None:
    """Let clients send and events happen; at the end every command must be answered."""
    storm = Storm(soak.settings, seed=soak.events, rate=RATE)
    storm.start()
    clients = [asyncio.create_task(_post(soak)), asyncio.create_task(_produce(soak))]
    try:
        events = [_leave_and_join, _restart_broker, _kill]
        while time.monotonic() < until:
            await asyncio.sleep(min(BETWEEN_SECONDS, max(0.0, until - time.monotonic())))
            if time.monotonic() < until:
                event = events[soak.events % len(events)]
                soak.events += 1
                await event(soak)
                await _ready(soak)
        storm.calm()
        last = storm.last_number()
        if not await verdict.until(lambda: not storm.unanswered(last), LIMIT_SECONDS):
            soak.findings.append("some commands are not answered")
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        storm.close()
    if storm.failure is not None:
        soak.findings.append(f"the storm has ended: {storm.failure!r}")


async def _ready(soak: Soak) -> None:
    if not await verdict.until(soak.fleet.all_ready, LIMIT_SECONDS):
        raise ChaosError(f"the workers are not ready after {LIMIT_SECONDS:.0f} s")


async def _leave_and_join(soak: Soak) -> None:
    say("a worker leaves, and joins again")
    seat = soak.fleet.seats[-1]
    await seat.stop()
    await asyncio.sleep(OUT_SECONDS)
    seat.start()


async def _restart_broker(soak: Soak) -> None:
    say(f"the broker is away for {AWAY_SECONDS:.0f} s")
    [broker] = soak.brokers.nodes.values()
    await asyncio.to_thread(broker.stop)
    await asyncio.sleep(AWAY_SECONDS)
    await start(broker)


async def _kill(soak: Soak) -> None:
    say("a worker is killed, and started again")
    await soak.fleet.seats[random.randrange(WORKERS)].end(signal.SIGKILL, "killed")


async def _post(soak: Soak) -> None:
    """Make payments over HTTP; what is refused while the broker is away is no finding."""
    async with httpx.AsyncClient(base_url=soak.url, timeout=LIMIT_SECONDS) as client:
        while True:
            body = {"account": "soak", "amount": 1}
            answer = await client.post(f"/v1/payments/{uuid.uuid4().hex}", json=body)
            soak.posted += 1
            if answer.status_code not in {200, 201, 503, 504}:
                soak.findings.append(f"the gateway answered {answer.status_code}: {answer.text}")
            await asyncio.sleep(1.0)


async def _produce(soak: Soak) -> None:
    """Send commands with kcat, where it is installed."""
    while (kcat := shutil.which("kcat")) is not None:
        line = f'{uuid.uuid4().hex}:{{"type":"make","account":"kcat","amount":1}}\n'
        await asyncio.to_thread(_kcat, kcat, soak.settings, line)
        soak.produced += 1
        await asyncio.sleep(5.0)


def _kcat(kcat: str, settings: Settings, line: str) -> None:
    topic = settings.topics.commands
    command = [kcat, "-P", "-q", "-b", settings.brokers, "-t", topic, "-K:"]
    subprocess.run(command, input=line, text=True, capture_output=True, check=False, timeout=400)


async def _idle_worker_answers(soak: Soak) -> None:
    """Send a command to the worker that had nothing to do."""
    command = [*PAYMENTS, "make", "late", "--account", "abc", "--amount", "1.00", "--json"]
    worker = WorkerProcess(soak.idle_settings, soak.folder / "make.out", command)
    await verdict.until(lambda: worker.exit_code is not None, LIMIT_SECONDS)
    if worker.exit_code != 0 or json.loads(worker.log.read_text())["outcome"] != "completed":
        soak.findings.append(f"the idle worker does not answer: {worker.log.read_text()}")


async def _stop(soak: Soak) -> None:
    """Let all processes end in order; note those that do not."""
    await soak.fleet.stop()
    for ending in soak.fleet.endings():
        if not ending.expected:
            soak.findings.append(f"{ending.seat} ended with {ending.code}: {ending.last_line}")
    for process in (soak.idle, soak.gateway):
        process.send(signal.SIGTERM)
        await verdict.until(lambda: process.exit_code is not None, LIMIT_SECONDS)  # noqa: B023 - waited for at once
        if process.exit_code != 0:
            soak.findings.append(f"exit code {process.exit_code}: {last_line(process.log)}")


def _report(soak: Soak, reading: Reading) -> str:
    """Return what was done, each kind of line with its count and reason, and the findings."""
    rows = [
        [str(count), allowed.level, f"`{allowed.text}`", allowed.reason]
        for allowed, count in reading.counts.most_common()
    ]
    findings = soak.findings + reading.findings
    verdict_line = (
        "\n".join(f"NOT ALLOWED: {finding}" for finding in findings)
        if findings
        else f"All {reading.lines} lines are allowed."
    )
    done = f"{soak.events} events, {soak.posted} requests over HTTP, {soak.produced} of kcat."
    table = markdown_table(["lines", "level", "text", "why it may come"], rows)
    return f"{done}\n\n{table}\n\n{verdict_line}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.chaos.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="at least 6 (%(default)s)")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="for the logs (a new folder)")
    given = parser.parse_args()
    if given.minutes < SHORTEST_MINUTES:
        parser.error(f"--minutes: at least {SHORTEST_MINUTES:g}: Faust's checks begin after 5")
    return given


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ChaosError, ToolError, BrokerError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
