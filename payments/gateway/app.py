"""The ASGI application: the steps of every request.

A request is routed, authorized by its token, handled and answered; every error becomes a problem
(RFC 9457). The application stands between the server and the client library.
"""

import asyncio
import logging
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from payments.client.errors import (
    AccountsUnavailable,
    BrokersUnavailable,
    CatchingUp,
    ClientClosed,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    PaymentsClientError,
    RightsMissing,
)
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command
from payments.domain.results import Reason
from payments.gateway.access_log import AccessLog
from payments.gateway.accounts_api import OF_ACCOUNT, AccountsApi, account_answer
from payments.gateway.async_commands import AsyncCommands, Render
from payments.gateway.events import EventsApi
from payments.gateway.exchange import BodyTooLarge, Headers, HttpRequest
from payments.gateway.forwarding import Forwarding
from payments.gateway.openapi import document
from payments.gateway.operations import OPERATIONS, Handler, Handlers, Operation
from payments.gateway.origins import Origins
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.payments_api import (
    BY_KEY,
    PLAIN,
    PaymentsApi,
    answer_with_location,
    plain_answer,
)
from payments.gateway.problems import (
    ACCOUNT_IN_DOUBT,
    PAYMENT_IN_DOUBT,
    Problem,
    RefusedRequest,
    problem_answer,
    put_prefix,
    what_is_missing,
)
from payments.gateway.request_counts import RequestCounts
from payments.gateway.restate_examples import EXAMPLE, RestateExamplesApi, example_answer
from payments.gateway.service import Service
from payments.gateway.service_pages import ServicePages
from payments.gateway.settings import GatewaySettings
from payments.gateway.tokens import Tokens
from payments.records.commands import Malformed
from payments.records.record_models import AccountResult, Result

logger = logging.getLogger(__name__)

HEALTH = {"/health/live", "/health/ready"}
"""Supervisors and load balancers request them under any host name of this process."""

SINGLE = ("authorization", "content-type", "origin", "sec-fetch-site", "x-api-key")
"""Headers that must not be repeated: a proxy could use another value than this gateway."""

OF_ACCOUNTS = "/v1/accounts/"
"""How the routes of accounts begin."""

SLASH = "No path of this gateway ends with a slash; an id that does is written with %2F."

LOG_INTERVAL_SECONDS = 60.0
"""A problem with the accounts is not logged again within this time."""

CLOSE: Headers = {"connection": "close"}
NOT_JSON = {Reason.NOT_JSON, Reason.NOT_UTF8, Reason.TOO_DEEP, Reason.EMPTY_VALUE}

FORMS: dict[str, Render[Result]] = {
    PLAIN: plain_answer,
    BY_KEY: answer_with_location,
    EXAMPLE: example_answer,
}

ACCOUNT_FORMS: dict[str, Render[AccountResult]] = {OF_ACCOUNT: account_answer}

AWAY = {
    Overloaded: Problem.OVERLOADED,
    BrokersUnavailable: Problem.UNAVAILABLE,
    RightsMissing: Problem.RIGHTS_MISSING,
    ClientClosed: Problem.STOPPING,
    AccountsUnavailable: Problem.ACCOUNTS_UNAVAILABLE,
    CatchingUp: Problem.CATCHING_UP,
}
"""Errors that pass by themselves, or after an operator's action: a retry may succeed."""


