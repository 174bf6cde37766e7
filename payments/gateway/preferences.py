"""Two headers with a grammar of their own: ``Prefer`` and ``Idempotency-Key``."""

import re

from payments.client.commands import CheckedId
from payments.gateway.exchange import OWS, HttpRequest
from payments.gateway.parsing import MAX_WAIT_SECONDS, checked_id
from payments.gateway.problems import Problem, RefusedRequest
from payments.records.commands import Malformed

_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+")


def seconds_until_async(prefer: str) -> float | None:
    """Return how long to wait before 202 (RFC 7240); None without ``respond-async``.

    ``respond-async, wait=10`` is 10 seconds. Unknown preferences are ignored.
    """
    preferences = [part.partition(";")[0].strip(OWS).lower() for part in prefer.split(",")]
    if "respond-async" not in preferences:
        return None
    for preference in preferences:
        name, _, value = preference.partition("=")
        if name.strip(OWS) == "wait":
            digits = value.strip(OWS).strip('"')
            return (
                min(float(digits), MAX_WAIT_SECONDS)
                if digits.isascii() and digits.isdigit()
                else 0.0
            )
    return 0.0


def idempotency_key(request: HttpRequest) -> CheckedId:
    """Return the payment id of the header ``Idempotency-Key``; raises ``RefusedRequest``.

    In the draft it is a string of RFC 8941 (``"order-17"``). A value without quotes is accepted
    unchanged, since most clients send it so.
    """
    given = request.headers.getlist("idempotency-key")
    if len(given) != 1:
        raise RefusedRequest(Problem.BAD_IDEMPOTENCY_KEY)
    text = given[0].strip(OWS)
    if (quoted := _STRING.fullmatch(text)) is not None:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        raise RefusedRequest(Problem.BAD_IDEMPOTENCY_KEY)
    try:
        return checked_id(key.encode("latin-1"))
    except Malformed as error:
        raise RefusedRequest(Problem.BAD_IDEMPOTENCY_KEY, error.fault) from None
