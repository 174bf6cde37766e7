"""Tokens: who may do what. They are kept as digests, compared in constant time, never logged.

A file of tokens gives each a name and scopes. It is read again when it changes; what can't be read
leaves the tokens as they are, and is told to the log: a slip never opens the gateway.
"""

import hashlib
import hmac
import logging
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from payments.gateway.exchange import Request
from payments.gateway.problems import Problem, Refused
from payments.gateway.settings import GatewaySettings, weak_token

logger = logging.getLogger(__name__)

READ, PAY, DEPOSIT, ADMIN = "read", "pay", "deposit", "admin"
SCOPES = (READ, PAY, DEPOSIT, ADMIN)
EVERYTHING = frozenset(SCOPES)
LOOK_SECONDS = 1.0
"""How often the file is looked at."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class TokensFileError(ValueError):
    """The file of tokens can't be read; the message says what is wrong with it, and no token."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its name, the SHA-256 of its characters, and what it may do."""

    name: str
    digest: bytes
    scopes: frozenset[str]


class Tokens:
    """The tokens of a gateway; where none are asked for, everybody is let in."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Read the file of tokens; raises ``TokensFileError``."""
        listed = [token.get_secret_value() for token in settings.tokens]
        self._listed = [
            Token(f"token-{number}", _digest(token.encode()), EVERYTHING)
            for number, token in enumerate(listed, start=1)
        ]
        self._file = settings.tokens_file
        self._needed = settings.needs_tokens
        self._version, self._next_look = _version(self._file), monotonic() + LOOK_SECONDS
        self._tokens = self._read()

    def check(self, request: Request, scopes: Sequence[str]) -> None:
        """Note whose token the request has; raise ``Refused`` without one of these scopes."""
        if not self._needed:
            return
        if self._file is not None and monotonic() >= self._next_look:
            self._look()
        given, found = _digest(_token(request)), None
        # Every token is compared, so that the time does not tell which one came close.
        for token in self._tokens:
            if hmac.compare_digest(given, token.digest):
                found = token
        needed = " or ".join(scopes)
        if found is None:
            raise Refused(
                Problem.UNAUTHORIZED,
                f"Send Authorization: Bearer TOKEN, of a token with the scope {needed}.",
                headers=((b"www-authenticate", b'Bearer realm="payments"'),),
                scope=needed,
            )
        request.token = found.name
        if ADMIN not in found.scopes and found.scopes.isdisjoint(scopes):
            challenge = f'Bearer realm="payments", error="insufficient_scope", scope="{needed}"'
            raise Refused(
                Problem.FORBIDDEN,
                f"The token {found.name} lacks the scope {needed}.",
                headers=((b"www-authenticate", challenge.encode()),),
                scope=needed,
            )

    def read_again(self) -> None:
        """Read the file of tokens again, whether it has changed or not."""
        if self._file is None:
            logger.info("there is no file of tokens to read again (PAYMENTS_GATEWAY_TOKENS_FILE)")
            return
        self._version = _version(self._file)
        try:
            self._tokens = self._read()
        except TokensFileError as error:
            logger.error("%s; the tokens that were read before stay valid", error)  # noqa: TRY400 - the message says all
        else:
            logger.info("%s was read again: %d tokens", self._file, len(self._tokens))

    def _look(self) -> None:
        self._next_look = monotonic() + LOOK_SECONDS
        if _version(self._file) != self._version:
            self.read_again()

    def _read(self) -> list[Token]:
        tokens = list(self._listed)
        if self._file is not None:
            tokens += read_tokens(self._file)
        if len({token.digest for token in tokens}) < len(tokens):
            message = f"{self._file}: one token is given twice, under two names"
            raise TokensFileError(message)
        return tokens


def read_tokens(file: Path) -> list[Token]:
    """Return the tokens of a file; raises ``TokensFileError``.

    It is TOML: a table for each name, with ``token`` or ``sha256``, and ``scopes``.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TokensFileError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TokensFileError(f"{file}: not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise TokensFileError(f"{file}: not TOML: {error}") from error
    tokens = []
    for name, table in tables.items():
        try:
            tokens.append(_token_of(name, table))
        except ValueError as error:
            raise TokensFileError(f"{file}: [{name}]: {error}") from error
    return tokens


def _token_of(name: str, table: object) -> Token:
    if not _NAME.fullmatch(name):
        raise ValueError("a name is 1 to 64 letters, digits, dots, hyphens, underscores")
    if not isinstance(table, Mapping) or not {"token", "sha256", "scopes"}.issuperset(table):
        raise ValueError("a token has token or sha256, and scopes, and nothing else")
    text, digest, scopes = table.get("token"), table.get("sha256"), table.get("scopes")
    if (text is None) == (digest is None):
        raise ValueError("give token or sha256, one of them")
    if not isinstance(scopes, list) or not scopes or not EVERYTHING.issuperset(map(str, scopes)):
        raise ValueError(f"scopes is a list of {', '.join(SCOPES)}")
    if digest is not None:
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError("sha256 has 64 hexadecimal digits")
        return Token(name, bytes.fromhex(digest), frozenset(scopes))
    if not isinstance(text, str) or weak_token(text):
        raise ValueError("a token must have 16 to 512 visible ASCII characters")
    return Token(name, _digest(text.encode()), frozenset(scopes))


def _version(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes whenever the file is written or replaced; None where there is none."""
    if file is None:
        return None
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _token(request: Request) -> bytes:
    scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    return request.headers.get(b"x-api-key", b"")


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
