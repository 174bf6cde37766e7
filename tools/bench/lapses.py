"""``python -m tools.bench.lapses``: how long other commands wait while many holds end at once.

One partition, in memory, without a broker: many holds that end in the same window, then one make
after the other while they are released, each sent when the one before is answered. The slowest make
is the longest pause. Makes before, with all the holds stored, are what it is compared with. Nothing
here waits for a disk or a network, so times are CPU time of the process, whatever else the machine
does.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field

from exactstage import MemoryLog, TopicPartition
from exactstage.gc_tuning import freeze_and_relax
from payments.testing import PaymentsTestbed
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.dev.errors import ToolError
from tools.dev.markdown import figure, markdown_table

COMMAND = Command(
    "tools.bench.lapses",
    __doc__,
    {
        "holds": Option(100_000, "that end in one window", quick=500),
        "makes": Option(2_000, "before the holds end", quick=50),
        "pure": PURE,
    },
    marker="lapses",
)
HOLD_SECONDS = 600
AT_ONCE = 2_000
"""Authorizes that are posted before the next ones."""

LIMIT_SECONDS = 600.0


@dataclass(slots=True)
class Reader:
    """Reads the results of the one partition, each once."""

    log: MemoryLog
    at: TopicPartition
    position: int = 0
    lapses: int = 0
    answered: set[str] = field(default_factory=set)

    def read(self) -> None:
        """Take the new results."""
        records, self.position = self.log.partition(self.at).read(
            self.position, committed_only=True
        )
        for record in records:
            result = json.loads(record.value or b"")
            if result["outcome"] == "lapsed":
                self.lapses += 1
            elif result["type"] == "make":
                self.answered.add(result["payment"])


async def one_make(payments: PaymentsTestbed, reader: Reader, name: str) -> float:
    """Send a make, and return the CPU seconds until its result is there."""
    began = time.process_time()
    payments.post(name, {"type": "make", "account": "others", "amount": 1})
    reader.read()
    while name not in reader.answered:
        await payments.log.grown(LIMIT_SECONDS, [reader.at])
        reader.read()
    return time.process_time() - began


async def lapse(holds: int, makes: int) -> Report:
    """Hold, let all of it lapse, and send makes before and meanwhile."""
    async with PaymentsTestbed(opening_balance=10**12, partitions=1) as payments:
        reader = Reader(payments.log, TopicPartition(payments.settings.topics.results, 0))
        hold = {"type": "authorize", "account": "held", "amount": 1, "hold_seconds": HOLD_SECONDS}
        for number in range(holds):
            payments.post(f"hold-{number}", hold)
            if not number % AT_ONCE:
                await payments.quiet()
        await payments.quiet()
        say(f"{holds:,} holds")
        freeze_and_relax()  # As a worker does with what it has restored.
        before = [await one_make(payments, reader, f"before-{n}") for n in range(makes)]
        payments.clock.advance(HOLD_SECONDS + payments.settings.window_seconds)
        began, meanwhile = time.process_time(), list[float]()
        ticking = asyncio.create_task(payments.app.engine.timers.tick_all())
        while reader.lapses < holds:
            meanwhile.append(await one_make(payments, reader, f"meanwhile-{len(meanwhile)}"))
            if time.process_time() - began > LIMIT_SECONDS:
                raise ToolError(f"{reader.lapses} of {holds} holds lapsed in {LIMIT_SECONDS:g} s")
        seconds = time.process_time() - began
        await ticking
        await payments.quiet()
    rows = [
        [
            when,
            figure(len(took)),
            *(f"{1000 * it:.1f}" for it in (statistics.median(took), max(took))),
        ]
        for when, took in (("before", before), ("while they lapse", meanwhile))
    ]
    headings = ["makes, one after the other", "count", "median ms", "slowest ms"]
    text = (
        f"{holds:,} holds that ended in one window lapsed in {seconds:.1f} s of CPU time, "
        f"{holds / seconds:,.0f} a second.\n\n{markdown_table(headings, rows)}"
    )
    return Report(text, "no broker")


def measure(given: argparse.Namespace) -> Report:
    """Run it in an event loop."""
    return asyncio.run(lapse(given.holds, given.makes))


if __name__ == "__main__":
    COMMAND.run(measure)
