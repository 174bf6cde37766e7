"""``python -m tools.bench.frameworks``: what a make costs over HTTP, on frameworks and servers.

The gateway and copies of its hot operations on frameworks (``framework_apps``) are loaded in turn,
each in a process of its own and with a client library that answers at once, so that only HTTP is
measured: the CPU time of the process for one request, the least of all loads, since what else the
machine does adds to it. Litestar and Granian are no dependencies of this repository; what is not
installed is left out.
"""

import argparse
import asyncio
import importlib
import importlib.util
import itertools
import math
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from exactstage.gc_tuning import freeze_and_relax
from payments.client.commands import CheckedId
from payments.domain.commands import Command
from payments.domain.results import Outcome
from payments.gateway.connections import ConnectionLimits, limited
from payments.records.record_models import Result
from tools.bench import bench_command
from tools.bench.bench_command import Option, Report, say
from tools.bench.framework_apps import APPS
from tools.bench.loading import HttpEndpoint, Target, run_load
from tools.bench.markdown import figure, markdown_table
from tools.bench.measured_process import Child
from tools.bench.ours import OURS
from tools.dev.ports import HOST, free_ports

COMMAND = bench_command.Command(
    "tools.bench.frameworks",
    __doc__,
    {
        "concurrency": Option([64, 256], "requests in flight at a time", quick=[4]),
        "seconds": Option(4.0, "of each load", quick=0.5),
        "repeats": Option(5, "of each load", quick=1),
    },
    marker="frameworks",
)
READY = "ready"
SERVER = "gateway"
NEEDS = {"litestar": "litestar", "granian": "granian"}
"""The package of an application or server that may be missing."""

RUNS = [
    *((app, "uvicorn") for app in APPS),
    ("gateway", "uvicorn without limits"),
    ("gateway", "granian"),
]


class AnswersAtOnce:
    """The client library's place: completes all commands of an iteration of the loop in the next.

    A result is made for each, as the client library does.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Future[Result], CheckedId]] = []

    async def send(self, payment: CheckedId, command: Command, **_: object) -> Result:
        """Complete a command."""
        del command
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._answer)
        self._waiting.append((answer, payment))
        return await answer

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for answer, payment in waiting:
            answer.set_result(completed(payment.text))


def completed(payment: str) -> Result:
    """Return the result of a completed make."""
    return Result(
        payment=payment,
        command="c",
        type="make",
        outcome=Outcome.COMPLETED,
        reason=None,
        message=None,
        replayed=False,
        state="completed",
        account="abc",
        amount=1,
        currency="EUR",
        exponent=2,
        time="2026-01-01T00:00:00.000Z",
    )


async def serve(app: ASGIApp, server: str, port: int) -> None:
    """Serve an application until the process is ended."""
    freeze_and_relax()
    if server == "granian":
        granian = importlib.import_module("granian.server.embed")
        server_ = granian.Server(
            app, address=HOST, port=port, interface="asginl", log_enabled=False
        )
        print(READY, flush=True)
        await server_.serve()
        return
    limits = ConnectionLimits(receive_seconds=10, idle_seconds=75, max_connections=10_000)
    config = uvicorn.Config(
        app,
        host=HOST,
        port=port,
        http=limited(limits) if server == "uvicorn" else "httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    print(READY, flush=True)
    await uvicorn.Server(config).serve()


def running(app: str, server: str, port: int, folder: Path) -> Child:
    """Start a server for an application; return its process."""
    command = [sys.executable, "-m", "tools.bench.frameworks", "serve", app, server, str(port)]
    log = folder / f"{app}-{server}-{port}.log"
    return Child(f"{app} on {server}", command, log, ready=READY)


def measure(given: argparse.Namespace) -> Report:
    """Load each application on its server, all in turn, and that repeatedly."""
    runs = [run for run in RUNS if all(_is_there(NEEDS.get(part)) for part in run)]
    least: dict[tuple[str, str, int], float] = {}
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as name, ExitStack() as stack:
        targets: dict[tuple[str, str], Target] = {}
        for (app, server), port in zip(runs, free_ports(len(runs)), strict=True):
            child = stack.enter_context(running(app, server, port, Path(name)))
            child.wait_until_ready()
            targets[app, server] = Target(OURS, HttpEndpoint(port, OURS), {SERVER: child})
        for target in targets.values():
            run_load(target, 1.0, max(given.concurrency))
        for repeat, concurrency in itertools.product(range(given.repeats), given.concurrency):
            for run, target in targets.items():
                used = run_load(target, given.seconds, concurrency).cpu_us[SERVER] or math.inf
                least[*run, concurrency] = min(used, least.get((*run, concurrency), used))
                say(f"{repeat + 1}: {' on '.join(run)}, {concurrency}: {used} µs")
    headings = ["application", "server", *(f"CPU µs at {it}" for it in given.concurrency)]
    rows = [
        [*run, *(figure(least[*run, concurrency]) for concurrency in given.concurrency)]
        for run in runs
    ]
    return Report(markdown_table(headings, rows), "no broker")


def _is_there(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        app_, server_, port_ = sys.argv[2:]
        uvloop.run(serve(APPS[app_](AnswersAtOnce()), server_, int(port_)))  # type: ignore[arg-type] # only send
    else:
        COMMAND.run(measure)
