"""What the gateway tells of itself: liveness, readiness, the OpenAPI document, the docs page."""

import asyncio

import orjson

from payments.gateway.docs_page import page
from payments.gateway.exchange import Answer, Headers, Request
from payments.gateway.openapi import document
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.problems import Problem, Refused, problem_answer
from payments.gateway.service import Service

HTML = b"text/html; charset=utf-8"
# The page has no scripts and loads nothing, whatever would be smuggled into it.
ONLY_ITSELF: Headers = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
)


class ServicePages:
    """Handlers of the pages; they need no token."""

    def __init__(self, service: Service, stopping: asyncio.Event) -> None:
        self._service, self._stopping = service, stopping
        described = document()
        self._openapi = orjson.dumps(described)
        self._docs = page(described).encode()

    async def live(self, request: Request) -> Answer:
        """Tell that the process answers: do not restart it."""
        del request
        return Answer(200, b'{"status":"live"}')

    async def ready(self, request: Request) -> Answer:
        """Tell whether commands can be sent now, so that requests should come here."""
        del request
        if self._stopping.is_set():
            return problem_answer(Problem.UNAVAILABLE, "the gateway is stopping")
        if not self._service.healthy():
            return problem_answer(Problem.UNAVAILABLE, headers=RETRY_SOON)
        return Answer(200, b'{"status":"ready"}')

    async def openapi(self, request: Request) -> Answer:
        """Return the OpenAPI document."""
        del request
        return Answer(200, self._openapi)

    async def docs(self, request: Request) -> Answer:
        """Return the same as a page."""
        del request
        return Answer(200, self._docs, ONLY_ITSELF, HTML)

    async def problem(self, request: Request) -> Answer:
        """Tell what a problem's type means."""
        slug = request.parameters[0].decode("latin-1")
        for problem in Problem:
            if problem.slug == slug:
                status, title, advice = problem.value
                body = {"type": problem.reference, "title": title, "status": status}
                return Answer(200, orjson.dumps({**body, "advice": advice}))
        raise Refused(Problem.NOT_FOUND)
