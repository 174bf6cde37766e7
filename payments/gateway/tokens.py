"""Tokens and their scopes. They are kept as digests, compared in constant time, never logged.

The file of tokens is checked every second, and read again when it changes. An invalid file leaves
the tokens as they are, and is logged once: a mistake in it never opens the gateway.
"""

import hmac
import logging
from collections.abc import Sequence

from payments.gateway.exchange import OWS, HttpRequest
from payments.gateway.problems import Problem, RefusedRequest
from payments.gateway.settings import GatewaySettings
from payments.gateway.tokens_file import (
    ADMIN,
    EVERYTHING,
    Token,
    TokensFileError,
    digest_of,
    read_tokens,
    version_of,
)

logger = logging.getLogger(__name__)

MOST_SHOWN = 20
"""Maximum number of token names in one line of the log."""


class Tokens:
    """The tokens of a gateway; without configured tokens, all requests are allowed."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Read the file of tokens; raises ``TokensFileError``, also for a file without tokens."""
        listed = [token.get_secret_value() for token in settings.tokens]
        self._listed = [
            Token(f"token-{number}", digest_of(token.encode()), EVERYTHING)
            for number, token in enumerate(listed, start=1)
        ]
        self._file = settings.tokens_file
        self._needed = settings.needs_tokens
        self._version = None if self._file is None else version_of(self._file)
        self._tokens = self._read()
        if self._needed and not self._tokens:
            message = (
                f"{self._file}: there is no token in it, so every request would be refused: add a "
                f"table [NAME] with token or sha256, and scopes (docs/http.md)"
            )
            raise TokensFileError(message)

    def check(self, request: HttpRequest, scopes: Sequence[str]) -> None:
        """Record the token's name; raise ``RefusedRequest`` without one of the scopes."""
        if not self._needed:
            return
        given, found = digest_of(_token(request)), None
        # All tokens are compared, so that the time does not depend on the matching one.
        for token in self._tokens:
            if hmac.compare_digest(given, token.digest):
                found = token
        needed = " or ".join(scopes)
        if found is None:
            raise RefusedRequest(
                Problem.UNAUTHORIZED,
                f"Send Authorization: Bearer TOKEN, of a token with the scope {needed}.",
                headers={"www-authenticate": 'Bearer realm="payments"'},
                scope=needed,
            )
        request.token = found.name
        if ADMIN not in found.scopes and found.scopes.isdisjoint(scopes):
            challenge = f'Bearer realm="payments", error="insufficient_scope", scope="{needed}"'
            raise RefusedRequest(
                Problem.FORBIDDEN,
                f"The token {found.name} lacks the scope {needed}.",
                headers={"www-authenticate": challenge},
                scope=needed,
            )

    def check_file(self) -> None:
        """Read the file of tokens again if it has changed; to be called every second."""
        if self._file is not None and version_of(self._file) != self._version:
            self.read_again()

    def read_again(self) -> None:
        """Read the file of tokens again, whether it has changed or not."""
        if self._file is None:
            logger.info("there is no file of tokens to read again (PAYMENTS_GATEWAY_TOKENS_FILE)")
            return
        self._version = version_of(self._file)
        try:
            self._tokens = self._read()
        except TokensFileError as error:
            logger.warning(
                "%s; the tokens from before (%d) stay in force", error, len(self._tokens)
            )
            return
        if not self._tokens:
            # An operator may intend it: revoking all tokens must not need a restart.
            logger.warning(
                "%s: there is no token in it any more: every request is refused until one is added",
                self._file,
            )

    def _read(self) -> list[Token]:
        """Read the file, and log the tokens in force now."""
        if self._file is None:
            return self._listed
        found = read_tokens(self._file, self._listed)
        for caution in found.cautions:
            logger.warning("%s", caution)
        tokens = [*self._listed, *found.tokens]
        if tokens:
            logger.info("tokens of %s: %s", self._file, _shown(tokens))
        return tokens


def _shown(tokens: Sequence[Token]) -> str:
    """Return names and scopes of the tokens, for the log."""
    names = [f"{one.name} ({', '.join(sorted(one.scopes))})" for one in tokens[:MOST_SHOWN]]
    more = len(tokens) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _token(request: HttpRequest) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.headers.get("x-api-key", "")
    return token.strip(OWS).encode("latin-1")
