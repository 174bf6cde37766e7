"""Bearer tokens and API keys: who may use the API, compared in constant time, never logged."""

import hashlib
import hmac
from collections.abc import Iterable

from pydantic import SecretStr

from payments.gateway.exchange import Request
from payments.gateway.problems import Problem, Refused

CHALLENGE = ((b"www-authenticate", b'Bearer realm="payments"'),)


class Tokens:
    """The tokens of an installation, kept as digests; without any, everybody is let in."""

    def __init__(self, tokens: Iterable[SecretStr]) -> None:
        self._digests = [_digest(token.get_secret_value().encode()) for token in tokens]

    def check(self, request: Request) -> None:
        """Raise ``Refused`` unless the request has a token of the list."""
        if not self._digests:
            return
        given = _digest(_token(request))
        # Every token is compared, so that the time does not tell which one came close.
        matches = [hmac.compare_digest(given, known) for known in self._digests]
        if not any(matches):
            raise Refused(Problem.UNAUTHORIZED, headers=CHALLENGE)


def _token(request: Request) -> bytes:
    scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    return request.headers.get(b"x-api-key", b"")


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
