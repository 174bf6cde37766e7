"""Folding: reads the ledger into the balances of its partitions, with several processes if long.

Reading entries is bound by the processor, not by the brokers, and partitions are independent, so
each process takes a share of them.
"""

import asyncio
import os
import signal
from collections.abc import Container, Sequence
from contextlib import aclosing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

from exactstage import Log
from exactstage.hosting import freeze_and_relax
from exactstage.inspection import Ranges, Show, read_ranges, show_nothing
from payments.settings import Settings

from .balances import Balances, Movement
from .installation import open_log

LONG = 500_000
"""Number of entries from which several processes are faster, with the time to start them."""

MAX_PROCESSES = 8


class Wanted(NamedTuple):
    """What is noted of the ledger besides the balances."""

    since_ms: int = 0
    """Movements since that time."""

    rules_of: Container[str] | None = ()
    """The accounts whose rule entries are; None: all of them."""

    def balances(self, partition: int, movements: dict[str, list[Movement]]) -> Balances:
        """Return balances that note this."""
        return Balances(partition, movements, self.since_ms, rules_of=self.rules_of)


class Folded(NamedTuple):
    """The balances of some partitions, and the movements of each payment in them."""

    balances: list[Balances]
    movements: dict[str, list[Movement]]


def processors() -> int:
    """Return how many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def shares_of(ranges: Ranges, processes: int) -> list[Ranges]:
    """Return the partitions of each process; the first share is that of this process."""
    entries = sum(end - first for first, end in ranges.values())
    count = min(processes, MAX_PROCESSES, len(ranges)) if entries >= LONG else 1
    return [dict(list(ranges.items())[index::count]) for index in range(count)]


async def fold_in_shares(
    log: Log, settings: Settings, shares: Sequence[Ranges], wanted: Wanted, show: Show
) -> Folded:
    """Return the balances of all partitions in order, with what is ``wanted`` besides.

    Raises ``RecoveryRefused`` where the ledger contradicts itself, ``FailStop`` where it can't be
    read.
    """
    own, *others = shares
    tasks = [asyncio.create_task(_fold_elsewhere(settings, share, wanted)) for share in others]
    try:
        folded = [await fold(log, own, wanted, show)]
        for share, task in zip(others, tasks, strict=True):
            # Where another process failed, this one reads the share, and shows the failure.
            folded.append(await task or await fold(log, share, wanted, show))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    balances = sorted((b for each in folded for b in each.balances), key=lambda b: b.partition)
    movements: dict[str, list[Movement]] = {}
    for each in folded:
        for payment, moved in each.movements.items():
            movements.setdefault(payment, []).extend(moved)
    return Folded(balances, movements)


async def fold(log: Log, ranges: Ranges, wanted: Wanted, show: Show) -> Folded:
    """Return the balances of these partitions, read by this process."""
    movements: dict[str, list[Movement]] = {}
    numbers = [at.partition for at in ranges]
    by_partition = {number: wanted.balances(number, movements) for number in numbers}
    async with aclosing(read_ranges(log, ranges, committed_only=True, show=show)) as fetched:
        async for at, records in fetched:
            by_partition[at.partition].read(records)
    return Folded(list(by_partition.values()), movements)


async def _fold_elsewhere(settings: Settings, share: Ranges, wanted: Wanted) -> Folded | None:
    """Return the share that another process has read; None where it has failed."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, settings, share, wanted)
    process = context.Process(target=_send_share, args=arguments, daemon=True)
    process.start()
    sender.close()
    try:
        return await asyncio.to_thread(_receive, receiver)
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _receive(receiver: Connection) -> Folded | None:
    try:
        found: Folded | None = receiver.recv()
    except EOFError:  # It was killed.
        return None
    return found


def _send_share(sender: Connection, settings: Settings, share: Ranges, wanted: Wanted) -> None:
    """Read a share, and send it: the work of another process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The process that asks ends this one.
    freeze_and_relax()
    with suppress(BrokenPipeError):
        try:
            sender.send(asyncio.run(_fold_alone(settings, share, wanted)))
        except Exception:  # noqa: BLE001 - the process that asks reads the share itself
            sender.send(None)


async def _fold_alone(settings: Settings, share: Ranges, wanted: Wanted) -> Folded:
    async with open_log(settings) as log:
        return await fold(log, share, wanted, show_nothing)
