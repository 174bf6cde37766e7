"""What the gateway tells of itself: liveness, readiness, the OpenAPI document, the docs page."""

import asyncio

import orjson

from payments.client.client import NOT_READ, NOT_TAKEN
from payments.gateway.docs_page import PAGE, file
from payments.gateway.exchange import Answer, Headers, Request
from payments.gateway.openapi import document
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.problems import Problem, Refused, problem_answer, what_is_missing
from payments.gateway.service import Service

HTML = b"text/html; charset=utf-8"
# The page runs its own scripts and asks its own server, whatever would be smuggled into it.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
ONLY_ITSELF: Headers = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
)
KEPT: Headers = ((b"cache-control", b"max-age=3600"), (b"x-content-type-options", b"nosniff"))
LINKS = {"docs": "docs", "openapi": "openapi.json", "health": "health/ready"}
"""Relative to ``/``, wherever a proxy puts it."""


class ServicePages:
    """Handlers of the pages; they need no token."""

    def __init__(self, service: Service, stopping: asyncio.Event) -> None:
        self._service, self._stopping = service, stopping
        self._openapi = orjson.dumps(document())

    async def live(self, request: Request) -> Answer:
        """Tell that the process answers: do not restart it."""
        del request
        return Answer(200, b'{"status":"live"}')

    async def ready(self, request: Request) -> Answer:
        """Tell whether commands can be sent now, so that requests should come here.

        That accounts can't be read is told, and no reason to stay away: only a request for one
        finds that they can be read again.
        """
        del request
        if self._stopping.is_set():
            return problem_answer(Problem.STOPPING)
        trouble = self._service.trouble()
        if not self._service.healthy():
            return _not_ready(trouble or "")
        if trouble is not None:
            return Answer(200, orjson.dumps({"status": "ready", "trouble": trouble}))
        return Answer(200, b'{"status":"ready"}')

    async def openapi(self, request: Request) -> Answer:
        """Return the OpenAPI document."""
        del request
        return Answer(200, self._openapi)

    async def index(self, request: Request) -> Answer:
        """Lead a person to the page, and a program to the links."""
        del request
        return Answer(302, orjson.dumps(LINKS), ((b"location", b"docs"),))

    async def docs(self, request: Request) -> Answer:
        """Return the page that shows the document."""
        del request
        return Answer(200, PAGE, ONLY_ITSELF, HTML)

    async def docs_file(self, request: Request) -> Answer:
        """Return a file of that page."""
        found = file(request.parameters[0].decode("latin-1"))
        if found is None:
            raise Refused(Problem.NOT_FOUND)
        content, content_type = found
        return Answer(200, content, KEPT, content_type)

    async def problem(self, request: Request) -> Answer:
        """Tell what a problem's type means."""
        slug = request.parameters[0].decode("latin-1")
        for problem in Problem:
            if problem.slug == slug:
                status, title, advice = problem.value
                type_ = request.prefix + problem.reference
                body = {"type": type_, "title": title, "status": status}
                return Answer(200, orjson.dumps({**body, "advice": advice}))
        raise Refused(Problem.NOT_FOUND)


def _not_ready(trouble: str) -> Answer:
    """Return the answer whose title fits the reason, as the client words it."""
    if "not authorized" in trouble:
        problem, trouble = Problem.RIGHTS_MISSING, what_is_missing(trouble)
    elif "open transaction" in trouble:
        problem = Problem.OPEN_TRANSACTION
    elif trouble.startswith(NOT_READ) or trouble == NOT_TAKEN:
        problem = Problem.STANDSTILL
    else:
        problem = Problem.UNAVAILABLE
    return problem_answer(problem, trouble, headers=RETRY_SOON)
