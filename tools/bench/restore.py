"""Restore and memory: stored payments, written into the journals, are taken over by a worker.

The rows are those of completed makes, or of the kind that is asked for. They are written through
the engine's own journal, so commits, checkpoints and batches are the real ones; but each payment is
there once, as after a compaction, and not a second time as it was while pending.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.log import Channel, Log
from exactstage.partitioner import partition_of
from payments.domain.account import Settled
from payments.domain.commands import Authorize, Capture, Make
from payments.domain.payment import Message, Payment, Policy, Received, decide
from payments.records.internal_codec import encode_payment
from payments.settings import Settings
from tools.bench.bench_command import say
from tools.bench.load_client import stored_payment
from tools.bench.measured_process import cpu_percent, resident_bytes
from tools.dev.child_process import READY_LIMIT_SECONDS, WorkerProcess
from tools.dev.errors import ToolError
from tools.dev.installations import MeasuredBroker, installation, open_log
from tools.dev.markdown import figure, megabytes

STORED = ("make", "authorized", "captured")
"""Kinds of stored payments: a make, a hold, a hold that was captured whole."""

IDLE_SECONDS = 10.0
RESTARTS = 5
SETTLE_SECONDS = 3.0
"""After readiness the worker still collects its garbage and writes its idle checkpoints."""

SPREAD_MS = 3_600_000
"""The payments were made in the course of the last hour: so there are 60 windows to rebuild."""

PROGRESS_EVERY = 100_000
SLOWEST_RATE = 5_000
"""Rows restored in a second below which waiting is given up."""
_LINE = re.compile(r"(?m)took over partitions .*?: (\d+) rows from (\d+) records.*\(([^)]*)\)$")
_STEP = re.compile(r"(\w+) ([\d.]+) s")


@dataclass(frozen=True, slots=True)
class Takeover:
    """One takeover of all partitions by one worker."""

    rows: int
    records: int
    """Of the journals: a row may have been written several times."""

    seconds: Mapping[str, float]
    """Of each step, such as claim and restore."""

    @property
    def total_seconds(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())

    @property
    def restore_seconds(self) -> float:
        """Reading the journals."""
        return self.seconds.get("restore", 0.0)


def takeovers(log: str) -> Sequence[Takeover]:
    """Return all takeovers of a log. Raises ``ToolError`` when it names none."""
    found = [
        Takeover(int(rows), int(records), {name: float(s) for name, s in _STEP.findall(steps)})
        for rows, records, steps in _LINE.findall(log)
    ]
    if not found:
        raise ToolError(f"the worker's log names no takeover:\n{log[-1000:]}")
    return found


def measure_restore(
    broker: MeasuredBroker, payments: int, partitions: int, folder: Path, *, stored: str
) -> Iterator[tuple[str, str]]:
    """Yield the figures of a worker that takes over ``payments`` of them, and of an empty one.

    Each has an installation of its own, so both meet journals that nobody has claimed before.
    """
    of = f"{payments:,} payments" if stored == "make" else f"{payments:,} payments, {stored}"
    say(f"restore: an empty worker, {partitions} partitions")
    with (
        installation(broker.bootstrap, partitions=partitions, flush=False) as settings,
        WorkerProcess(settings, folder / "empty.log") as worker,
    ):
        worker.wait_until_ready()
        cpu_percent(worker.pid, SETTLE_SECONDS + IDLE_SECONDS)
        worker.must_run()
        empty_bytes = resident_bytes(worker.pid)
    yield "stored payments", f"{payments:,} in {partitions} partitions, each {stored}"
    with installation(broker.bootstrap, partitions=partitions, flush=False) as settings:
        asyncio.run(store_payments(settings, payments, stored))
        say("restore: a worker that takes them over")
        with WorkerProcess(settings, folder / "full.log") as worker:
            ready_seconds = worker.wait_until_ready(READY_LIMIT_SECONDS + payments / SLOWEST_RATE)
            cpu_percent(worker.pid, SETTLE_SECONDS)
            idle_percent = cpu_percent(worker.pid, IDLE_SECONDS)
            worker.must_run()
            full_bytes = resident_bytes(worker.pid)
            takeover = takeovers(worker.log.read_text())[-1]
            again: list[Takeover] = []
            for _ in range(RESTARTS):
                worker.restart()
                worker.wait_until_ready(READY_LIMIT_SECONDS + payments / SLOWEST_RATE)
                again += takeovers(worker.log.read_text())
    if takeover.rows != payments:
        raise ToolError(f"{takeover.rows} rows were restored, but {payments} were written")
    rate = takeover.records / takeover.restore_seconds
    yield "restore", f"{takeover.records:,} records in {takeover.restore_seconds:.1f} s"
    yield "restore rate", f"{rate:,.0f} records/s"
    yield "from start to ready", f"{ready_seconds:.1f} s"
    yield "the takeover (claim, restore, the rest)", seconds_of([takeover])
    yield f"the same of {RESTARTS} restarted workers, median", seconds_of(again)
    yield "memory (RSS), empty", megabytes(empty_bytes)
    yield f"memory (RSS), {of}", megabytes(full_bytes)
    if empty_bytes is not None and full_bytes is not None:
        added = (full_bytes - empty_bytes) / payments
        yield "memory per stored payment", figure(added, unit=" bytes")
    yield f"idle worker, {of}", figure(idle_percent, 1, " % of a core")


def seconds_of(found: Sequence[Takeover]) -> str:
    """Return the medians of takeovers: all seconds, and of them claim, restore and the rest."""
    totals, claims = [it.total_seconds for it in found], [it.seconds["claim"] for it in found]
    restores = [it.restore_seconds for it in found]
    rests = [it.total_seconds - it.seconds["claim"] - it.restore_seconds for it in found]
    total, *parts = (statistics.median(each) for each in (totals, claims, restores, rests))
    return f"{total:.2f} s ({', '.join(f'{part:.2f}' for part in parts)})"


async def store_payments(settings: Settings, payments: int, stored: str = "make") -> None:
    """Write rows of ``payments``, of a kind of STORED, into an idle installation's journals."""
    async with open_log(settings, [settings.changelog("payments")]) as log:
        await write_journals(log, settings, payments, stored)


