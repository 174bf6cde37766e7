"""``python -m tools.bench.client``: what a call of ``payments.client`` costs, in time and CPU.

A closed loop in this process: ``concurrency`` makes are in flight at any time, over a fresh
installation with one worker. CPU is this process's own, user and system, for each call; half of
it or so is paid per request to the broker, so it falls as more calls share one.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from payments.client import PaymentsClient
from payments.domain.results import Outcome
from tools.bench.broker import measured_broker
from tools.bench.build import choose_build
from tools.bench.installation import installation
from tools.bench.options import add_pure
from tools.bench.worker import READY_LIMIT_SECONDS, running_worker

ACCOUNTS = 1000
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run measured; ``us_each`` is this process's CPU time for each call."""

    concurrency: int
    calls: int
    rate: float
    p50_ms: float
    p99_ms: float
    us_each: float
    not_completed: int


async def run(client: PaymentsClient, seconds: float, concurrency: int) -> Figures:
    """Keep ``concurrency`` calls in flight for ``seconds``."""
    latencies: list[float] = []
    not_completed = 0
    prefix = uuid.uuid4().hex[:8]
    started, cpu = time.perf_counter(), time.process_time()
    stop_at = started + seconds

    async def keep_calling(number: int) -> None:
        nonlocal not_completed
        count = 0
        while (began := time.perf_counter()) < stop_at:
            account = f"acct-{random.randrange(ACCOUNTS)}"  # noqa: S311 - a load, no secret
            result = await client.make(f"{prefix}-{number}-{count}", account=account, amount=1)
            count += 1
            latencies.append(time.perf_counter() - began)
            not_completed += result.outcome is not Outcome.COMPLETED

    async with asyncio.TaskGroup() as group:
        for number in range(concurrency):
            group.create_task(keep_calling(number))
    took, used = time.perf_counter() - started, time.process_time() - cpu
    ordered = sorted(latencies)
    return Figures(
        concurrency=concurrency,
        calls=len(ordered),
        rate=round(len(ordered) / took, 1),
        p50_ms=round(1000 * ordered[len(ordered) // 2], 2),
        p99_ms=round(1000 * ordered[int(len(ordered) * 0.99)], 2),
        us_each=round(1e6 * used / len(ordered), 1),
        not_completed=not_completed,
    )


async def measure(client: PaymentsClient, seconds: float, concurrency: list[int]) -> list[Figures]:
    """Run each concurrency once, after a warm-up."""
    async with client:
        await run(client, WARM_UP_SECONDS, max(concurrency))
        return [await run(client, seconds, each) for each in concurrency]


def _lines(figures: list[Figures]) -> Iterator[str]:
    yield "| calls at once | calls/s | p50 ms | p99 ms | CPU us per call |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for f in figures:
        yield f"| {f.concurrency} | {f.rate:,.0f} | {f.p50_ms} | {f.p99_ms} | {f.us_each} |"


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.client", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64, 256, 1000])
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--flush", action="store_true", help="flush.messages=1 on all topics")
    parser.add_argument("--json", action="store_true")
    add_pure(parser)
    given = parser.parse_args()
    choose_build(pure=given.pure)
    with (
        tempfile.TemporaryDirectory(prefix="payments-bench-") as folder,
        measured_broker(None) as broker,
        installation(broker.bootstrap, partitions=given.partitions, flush=given.flush) as settings,
        running_worker(settings, Path(folder) / "worker.log") as worker,
    ):
        worker.wait_until_ready(READY_LIMIT_SECONDS)
        client = PaymentsClient(settings=settings)
        figures = uvloop.run(measure(client, given.seconds, given.concurrency))
        worker.must_run()
    if given.json:
        print(json.dumps([asdict(each) for each in figures]))
    else:
        print("\n".join(_lines(figures)))
    return int(any(each.not_completed for each in figures))


if __name__ == "__main__":
    sys.exit(main())
