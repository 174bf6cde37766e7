"""Problem details (RFC 9457): the closed list of problems with which requests are refused."""

from enum import Enum
from typing import NamedTuple, cast

from starlette.responses import Response

from payments.gateway.exchange import Headers, encode_json
from payments.records.wording import DECLINE_REASONS

PROBLEM_JSON = "application/problem+json"
TYPES = "/problems/"
"""Path under which the gateway describes the types; their references are relative to it."""

_TYPE_FIRST = b'{"type":"' + TYPES.encode()


class ProblemType(NamedTuple):
    """A type of problem: its status, its title, and the client's next step."""

    status: int
    title: str
    advice: str


class Problem(Enum):
    """Every type of problem; its reference is ``/problems/`` and the name with hyphens."""

    NOT_JSON = ProblemType(400, "Not JSON", "Send one JSON object, in UTF-8.")
    BAD_HTTP = ProblemType(400, "Not HTTP", "The request could not be parsed as HTTP/1.1.")
    BAD_IDEMPOTENCY_KEY = ProblemType(
        400,
        "Idempotency-Key missing or malformed",
        'Send the header once, with a string as its value: Idempotency-Key: "order-17".',
    )
    UNAUTHORIZED = ProblemType(401, "Token missing or wrong", "Send Authorization: Bearer TOKEN.")
    DECLINED = ProblemType(
        402,
        "Declined",
        f"No money was moved. The member reason says why: {', '.join(DECLINE_REASONS)}.",
    )
    FORBIDDEN = ProblemType(403, "The token may not do this", "It lacks the named scope.")
    CROSS_ORIGIN = ProblemType(
        403,
        "A page of another origin",
        "Commands are accepted from pages of this gateway's own origin and of the origins in the "
        "setting PAYMENTS_GATEWAY_ALLOWED_ORIGINS.",
    )
    NOT_FOUND = ProblemType(
        404, "No such resource", "The document /openapi.json lists the resources."
    )
    PAYMENT_NOT_FOUND = ProblemType(
        404, "No such payment", "It was never made, was declined and deleted, or has expired."
    )
    ACCOUNT_NOT_FOUND = ProblemType(
        404,
        "No such account",
        "Its first deposit opens it, a make or an authorize where accounts are opened with a "
        "balance, or a request to open it.",
    )
    COMMAND_NOT_FOUND = ProblemType(
        404,
        "No such command",
        "The topics have no such command: none was answered 202 with this location, or it is older "
        "than the topics keep commands (9 days by default). Ask for the payment, or send the same "
        "request again. Of an account: read the account first.",
    )
    METHOD_NOT_ALLOWED = ProblemType(
        405, "Method not allowed", "The header Allow lists the methods."
    )
    TIMEOUT = ProblemType(408, "The request did not arrive in time", "Send it again, faster.")
    CANCELLED = ProblemType(
        409, "Cancelled before", "The payment was cancelled, so it can't be made."
    )
    CANCEL_REFUSED = ProblemType(
        409, "Cancel refused", "The money can't be moved back; the payment stays completed."
    )
    HOLD_EXPIRED = ProblemType(
        409,
        "The hold has expired",
        "Nothing is held any more. To hold the money again, authorize under another id.",
    )
    WRONG_STATE = ProblemType(
        409,
        "Not possible in this state",
        "No money was moved; the reason says why, and the member result has the payment's state.",
    )
    ACCOUNT_CLOSED = ProblemType(
        409, "The account is closed", "Nothing was changed. Open the account again first."
    )
    NOT_ZERO = ProblemType(
        409,
        "The account is not at zero",
        "Nothing was changed. An account is closed where its balance and what is held are 0: the "
        "member result has both.",
    )
    TOO_LARGE = ProblemType(413, "Too large", "A body may have 65,536 bytes.")
    UNSUPPORTED_MEDIA_TYPE = ProblemType(
        415,
        "Not application/json",
        "Send JSON in UTF-8, with the header Content-Type: application/json.",
    )
    WRONG_HOST = ProblemType(
        421,
        "Not a name of this gateway",
        "The header Host names another server. If it is right, add the name to the setting "
        "PAYMENTS_GATEWAY_ALLOWED_HOSTS.",
    )
    INVALID = ProblemType(422, "Invalid value", "Correct the named field.")
    DIFFERENT_REQUEST = ProblemType(
        422,
        "Same id, another request",
        "A payment, or a capture or refund of it, has this id, and the named field differs.",
    )
    DIFFERENT_ACCOUNT = ProblemType(
        422,
        "The account has another currency or credit limit",
        "Nothing was changed. The named field of the request to open it differs; a request for "
        "limit changes the credit limit, none changes the currency.",
    )
    MORE_THAN_LEFT = ProblemType(
        422,
        "More than is left",
        "No money was moved. The member left has how much can be captured or refunded, in minor "
        "units.",
    )
    OVERLOADED = ProblemType(
        429, "Too many requests are waiting", "Send it again after Retry-After."
    )
    HEADERS_TOO_LARGE = ProblemType(
        431, "Headers too large", "URL and headers may have 16,384 bytes."
    )
    INTERNAL = ProblemType(
        500, "Defect", "The gateway or a worker has a defect; its log has the details."
    )
    LATER_VERSION = ProblemType(
        502,
        "The workers are of a later version",
        "This gateway does not know the outcome: the member result has it. Upgrade the gateway.",
    )
    UNAVAILABLE = ProblemType(
        503,
        "Kafka can't be reached",
        "Nothing was sent. Send the same request again after Retry-After.",
    )
    RIGHTS_MISSING = ProblemType(
        503,
        "The gateway is not authorized at Kafka",
        "Nothing was sent. The detail says which right its user lacks; the gateway's log has the "
        "command that grants it. Then send the same request again.",
    )
    STANDSTILL = ProblemType(
        503,
        "Kafka takes or gives no records",
        "The detail says which partition stands still, and why.",
    )
    OPEN_TRANSACTION = ProblemType(
        503,
        "An open transaction blocks records",
        "The detail says which partition, and how to find the producer that has not ended it.",
    )
    STOPPING = ProblemType(
        503,
        "The gateway is stopping",
        "Send the same request again, to another gateway or later: it is carried out once. Before "
        "you repeat a command for an account, read the account.",
    )
    ACCOUNTS_UNAVAILABLE = ProblemType(
        503,
        "Accounts can't be read",
        "The detail says why. Nothing was changed, and payments are not affected.",
    )
    CATCHING_UP = ProblemType(
        503,
        "The topics are being read",
        "This gateway is still reading the topics up to their ends. Ask again after Retry-After.",
    )
    READ_TIMED_OUT = ProblemType(504, "No answer in time", "Nothing was changed. Ask again.")
    DEADLINE_EXCEEDED = ProblemType(
        504,
        "No result in time",
        "The command may still be carried out. For a payment, send the same request again: it is "
        "carried out once, and the answer is its outcome. For an account, read the account first; "
        "send it again only if no one else has changed it since.",
    )

    @property
    def reference(self) -> str:
        """The type as a URI reference, relative to the gateway."""
        return TYPES + self.slug

    @property
    def slug(self) -> str:
        """The last part of the reference."""
        return self.name.lower().replace("_", "-")


