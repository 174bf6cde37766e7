"""Runs one part: a stand, a storm on it, faults one after the other, and the verdict at the end."""

import asyncio
import math
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from payments.settings import Settings
from tools.chaos import verdict
from tools.chaos.brokers import Brokers, single_broker, three_brokers
from tools.chaos.commands import OPENING_BALANCE
from tools.chaos.errors import ChaosError
from tools.chaos.faults.table import Fault, Stand
from tools.chaos.fleet import Fleet, Seat, first_traceback
from tools.chaos.part import Part, Strike
from tools.chaos.scene import Scene
from tools.chaos.storm import Storm
from tools.chaos.storm_lines import SHOWN, strange_lines, thrown_away
from tools.dev.errors import BrokerError
from tools.dev.installations import installation

PARTITIONS = 8
WORKERS = 3
SESSION_SECONDS = 6
REQUEST_SECONDS = 8
"""Not under the session timeout; short, so that a request into the void is given up soon."""

RETENTION_SECONDS = 8
WINDOW_SECONDS = 1
STATE = "-state"
"""Ends the name of a worker's state directory."""

STATE_MEMORY_MB = 32
"""As little as possible, so that local copies are written to files soon."""

HEAL_LIMIT_SECONDS = 60.0
CALM_SECONDS = (0.5, 2.0)
"""Between two faults."""

LOOK_SECONDS = 0.1
CLOSING_COMMANDS = 100
MEMBERSHIPS = ("mixed", "static", "dynamic")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a part does: ``faults`` in this order, as many as begin within ``seconds``."""

    stand: Stand
    faults: Sequence[Fault]
    seconds: float
    seed: int
    rate: float
    membership: str
    folder: Path
    """Where the logs of the workers go."""

    commands: float = math.inf
    """No fault begins after so many commands."""

    disk: bool = False
    """Whether each worker has local copies, in a directory of its own."""


def run_part(plan: Plan) -> Part:
    """Start the brokers of the plan's stand and run it there."""
    brokers = three_brokers if plan.stand is Stand.THREE else single_broker
    with brokers() as running:
        return run_part_on(running, plan)


def run_part_on(brokers: Brokers, plan: Plan) -> Part:
    """Run a plan in an installation of its own on brokers that run already."""
    values: dict[str, object] = {
        "replication": brokers.replication,
        "opening_balance": OPENING_BALANCE,
        "session_timeout_seconds": SESSION_SECONDS,
        "request_timeout_seconds": REQUEST_SECONDS,
        "window_seconds": WINDOW_SECONDS,  # So that holds lapse soon after their end.
    }
    if plan.stand is Stand.WINDOWS:
        values |= {"retention_seconds": RETENTION_SECONDS}
    plan.folder.mkdir(parents=True, exist_ok=True)
    with installation(
        brokers.bootstrap, partitions=PARTITIONS, flush=False, keep=brokers.ours, **values
    ) as settings:
        part = asyncio.run(_run(brokers, plan, settings))
        say("payments verify")
        part.verified = verdict.verify(settings)
        for number, node in brokers.nodes.items():
            shutil.copy(node.log, plan.folder / f"broker-{number}.log")
        if plan.disk:
            _verify_copies(settings, plan.folder, part)
    part.faults_found += verdict.complaints(part.verified)
    return part


def _verify_copies(settings: Settings, folder: Path, part: Part) -> None:
    copies: list[dict[str, Any]] = []
    for directory in sorted(folder.glob(f"worker-*{STATE}")):
        say(f"payments verify --state-dir={directory}")
        said = verdict.verify(settings, directory)
        part.faults_found += [f"{directory}: {line}" for line in verdict.complaints(said)]
        copies += said.get("copies", [])
    part.faults_found += verdict.outdated(copies)
    part.copies = dict(Counter(copy["state"] for copy in copies))
    if part.ok:
        for directory in folder.glob(f"worker-*{STATE}"):
            shutil.rmtree(directory)


async def _run(brokers: Brokers, plan: Plan, settings: Settings) -> Part:
    part = Part(stand=plan.stand.value, seed=plan.seed)
    fleet = Fleet(list(_seats(brokers, plan, settings)))
    chance = random.Random(plan.seed)
    storm = Storm(settings, seed=plan.seed, rate=plan.rate)
    scene = Scene(settings, fleet, brokers.nodes, chance, brokers.proxy, storm)
    if scene.proxy is not None:
        await scene.proxy.start()
    try:
        fleet.start()
        with _storming(storm):
            await _strike_all(scene, storm, plan, part)
            await _come_to_rest(scene, storm, part)
        await fleet.stop()
    except (ChaosError, BrokerError) as error:
        last = part.strikes[-1].name if part.strikes else "the start"
        part.faults_found.append(f"after {last}: {error}")
    finally:
        await fleet.abandon()  # Nothing is left to abandon when it was stopped.
        if scene.proxy is not None:
            await scene.proxy.stop()
        _note_storm(storm, part)
        _note_endings(fleet, plan.folder, part)
    return part


