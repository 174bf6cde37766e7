"""Problem details (RFC 9457): the closed list of what a request can be refused with."""

from enum import Enum
from typing import NamedTuple

import orjson

from payments.gateway.exchange import Answer, Headers

PROBLEM_JSON = b"application/problem+json"
TYPES = "/problems/"
"""Where the types are described: they are references to the gateway itself."""


class Kind(NamedTuple):
    """A type of problem: its status, its title, and what the client should do about it."""

    status: int
    title: str
    advice: str


class Problem(Enum):
    """Every type of problem; its reference is ``/problems/`` and the name with hyphens."""

    NOT_JSON = Kind(400, "Not JSON", "Send one JSON object, in UTF-8.")
    BAD_HTTP = Kind(400, "Not HTTP", "The request could not be parsed as HTTP/1.1.")
    BAD_IDEMPOTENCY_KEY = Kind(
        400,
        "Idempotency-Key missing or malformed",
        'Send the header once, with a string as its value: Idempotency-Key: "order-17".',
    )
    UNAUTHORIZED = Kind(401, "Token missing or wrong", "Send Authorization: Bearer TOKEN.")
    DECLINED = Kind(402, "Declined", "No money was moved; the reason says why.")
    NOT_FOUND = Kind(404, "No such resource", "The document /openapi.json lists the resources.")
    PAYMENT_NOT_FOUND = Kind(
        404, "No such payment", "It never was, was declined and forgotten, or has expired."
    )
    ACCOUNT_NOT_FOUND = Kind(404, "No such account", "Its first deposit opens an account.")
    COMMAND_NOT_FOUND = Kind(
        404,
        "No such command",
        "This gateway does not hold its result any more, or another one took it: "
        "ask for the payment, or send the command again.",
    )
    METHOD_NOT_ALLOWED = Kind(405, "Method not allowed", "The header Allow lists the methods.")
    TIMEOUT = Kind(408, "The request did not arrive in time", "Send it again, faster.")
    CANCELLED = Kind(409, "Cancelled before", "The payment was cancelled, so it is not made.")
    CANCEL_REFUSED = Kind(
        409, "Cancel refused", "The money can't be moved back; the payment stays completed."
    )
    TOO_LARGE = Kind(413, "Too large", "A body may have 65,536 bytes.")
    UNSUPPORTED_MEDIA_TYPE = Kind(415, "Not application/json", "Send JSON, in UTF-8, and say so.")
    INVALID = Kind(422, "Invalid value", "The field that is named must be mended.")
    DIFFERENT_REQUEST = Kind(
        422,
        "Same id, another request",
        "The id names a payment already, and the field that is named differs.",
    )
    OVERLOADED = Kind(429, "Too many requests are waiting", "Send it again after Retry-After.")
    HEADERS_TOO_LARGE = Kind(431, "Headers too large", "URL and headers may have 16,384 bytes.")
    INTERNAL = Kind(500, "Defect", "The gateway or a worker met a defect; its log tells more.")
    UNAVAILABLE = Kind(
        503,
        "Kafka can't be reached",
        "Send the same request again after Retry-After: it is carried out once.",
    )
    DEADLINE_EXCEEDED = Kind(
        504,
        "No result in time",
        "The command may still be carried out. Send the same request again: it is carried out "
        "once, and the answer is its outcome.",
    )

    @property
    def reference(self) -> str:
        """The type as a URI reference, relative to the gateway."""
        return TYPES + self.slug

    @property
    def slug(self) -> str:
        """The last part of the reference."""
        return self.name.lower().replace("_", "-")


class Refused(Exception):  # noqa: N818 - it describes a request, not a failure of ours
    """The request is answered with a problem; ``extensions`` are further members of its body."""

    def __init__(
        self,
        problem: Problem,
        detail: str | None = None,
        *,
        headers: Headers = (),
        **extensions: object,
    ) -> None:
        super().__init__(detail)
        self.answer = problem_answer(problem, detail, headers=headers, **extensions)


def problem_answer(
    problem: Problem, detail: str | None = None, *, headers: Headers = (), **extensions: object
) -> Answer:
    """Return the answer that tells of a problem."""
    status, title, advice = problem.value
    members = {
        "type": problem.reference,
        "title": title,
        "status": status,
        "detail": detail or advice,
        **extensions,
    }
    return Answer(status, orjson.dumps(members), headers, PROBLEM_JSON)
