"""``python -m tools.bench.frameworks``: what a make costs over HTTP, with and without a framework.

The gateway uses Starlette's requests, answers and routes; beside it is its make on Starlette's
whole application, with its middleware and exception handlers, and the gateway on uvicorn's own
connections, which have no limits. Each runs in a process of its own, on a client library that
answers at once, so that only HTTP is measured: the CPU time of the process for one request, the
least of all loads, since what else the machine does adds to it.
"""

import argparse
import asyncio
import itertools
import math
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exactstage.gc_tuning import freeze_and_relax
from payments.client.commands import CheckedId
from payments.domain.commands import Make
from payments.domain.results import Answer, Outcome
from payments.domain.results import Request as PaymentRequest
from payments.gateway.app import Gateway
from payments.gateway.connections import ConnectionLimits, limited
from payments.gateway.outcomes import answer_of
from payments.gateway.parsing import movement, payment_id
from payments.gateway.problems import Problem, problem_answer
from payments.gateway.service import Service
from payments.gateway.settings import GatewaySettings
from payments.records.commands import MAX_VALUE_BYTES, Malformed
from payments.records.record_models import Result
from payments.records.record_writer import encode_result
from tools.bench import bench_command
from tools.bench.bench_command import Option, Report, say
from tools.bench.loading import HttpEndpoint, Target, run_load
from tools.bench.ours import OURS
from tools.dev.child_process import Child
from tools.dev.markdown import figure, markdown_table
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
LIMITED = "uvicorn"
RUNS = (("gateway", LIMITED), ("starlette", LIMITED), ("gateway", "uvicorn without limits"))
"""Application and server of each process."""


class AnswersAtOnce:
    """The client library's place: a make is completed in the next iteration of the loop."""

    async def send(self, payment: CheckedId, command: Make, **_: object) -> Result:
        """Complete a command: read its result, as the client library does."""
        await asyncio.sleep(0)
        request = PaymentRequest("make", command.account, command.amount, "EUR")
        answer = Answer("c", "make", Outcome.COMPLETED, state="completed", request=request)
        return Result.model_validate_json(encode_result(payment.text, answer, 0))


class Checks:
    """The gateway's steps before routing, as a middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the host and the origin of a request; its path stays undecoded."""
        scope["path"] = scope["raw_path"].decode("latin-1")
        headers = Request(scope, receive).headers
        host = headers.get("host", "")
        if "." in host and not host.startswith("127."):
            await problem_answer(Problem.WRONG_HOST)(scope, receive, send)
        elif "sec-fetch-site" in headers or "origin" in headers:
            await problem_answer(Problem.CROSS_ORIGIN)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def on_starlette(service: Service) -> ASGIApp:
    """Return the make of the gateway on Starlette's application."""

    async def make(request: Request) -> Response:
        payment = payment_id(request.path_params["payment"])
        body = await request.body()
        if request.headers.get("content-type") != "application/json":
            return problem_answer(Problem.UNSUPPORTED_MEDIA_TYPE)
        return answer_of(await service.send(payment, movement(body, Make), deadline_seconds=30))

    async def refused(_: Request, error: Exception) -> Response:
        is_ours = isinstance(error, Malformed)
        return problem_answer(Problem.INVALID if is_ours else Problem.NOT_FOUND)

    return Starlette(
        routes=[Route("/v1/payments/{payment:str}", make, methods=["POST"])],
        middleware=[Middleware(Checks)],
        exception_handlers={Malformed: refused, HTTPException: refused},
        max_body_size=MAX_VALUE_BYTES,
    )


async def serve(app: str, server: str, port: int) -> None:
    """Serve an application until the process is ended."""
    freeze_and_relax()
    service = cast("Service", AnswersAtOnce())  # Nothing but ``send`` is called.
    limits = ConnectionLimits(receive_seconds=10, idle_seconds=75, max_connections=10_000)
    config = uvicorn.Config(
        on_starlette(service) if app == "starlette" else Gateway(service, GatewaySettings()),
        host=HOST,
        port=port,
        http=limited(limits) if server == LIMITED else "httptools",
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


def measure(given: argparse.Namespace) -> Report:
    """Load each application on its server, all in turn, and that repeatedly."""
    least: dict[tuple[str, str, int], float] = {}
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as name, ExitStack() as stack:
        targets: dict[tuple[str, str], Target] = {}
        for run, port in zip(RUNS, free_ports(len(RUNS)), strict=True):
            command = [sys.executable, "-m", "tools.bench.frameworks", "serve", *run, str(port)]
            log = Path(name) / f"{port}.log"
            child = stack.enter_context(Child(" on ".join(run), command, log, ready=READY))
            child.wait_until_ready()
            targets[run] = Target(OURS, HttpEndpoint(port, OURS), {SERVER: child})
            run_load(targets[run], 1.0, max(given.concurrency))
        for repeat, concurrency in itertools.product(range(given.repeats), given.concurrency):
            for run, target in targets.items():
                used = run_load(target, given.seconds, concurrency).cpu_us[SERVER] or math.inf
                least[*run, concurrency] = min(used, least.get((*run, concurrency), used))
                say(f"{repeat + 1}: {' on '.join(run)}, {concurrency}: {used} µs")
    headings = ["application", "server", *(f"CPU µs at {it}" for it in given.concurrency)]
    rows = [[*run, *(figure(least[*run, it]) for it in given.concurrency)] for run in RUNS]
    return Report(markdown_table(headings, rows), "no broker")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        app_, server_, port_ = sys.argv[2:]
        uvloop.run(serve(app_, server_, int(port_)))
    else:
        COMMAND.run(measure)