def _seats(brokers: Brokers, plan: Plan, settings: Settings) -> Iterator[Seat]:
    for number in range(WORKERS):
        values: dict[str, object] = {"health_file": plan.folder / f"worker-{number}.health"}
        # Mixed: both kinds of members in one group, and the first, behind the proxy, of either.
        first = plan.seed % 2 if plan.membership == "mixed" else 0
        static = plan.membership == "static" or (
            plan.membership == "mixed" and (number + first) % 2 == 0
        )
        if plan.disk:
            values |= {"state_dir": plan.folder / f"worker-{number}{STATE}"}
            values |= {"state_memory_mb": STATE_MEMORY_MB}
        if static:
            values["instance_id"] = f"worker-{number}"
        if number == 0 and brokers.proxy is not None:
            values["brokers"] = brokers.proxy.bootstrap
        yield Seat(f"worker-{number}", settings.model_copy(update=values), plan.folder)


@contextmanager
def _storming(storm: Storm) -> Iterator[None]:
    storm.start()
    try:
        yield
    finally:
        storm.close()


async def _strike_all(scene: Scene, storm: Storm, plan: Plan, part: Part) -> None:
    await _recover(scene, storm)
    deadline = time.monotonic() + plan.seconds
    for number, fault in enumerate(plan.faults, start=1):
        if time.monotonic() > deadline or storm.last_number() >= plan.commands:
            return
        await asyncio.sleep(scene.chance.uniform(*CALM_SECONDS))
        strike = Strike(fault.name, storm.elapsed(), 0.0)
        part.strikes.append(strike)
        await fault.strike(scene)
        strike.healed = storm.elapsed()
        took = await _recover(scene, storm)
        strike.recovered = strike.healed + took
        say(
            f"{plan.stand} {number}: {fault.name}, "
            f"{strike.healed - strike.began:.1f} s; all answered and ready after {took:.1f} s more"
        )


async def _recover(scene: Scene, storm: Storm) -> float:
    """Wait until all is well again; return the seconds that it took. Raises ``ChaosError``.

    All is well when every command that was sent before is answered, every worker ready, and the
    group at rest with all of them as members.
    """
    began, last = time.monotonic(), storm.last_number()
    group = "not known"
    while True:
        if storm.failure is not None:
            raise ChaosError(f"the storm has ended: {storm.failure!r}") from storm.failure
        left = storm.unanswered(up_to=last)
        if scene.fleet.all_ready() and not left:
            group = await scene.group()
            if group == f"stable with {scene.fleet.size}":
                return time.monotonic() - began
        if time.monotonic() - began > HEAL_LIMIT_SECONDS:
            unready = [seat.name for seat in scene.fleet.seats if not seat.ready]
            raise ChaosError(
                f"{HEAL_LIMIT_SECONDS:.0f} s after the heal {len(left)} commands are not answered "
                f"({', '.join(map(str, left[:5]))}), these workers are not ready: {unready}, and "
                f"the group is {group}"
            )
        await asyncio.sleep(LOOK_SECONDS)


async def _come_to_rest(scene: Scene, storm: Storm, part: Part) -> None:
    """Let a hundred commands come at leisure, then none; all must be answered and read."""
    until = storm.last_number() + CLOSING_COMMANDS
    await verdict.until(lambda: storm.last_number() >= until, HEAL_LIMIT_SECONDS)
    storm.calm()
    await _recover(scene, storm)
    part.last_hundred_ms = 1000 * max(storm.latencies_of_last(CLOSING_COMMANDS))
    part.lag = await verdict.lag_zero(scene.settings, HEAL_LIMIT_SECONDS)
    if part.lag != 0:
        part.faults_found.append(f"the lag is {part.lag}, not zero, although all is answered")


def _note_storm(storm: Storm, part: Part) -> None:
    tally = storm.tally
    part.seconds = storm.elapsed()
    part.sent, part.answered, part.results = tally.sent, tally.answered, tally.results
    part.given_up, part.notices = tally.given_up, tally.notices
    part.holds, part.lapses = tally.holds, tally.lapses
    part.aborted = tally.aborted
    part.faults_found += tally.wrong
    part.producers_replaced = tally.producers_replaced
    part.sent_by_kind = dict(tally.sent_by_kind)
    part.sent_by_producer = dict(tally.sent_by_producer)
    part.outcomes = dict(tally.outcomes)
    last = max(tally.results_by_second, default=0)
    part.rate = [tally.results_by_second[second] for second in range(last + 1)]


def _note_endings(fleet: Fleet, folder: Path, part: Part) -> None:
    struck = {strike.name for strike in part.strikes}
    endings = fleet.endings()
    counted = Counter(f"{e.cause or 'by itself'}: {e.code}" for e in endings)
    part.endings = dict(counted)
    for ending in endings:
        if not ending.expected:
            cause = ending.cause or "by itself"
            part.faults_found.append(
                f"{ending.seat} ended with {ending.code} ({cause}): {ending.last_line}"
            )
    for log in sorted(folder.glob("worker-*.log")):
        part.thrown_away += thrown_away(log)
        if (met := first_traceback(log)) is not None:
            part.faults_found.append(f"a traceback in {log}:\n{indent(met, '    ')}")
        elif strange := strange_lines(log, struck):
            shown = "".join(f"\n    {line}" for line in strange[:SHOWN])
            part.faults_found.append(f"{len(strange)} lines in {log} that no fault explains{shown}")


def say(text: str) -> None:
    """Show progress: on standard error, since the report goes to standard output."""
    print(text, file=sys.stderr, flush=True)
