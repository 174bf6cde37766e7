"""The ASGI application: the operations, and what every request goes through.

A request is routed, let in by its token, handled and answered; whatever goes wrong on the way
becomes a problem (RFC 9457). This is all there is between the server and the client library.
"""

import asyncio
import logging

from payments.client.errors import (
    AccountsUnavailable,
    BrokersUnavailable,
    ClientClosed,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    PaymentsClientError,
)
from payments.domain.results import Reason
from payments.gateway.accounts_api import AccountsApi
from payments.gateway.compat import CompatApi
from payments.gateway.events import EventsApi
from payments.gateway.exchange import (
    Answer,
    BodyTooLarge,
    Disconnected,
    Headers,
    Message,
    Receive,
    Request,
    Send,
    Stream,
    send_answer,
    send_stream,
)
from payments.gateway.operations import Operations
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.payments_api import PaymentsApi
from payments.gateway.problems import Problem, Refused, problem_answer
from payments.gateway.routes import Route, Routes
from payments.gateway.service import Service
from payments.gateway.service_pages import ServicePages
from payments.gateway.settings import GatewaySettings
from payments.gateway.tokens import Tokens
from payments.records.commands import Malformed

logger = logging.getLogger(__name__)

CLOSE: Headers = ((b"connection", b"close"),)
NOT_JSON = {Reason.NOT_JSON, Reason.NOT_UTF8, Reason.TOO_DEEP, Reason.EMPTY_VALUE}
UNAVAILABLE = (BrokersUnavailable, ClientClosed, AccountsUnavailable)


class Gateway:
    """The application. ``stopping`` is set when the server is to end: streams end then."""

    def __init__(
        self, service: Service, settings: GatewaySettings, *, default_currency: str
    ) -> None:
        self.stopping = asyncio.Event()
        self._tokens = Tokens(settings.tokens)
        self.routes = operations(service, settings, default_currency, self.stopping)
        self._find = Routes(self.routes).find

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            route, parameters = self._find(scope["method"], scope["raw_path"])
            request = Request(scope, receive, parameters)
            if not route.open:
                self._tokens.check(request)
            answer = await route.handler(request)
        except Refused as refused:
            answer = refused.answer
        except Malformed as malformed:
            answer = _malformed(malformed)
        except BodyTooLarge:
            answer = problem_answer(Problem.TOO_LARGE, headers=CLOSE)
        except PaymentsClientError as error:
            answer = _not_done(error)
        except Disconnected:
            return
        except Exception:  # a defect is told to the log, and not to the client
            logger.exception("%s %s met a defect", scope["method"], scope["path"])
            answer = problem_answer(Problem.INTERNAL)
        if isinstance(answer, Stream):
            await send_stream(send, answer, request, self.stopping)
        else:
            await send_answer(send, answer)


def operations(
    service: Service,
    settings: GatewaySettings,
    default_currency: str,
    stopping: asyncio.Event,
) -> list[Route]:
    """Return every operation. ``payments.gateway.openapi`` describes the same ones."""
    deadline_seconds = settings.deadline_seconds
    later = Operations(service, deadline_seconds)
    payments = PaymentsApi(service, later, default_currency, deadline_seconds)
    accounts = AccountsApi(service, deadline_seconds)
    events = EventsApi(service, deadline_seconds, settings.max_streams)
    compat = CompatApi(payments)
    pages = ServicePages(service, stopping)
    return [
        Route("POST", "/v1/payments", payments.make_by_key),
        Route("POST", "/v1/payments/{payment}", payments.make),
        Route("GET", "/v1/payments/{payment}", payments.look),
        Route("POST", "/v1/payments/{payment}/cancel", payments.cancel),
        Route("GET", "/v1/payments/{payment}/commands/{command}", payments.command),
        Route("GET", "/v1/payments/{payment}/events", events.stream),
        Route("POST", "/v1/deposits/{payment}", payments.deposit),
        Route("GET", "/v1/accounts/{account}", accounts.balance),
        Route("GET", "/v1/accounts/{account}/entries", accounts.entries),
        Route("POST", "/payments/makePayment", compat.make_by_body),
        Route("POST", "/payments/cancelPayment", compat.cancel_by_body),
        Route("POST", "/payments/{payment}/makePayment", compat.make),
        Route("POST", "/payments/{payment}/cancelPayment", compat.cancel),
        Route("GET", "/health/live", pages.live, open=True),
        Route("GET", "/health/ready", pages.ready, open=True),
        Route("GET", "/openapi.json", pages.openapi, open=True),
        Route("GET", "/docs", pages.docs, open=True),
        Route("GET", "/problems/{problem}", pages.problem, open=True),
    ]


def _malformed(malformed: Malformed) -> Answer:
    reason, field = malformed.reason, malformed.field
    if reason in NOT_JSON:
        return problem_answer(Problem.NOT_JSON, malformed.message, reason=reason)
    if reason.name.startswith(("KEY_", "NULL_KEY", "EMPTY_KEY")):
        field = field or "payment"
    if field is None:
        return problem_answer(Problem.INVALID, malformed.message, reason=reason)
    return problem_answer(Problem.INVALID, malformed.message, reason=reason, field=field)


def _not_done(error: PaymentsClientError) -> Answer:
    if isinstance(error, DeadlineExceeded):
        return problem_answer(Problem.DEADLINE_EXCEEDED)
    if isinstance(error, Overloaded):
        return problem_answer(Problem.OVERLOADED, headers=RETRY_SOON)
    if isinstance(error, InvalidCommand):
        return problem_answer(
            Problem.INVALID, error.message, reason=error.reason, field=error.field
        )
    if isinstance(error, UNAVAILABLE):
        return problem_answer(Problem.UNAVAILABLE, headers=RETRY_SOON)
    logger.error("an error of the client library that has no answer: %r", error)
    return problem_answer(Problem.INTERNAL)
