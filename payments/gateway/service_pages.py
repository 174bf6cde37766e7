"""The gateway's own pages: liveness, readiness, problem types, OpenAPI document, docs page."""

import asyncio
from collections.abc import Mapping

from msgspec.json import encode as encode_json
from starlette.responses import Response

from payments.client.command_client import NOT_READ, NOT_TAKEN
from payments.gateway.docs_page import PAGE, file
from payments.gateway.exchange import JSON, Headers, HttpRequest, json_answer
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.problems import Problem, RefusedRequest, problem_answer, what_is_missing
from payments.gateway.service import Service

HTML = "text/html; charset=utf-8"
# The page may run only its own scripts and send requests only to its own server.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
ONLY_ITSELF: Headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
KEPT: Headers = {"cache-control": "max-age=3600", "x-content-type-options": "nosniff"}
LINKS = {"docs": "docs", "openapi": "openapi.json", "health": "health/ready"}
"""Relative to ``/``, wherever a proxy puts it."""


class ServicePages:
    """Handlers of the pages; they need no token."""

    def __init__(
        self, service: Service, stopping: asyncio.Event, openapi: Mapping[str, object]
    ) -> None:
        self._service, self._stopping = service, stopping
        self._openapi = encode_json(openapi)

    async def live(self, request: HttpRequest) -> Response:
        """Report that the process answers, so it needs no restart."""
        del request
        return json_answer({"status": "live"})

    async def ready(self, request: HttpRequest) -> Response:
        """Report whether commands can be sent now, so that a load balancer may send requests.

        Unreadable accounts are reported, but the gateway stays ready: only a request for an account
        shows when they can be read again.
        """
        del request
        if self._stopping.is_set():
            return problem_answer(Problem.STOPPING)
        trouble = self._service.trouble()
        if not self._service.healthy():
            return _not_ready(trouble or "")
        if trouble is not None:
            return json_answer({"status": "ready", "trouble": trouble})
        return json_answer({"status": "ready"})

    async def openapi(self, request: HttpRequest) -> Response:
        """Return the OpenAPI document."""
        del request
        return Response(self._openapi, media_type=JSON)

    async def index(self, request: HttpRequest) -> Response:
        """Redirect a person to the docs page; the body has links for programs."""
        del request
        return json_answer(LINKS, {"location": "docs"}, 302)

    async def docs(self, request: HttpRequest) -> Response:
        """Return the page that shows the document."""
        del request
        return Response(PAGE, headers=ONLY_ITSELF, media_type=HTML)

    async def docs_file(self, request: HttpRequest) -> Response:
        """Return a file of that page."""
        found = file(request.path_params["file"])
        if found is None:
            raise RefusedRequest(Problem.NOT_FOUND)
        content, content_type = found
        return Response(content, headers=KEPT, media_type=content_type)

    async def problem(self, request: HttpRequest) -> Response:
        """Return the meaning of a problem's type."""
        slug = request.path_params["problem"]
        for problem in Problem:
            if problem.slug == slug:
                status, title, advice = problem.value
                type_ = request.prefix + problem.reference
                body = {"type": type_, "title": title, "status": status}
                return json_answer({**body, "advice": advice})
        raise RefusedRequest(Problem.NOT_FOUND)


def _not_ready(trouble: str) -> Response:
    """Return the answer with the problem that matches the client library's wording."""
    if "not authorized" in trouble:
        problem, trouble = Problem.RIGHTS_MISSING, what_is_missing(trouble)
    elif "open transaction" in trouble:
        problem = Problem.OPEN_TRANSACTION
    elif trouble.startswith(NOT_READ) or trouble == NOT_TAKEN:
        problem = Problem.STANDSTILL
    else:
        problem = Problem.UNAVAILABLE
    return problem_answer(problem, trouble, headers=RETRY_SOON)
