"""Tokens for SASL/OAUTHBEARER: from a token endpoint, or from a provider of the user's own.

RFC 6749, section 4.4 (client credentials), and RFC 7628 (the mechanism). A token is asked for once
and kept for four fifths of its life, so that a new connection never brings one that has expired.
"""

import asyncio
import base64
import importlib
import json
import ssl
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

from exactstage.kafka import OUTAGE

ATTEMPT_SECONDS = 5.0
PAUSES_SECONDS = (0.2, 0.5)
"""Between attempts; after the last one, the connection that needs the token is retried."""

KEPT_SHARE = 0.8
"""The part of its life for which a token is used."""

LATER_SECONDS = 10.0
"""Time after which the renewal of a token that is still valid is tried again."""

DEFAULT_LIFE_SECONDS = 300.0
"""Life of a token without ``expires_in``, which RFC 6749 only recommends."""

MAX_ANSWER_BYTES = 65_536
REFUSED_STATUS = range(400, 500)
TOO_MANY_REQUESTS = 429


class _NoRedirect(HTTPRedirectHandler):
    """The client's secret goes to the address of the settings and nowhere else."""

    def redirect_request(  # noqa: PLR0917 - the signature of the standard library
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none: the redirect is an error."""


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """Tokens of an OIDC provider or OAuth 2 server, by client id and secret.

    ``token`` raises ``AuthenticationFailedError`` where the endpoint refuses the client, and
    ``KafkaConnectionError`` where it does not answer; neither names the secret or a token.
    """

    def __init__(
        self,
        endpoint: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        cafile: Path | None = None,
    ) -> None:
        self._endpoint = endpoint
        form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        identity = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        self._request = Request(  # noqa: S310 - the settings allow http and https only
            endpoint,
            data=urlencode(form).encode(),
            headers={
                "Authorization": f"Basic {base64.b64encode(identity.encode()).decode()}",
                "Accept": "application/json",
            },
        )
        context = ssl.create_default_context(cafile=cafile)
        self._opener = build_opener(_NoRedirect, HTTPSHandler(context=context))
        # Of threads, since Faust's consumer has an event loop of its own.
        self._lock = threading.Lock()
        self._token, self._good_until, self._expires = "", 0.0, 0.0

    async def token(self) -> str:
        """Return a token that has not expired."""
        return await asyncio.to_thread(self._current)

    def _current(self) -> str:
        with self._lock:
            if time.monotonic() >= self._good_until:
                asked = time.monotonic()
                try:
                    self._token, life_seconds = self._parse(self._ask())
                except KafkaConnectionError as error:
                    self._keep_valid_token(error)
                else:
                    self._good_until = asked + life_seconds * KEPT_SHARE
                    self._expires = asked + life_seconds
            return self._token

    def _keep_valid_token(self, error: KafkaConnectionError) -> None:
        """Keep a token that is valid while its endpoint is away. Raises the error without one."""
        left = self._expires - time.monotonic()
        if left <= 0:
            OUTAGE.say(f"no connection to the brokers can be made: {error}")
            raise error
        OUTAGE.say(f"{error}; the last one is valid for {left:.0f} s more")
        self._good_until = time.monotonic() + min(left, LATER_SECONDS)

    def _ask(self) -> bytes:
        for pause in (*PAUSES_SECONDS, None):
            try:
                with self._opener.open(self._request, timeout=ATTEMPT_SECONDS) as answer:
                    return bytes(answer.read(MAX_ANSWER_BYTES))
            except HTTPError as error:
                reason = f"status {error.code}{_error_code(error.read(MAX_ANSWER_BYTES))}"
                if error.code in REFUSED_STATUS and error.code != TOO_MANY_REQUESTS:
                    raise self._refused(reason) from None
            except (OSError, HTTPException) as error:
                cause = error.reason if isinstance(error, URLError) else error
                if isinstance(cause, ssl.SSLCertVerificationError):
                    message = f"its certificate is not trusted: {cause.verify_message}"
                    raise self._refused(message) from None
                reason = str(cause)
            if pause is not None:
                time.sleep(pause)
        message = f"the token endpoint {self._endpoint} gives no token ({reason})"
        raise KafkaConnectionError(message)

    def _parse(self, answer: bytes) -> tuple[str, float]:
        """Return the token and its life in seconds."""
        try:
            document = json.loads(answer)
        except ValueError:
            document = None
        if not isinstance(document, Mapping):
            raise self._refused("its answer is no JSON object")
        token, life = document.get("access_token"), document.get("expires_in", DEFAULT_LIFE_SECONDS)
        if not isinstance(token, str) or not token or not token.isascii():
            raise self._refused("its answer has no access_token")
        try:
            return token, max(float(life), 0.0)
        except (TypeError, ValueError):
            raise self._refused("expires_in of its answer is no number") from None

    def _refused(self, reason: str) -> AuthenticationFailedError:
        return AuthenticationFailedError(
            f"the token endpoint {self._endpoint} refuses: {reason}; see the settings "
            f"PAYMENTS_SASL_OAUTH_*"
        )


def _error_code(body: bytes) -> str:
    """Return the error code of RFC 6749, section 5.2, such as ``invalid_client``."""
    try:
        code = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return ""
    return f", {code[:100]}" if isinstance(code, str) and code.isprintable() else ""


def load_provider(path: str) -> AbstractTokenProvider:
    """Return the provider that ``module:name`` names: an object, or a callable that returns one.

    Raises ``ValueError`` with the reason when there is none.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path} can't be loaded: {error}") from error
    provider = found if isinstance(found, AbstractTokenProvider) else found()
    if not isinstance(provider, AbstractTokenProvider):
        message = f"{path} gives a {type(provider).__name__}, not an AbstractTokenProvider"
        raise ValueError(message)  # noqa: TRY004 - a wrong setting, as above
    return provider