async def write_journals(log: Log, settings: Settings, payments: int, stored: str = "make") -> None:
    """Write rows of stored payments into the journals of the payments stage."""
    writer = await log.new_writer()
    journals = [
        Journal(
            stage="payments",
            partition=partition,
            changelog=settings.changelog("payments"),
            public=frozenset(),
            emits=frozenset(),
            writer=writer,
            limits=Limits(),
        )
        for partition in range(settings.partitions)
    ]
    for number, (key, row) in enumerate(_rows(payments, stored), start=1):
        journal = journals[partition_of(key, settings.partitions)]
        journal.put(key, row)
        journal.accept()
        if journal.is_full:
            await _append(log, journal)
        if number % PROGRESS_EVERY == 0:
            say(f"restore: {number:,} of {payments:,} payments are written")
    for journal in journals:
        if journal.is_open:
            await _append(log, journal)


async def _append(log: Log, journal: Journal) -> None:
    commit = journal.seal()
    await log.append([commit.batch], Channel.JOURNAL)
    journal.published = journal.n  # There are no outputs, so nothing is left to publish.


def _rows(payments: int, stored: str) -> Iterator[tuple[bytes, bytes]]:
    """Make payments whose ids are UUIDs: what most users would take as payment ids."""
    kind, now_ms = _stored(stored), time.time_ns() // 1_000_000
    for number in range(payments):
        time_ms = now_ms - SPREAD_MS + SPREAD_MS * number // payments
        payment, account = stored_payment(number)
        yield payment.encode(), encode_payment(_of(kind, account, time_ms))


def _stored(stored: str) -> Payment:
    """Return a payment of 0.01 EUR as the stage stores it, of kind ``stored``."""
    own, settled = "bench", Settled(ok=True)
    request: dict[str, Any] = {"account": "acct-0", "amount": 1, "currency": "EUR"}
    begins = Make(**request) if stored == "make" else Authorize(**request)
    messages: list[Message] = [Received(begins, own), settled]
    if stored == "captured":
        messages += [Received(Capture(), own), settled]
    payment = None
    for message in messages:
        payment = decide(payment, message, time_ms=0, policy=Policy()).payment
    if payment is None:
        raise ToolError(f"{stored}: a payment that has ended well is stored")
    return payment


def _of(kind: Payment, account: str, time_ms: int) -> Payment:
    """Return a payment like another, of an account and a time."""
    ends = None if kind.hold_expires_ms is None else kind.hold_expires_ms + time_ms
    request = None if kind.request is None else replace(kind.request, account=account)
    return replace(kind, time_ms=time_ms, request=request, hold_expires_ms=ends)