PAYMENT_IN_DOUBT = (
    "The command may still be carried out. Send the same request again: it is carried out once, "
    "and the answer is its outcome."
)
ACCOUNT_IN_DOUBT = (
    "The command may still be carried out. Read the account first; send it again only if no one "
    "else has changed it since."
)
"""A command for an account sets a state, so a late repeat undoes a later command."""

ACCOUNT_COMMAND_NOT_FOUND = (
    "The topics have no such command. Read the account first; send the request again only if no "
    "one else has changed it since."
)


class RefusedRequest(Exception):
    """The request is answered with a problem; ``extensions`` are further members of its body."""

    def __init__(
        self,
        problem: Problem,
        detail: str | None = None,
        *,
        headers: Headers | None = None,
        **extensions: object,
    ) -> None:
        super().__init__(detail)
        self.answer = problem_answer(problem, detail, headers=headers, **extensions)


def problem_answer(
    problem: Problem,
    detail: str | None = None,
    *,
    headers: Headers | None = None,
    **extensions: object,
) -> Response:
    """Return the answer with a problem."""
    status, title, advice = problem.value
    members = {
        "type": problem.reference,
        "title": title,
        "status": status,
        "detail": detail or advice,
        **extensions,
    }
    return Response(_encoded(members), status, headers, PROBLEM_JSON)


def what_is_missing(message: str) -> str:
    """Return what a user lacks, without the command that grants it."""
    return message.partition(" Grant it")[0]


def slug_of(answer: Response) -> str | None:
    """Return the slug of an answer's problem; None for an answer without a problem."""
    if answer.media_type is not PROBLEM_JSON:
        return None
    return bytes(answer.body).split(b'"', 4)[3].rpartition(b"/")[2].decode()


def put_prefix(answer: Response, prefix: str) -> None:
    """Put the path under which a proxy serves the gateway before the type of a problem."""
    if not prefix or answer.media_type is not PROBLEM_JSON:
        return
    body = bytes(answer.body)
    if body.startswith(_TYPE_FIRST):
        answer.body = b'{"type":"' + prefix.encode() + body[len(b'{"type":"') :]
        answer.headers["content-length"] = str(len(answer.body))


def _encoded(members: dict[str, object]) -> bytes:
    """Return the members as JSON; a lone surrogate, which UTF-8 can't encode, is escaped."""
    try:
        return encode_json(members)
    except UnicodeEncodeError:
        return encode_json(_printable(members))


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {str(_printable(name)): _printable(member) for name, member in members.items()}
    return value
