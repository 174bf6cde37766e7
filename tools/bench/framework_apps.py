"""The gateway's two hot operations, make and get, on frameworks; ``frameworks`` measures them.

The gateway uses Starlette's requests, answers and routes; here is Starlette's whole application,
with its middleware and exception handlers, and Litestar's. Each does what the gateway does for such
a request: it checks the host and the origin, parses the id from the undecoded path and the body
within its limit, sends the command, and answers with its outcome or with a problem.
"""

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from payments.client.commands import CheckedId
from payments.domain.commands import Command, Get, Make
from payments.gateway.app import Gateway
from payments.gateway.outcomes import answer_of
from payments.gateway.parsing import movement, payment_id
from payments.gateway.problems import Problem, problem_answer
from payments.gateway.service import Service
from payments.gateway.settings import GatewaySettings
from payments.records.commands import MAX_VALUE_BYTES, Malformed

DEADLINE_SECONDS = 30.0
PATH = "/v1/payments/{payment:str}"


def gateway(service: Service) -> ASGIApp:
    """Return the gateway as it is."""
    return Gateway(service, GatewaySettings())


@lru_cache(maxsize=1024)
def is_ours(host: str) -> bool:
    """Return whether a host needs no check, as ``Origins`` decides for most of them."""
    return "." not in host or host.startswith("127.")


async def outcome(service: Service, payment: CheckedId, command: Command) -> tuple[int, bytes]:
    """Send a command; return status and body of its answer."""
    result = await service.send(payment, command, deadline_seconds=DEADLINE_SECONDS)
    answer = answer_of(result)
    return answer.status_code, bytes(answer.body)


async def malformed(_: Request, error: Exception) -> Response:
    """Answer a request whose command is malformed, or that met a defect."""
    return problem_answer(Problem.INVALID if isinstance(error, Malformed) else Problem.INTERNAL)


async def refused(_: Request, error: Exception) -> Response:
    """Answer what Starlette refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return problem_answer(REFUSALS.get(status, Problem.INTERNAL))


REFUSALS = {404: Problem.NOT_FOUND, 405: Problem.METHOD_NOT_ALLOWED, 413: Problem.TOO_LARGE}


class Checks:
    """The steps before routing, as a middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("latin-1")
            request = Request(scope, receive)
            headers = request.headers
            if not is_ours(headers.get("host", "")):
                await problem_answer(Problem.WRONG_HOST)(scope, receive, send)
                return
            if scope["method"] == "POST" and (
                headers.get("sec-fetch-site") is not None or headers.get("origin") is not None
            ):
                await problem_answer(Problem.CROSS_ORIGIN)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def on_starlette(service: Service) -> ASGIApp:
    """Return the operations on Starlette, with its middleware and exception handlers."""

    async def make(request: Request) -> Response:
        payment = payment_id(request.path_params["payment"])
        body = await request.body()
        if request.headers.get("content-type") != "application/json":
            return problem_answer(Problem.UNSUPPORTED_MEDIA_TYPE)
        status, content = await outcome(service, payment, movement(body, Make))
        return Response(content, status, media_type="application/json")

    async def get(request: Request) -> Response:
        payment = payment_id(request.path_params["payment"])
        status, content = await outcome(service, payment, Get())
        return Response(content, status, media_type="application/json")

    return Starlette(
        routes=[
            Route(PATH, make, methods=["POST"]),
            Route(PATH, get, methods=["GET"]),
        ],
        middleware=[Middleware(Checks)],
        exception_handlers={Malformed: malformed, HTTPException: refused, Exception: malformed},
        max_body_size=MAX_VALUE_BYTES,
    )


def on_litestar(service: Service) -> ASGIApp:
    """Return the operations on Litestar, with its exception handlers."""
    litestar = importlib.import_module("litestar")
    exceptions = importlib.import_module("litestar.exceptions")

    def problem(_: Any, error: Exception) -> Any:
        status = getattr(error, "status_code", 422)
        answer = problem_answer(REFUSALS.get(status, Problem.INVALID))
        return litestar.Response(
            answer.body, status_code=answer.status_code, media_type=answer.media_type
        )

    def check(request: Any) -> None:
        headers = request.headers
        if not is_ours(headers.get("host", "")):
            raise exceptions.HTTPException(status_code=421)
        if request.method == "POST" and (
            headers.get("sec-fetch-site") is not None or headers.get("origin") is not None
        ):
            raise exceptions.HTTPException(status_code=403)

    async def make(payment: str, request: Any) -> Any:
        found = payment_id(payment)
        body = await request.body()
        if request.headers.get("content-type") != "application/json":
            raise exceptions.HTTPException(status_code=415)
        status, content = await outcome(service, found, movement(body, Make))
        return litestar.Response(content, status_code=status, media_type="application/json")

    async def read(payment: str) -> Any:
        status, content = await outcome(service, payment_id(payment), Get())
        return litestar.Response(content, status_code=status, media_type="application/json")

    framework = litestar.Litestar(
        [
            litestar.post(PATH, media_type="application/json", status_code=200)(make),
            litestar.get(PATH, media_type="application/json")(read),
        ],
        before_request=check,
        exception_handlers={
            Malformed: problem,
            exceptions.HTTPException: problem,
            Exception: problem,
        },
        request_max_body_size=MAX_VALUE_BYTES,
        openapi_config=None,
        logging_config=None,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("latin-1")
        await framework(scope, receive, send)

    return app


APPS: dict[str, Callable[[Service], ASGIApp]] = {
    "gateway": gateway,
    "starlette": on_starlette,
    "litestar": on_litestar,
}