class Gateway:
    """The application. ``stopping`` is set when the server begins to stop: streams end then."""

    def __init__(self, service: Service, settings: GatewaySettings) -> None:
        """Read the file of tokens; raises ``TokensFileError``."""
        self.stopping = asyncio.Event()
        self._service = service
        self._next_log_at = 0.0
        self.tokens = Tokens(settings)
        ours = self._handlers = handlers(service, settings, self.stopping)
        self._routes = [
            (Route(one.path, one.handler(ours), methods=[one.method]), one) for one in OPERATIONS
        ]
        self._forwarding, self._origins = Forwarding(settings), Origins(settings)
        self.access_log = AccessLog() if settings.access_log else None
        self.counts = RequestCounts()
        self._was_healthy = False

    def look(self) -> None:
        """Note whether commands can be sent, and results read, now; in the loop of the service."""
        self._was_healthy = self._service.healthy()

    @property
    def is_ready(self) -> bool:
        """Whether they could be at the last ``look``, and it does not stop. Any thread may ask."""
        return self._was_healthy and not self.stopping.is_set()

    @property
    def open_streams(self) -> int:
        """Number of open event streams."""
        return self._handlers.events.open_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = perf_counter()
        request, counts = HttpRequest(scope, receive), self.counts
        counts.in_flight += 1
        try:
            answer = await self._handled(request)
        except ClientDisconnect:
            counts.disconnected += 1
            return
        except Exception as error:  # noqa: BLE001 - every error becomes an answer
            answer = self._refusal(request, error)
        finally:
            counts.in_flight -= 1
        counts.answered(request, answer, began)
        if request.prefix:
            put_prefix(answer, request.prefix)
        if b"origin" in request.fields:
            answer.headers.update(self._origins.shared(request))
        if b"expect" in request.fields and not request.asked_for_body:
            # It is not known whether the announced body still arrives (RFC 9110, 10.1.1).
            answer.headers.update(CLOSE)
        if self.access_log is not None:
            self.access_log.write(request, answer, began)
        await answer(scope, receive, send)

    async def _handled(self, request: HttpRequest) -> Response:
        """Route and authorize a request; return the answer of its handler."""
        if len(request.fields) < len(request.headers.raw):
            _check_repeats(request)
        self._forwarding.apply(request)
        if request.method == "OPTIONS" and (answer := self._origins.preflight(request)):
            return answer
        operation, handler = self._find(request)
        request.route = operation.path
        if operation.path not in HEALTH:
            self._origins.check(request)
        if operation.scopes:
            self.tokens.check(request, operation.scopes)
        return await handler(request)

    def _find(self, request: HttpRequest) -> tuple[Operation, Handler]:
        """Return a request's operation and its handler; raises ``RefusedRequest``: 404 or 405."""
        allowed: set[str] = set()
        for route, operation in self._routes:
            match, found = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(found)
                return operation, route.endpoint
            if match is Match.PARTIAL:
                allowed |= route.methods or set()
        if allowed:
            allow = ", ".join(sorted(allowed))
            raise RefusedRequest(
                Problem.METHOD_NOT_ALLOWED, f"Allowed: {allow}", headers={"allow": allow}
            )
        path = request.scope["path"]
        raise RefusedRequest(Problem.NOT_FOUND, SLASH if path[1:].endswith("/") else None)

    def _refusal(self, request: HttpRequest, error: Exception) -> Response:
        """Return the answer to a request that failed."""
        if isinstance(error, RefusedRequest):
            return error.answer
        if isinstance(error, Malformed):
            return _malformed(error)
        if isinstance(error, BodyTooLarge):
            return problem_answer(Problem.TOO_LARGE, headers=CLOSE)
        if isinstance(error, AccountsUnavailable):
            self._log(error)
        if isinstance(error, PaymentsClientError):
            of_account = (request.route or "").startswith(OF_ACCOUNTS)
            return _not_done(error, reading=request.reads, of_account=of_account)
        # The log has the details of a defect, the answer has none.
        logger.error(
            "%s %s met a defect",
            request.method,
            request.scope["path"],
            exc_info=error,
            extra={
                "payment": request.payment,
                "account": request.account,
                "command": request.command,
            },
        )
        return problem_answer(Problem.INTERNAL)

    def _log(self, error: AccountsUnavailable) -> None:
        """Log why accounts can't be read, at intervals, unless the client library logs it."""
        now = perf_counter()
        if now >= self._next_log_at and str(error) not in (self._service.trouble() or ""):
            self._next_log_at = now + LOG_INTERVAL_SECONDS
            logger.warning("accounts can't be read: %s", error)


def handlers(service: Service, settings: GatewaySettings, stopping: asyncio.Event) -> Handlers:
    """Return the handlers of the operations."""
    deadline_seconds = settings.deadline_seconds
    kept_seconds = settings.kept_seconds
    later = AsyncCommands[Command, Result](
        lambda: service, deadline_seconds, kept_seconds, FORMS, "payment"
    )
    later_of_accounts = AsyncCommands[AccountCommand, AccountResult](
        lambda: service.account_commands, deadline_seconds, kept_seconds, ACCOUNT_FORMS, "account"
    )
    payments = PaymentsApi(service, later, deadline_seconds)
    return Handlers(
        payments=payments,
        accounts=AccountsApi(service, later_of_accounts, deadline_seconds),
        events=EventsApi(service, deadline_seconds, settings.max_streams, stopping),
        examples=RestateExamplesApi(payments),
        pages=ServicePages(service, stopping, document()),
    )


def _check_repeats(request: HttpRequest) -> None:
    for name in SINGLE:
        if len(request.headers.getlist(name)) > 1:
            raise RefusedRequest(Problem.BAD_HTTP, f"The header {name} is sent more than once.")


def _malformed(malformed: Malformed) -> Response:
    reason, field = malformed.reason, malformed.field
    if reason in NOT_JSON:
        return problem_answer(Problem.NOT_JSON, malformed.message, reason=reason)
    message = malformed.message
    if reason.name.startswith(("KEY_", "NULL_KEY", "EMPTY_KEY")):
        # Only records have a key; a request has a payment id.
        field, message = field or "payment", message.replace("the key", "the payment's id", 1)
    if field is None:
        return problem_answer(Problem.INVALID, message, reason=reason)
    return problem_answer(Problem.INVALID, message, reason=reason, field=field)


def _not_done(error: PaymentsClientError, *, reading: bool, of_account: bool) -> Response:
    """Return what an error of the client library means for a command, or for a read."""
    if isinstance(error, InvalidCommand):
        return problem_answer(
            Problem.INVALID, error.message, reason=error.reason, field=error.field
        )
    if isinstance(error, DeadlineExceeded) and not isinstance(error, CatchingUp):
        if reading:
            return problem_answer(Problem.READ_TIMED_OUT)
        in_doubt = ACCOUNT_IN_DOUBT if of_account else PAYMENT_IN_DOUBT
        return problem_answer(Problem.DEADLINE_EXCEEDED, in_doubt)
    problem, detail = AWAY.get(type(error)), None
    if problem is None:
        logger.error("an error of the client library that has no answer: %r", error)
        return problem_answer(Problem.INTERNAL)
    if problem is Problem.ACCOUNTS_UNAVAILABLE or problem is Problem.CATCHING_UP:
        detail = str(error)
    elif problem is Problem.RIGHTS_MISSING:
        # The client library logs the whole message, with addresses and users of the brokers.
        detail = what_is_missing(str(error))
    elif problem is Problem.STOPPING and of_account and not reading:
        detail = ACCOUNT_IN_DOUBT
    elif problem is Problem.UNAVAILABLE and reading:
        detail = "Ask again after Retry-After."
    return problem_answer(problem, detail, headers=RETRY_SOON)
