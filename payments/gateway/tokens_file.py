"""The file of tokens: TOML, a table for each name, with ``token`` or ``sha256``, and ``scopes``.

An error names the file, the line if it is known, and what to write instead; no message has a token.
"""

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from payments.gateway.settings import weak_token

READ, PAY, DEPOSIT, REFUND = "read", "pay", "deposit", "refund"
ACCOUNTS, ADMIN = "accounts", "admin"
SCOPES = (READ, PAY, DEPOSIT, REFUND, ACCOUNTS, ADMIN)
EVERYTHING = frozenset(SCOPES)
MAX_BYTES = 1_048_576
"""Maximum size of the file: enough for thousands of tokens."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_FIELDS = {"token", "sha256", "scopes"}
_AT_END = " (at end of document)"
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class TokensFileError(ValueError):
    """The file of tokens can't be used; the message has the fault, and no token."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its name, the SHA-256 of its characters, and its scopes."""

    name: str
    digest: bytes
    scopes: frozenset[str]


class TokensFile(NamedTuple):
    """Content of the file: the tokens, and cautions about its permissions for the log."""

    tokens: Sequence[Token]
    cautions: Sequence[str]


Version = tuple[int, int, int, int]


def version_of(file: Path) -> Version | None:
    """Return a value that changes when the file is written, replaced or gets another owner.

    None when there is no file.
    """
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def read_tokens(file: Path, others: Sequence[Token] = ()) -> TokensFile:
    """Return the tokens of a file; raises ``TokensFileError``.

    ``others`` are valid too: no two tokens may have one name, or be the same.
    """
    content, found = _content(file)
    text = _text(file, content)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why, line = _fault_and_line(error, text)
        raise _wrong(file, f"not TOML: {why}", line) from None
    except RecursionError:
        raise _wrong(file, "not TOML: nested too deeply") from None
    tokens: list[Token] = []
    names, taken = {one.digest: one.name for one in others}, {one.name for one in others}
    for name, table in tables.items():
        try:
            tokens.append(_token_of(name, table, names, taken))
        except ValueError as error:
            raise _wrong(file, f"[{name}]: {error}", _line_of(name, text)) from None
    plain = any("token" in table for table in tables.values())
    return TokensFile(tokens, [f"{file}: {caution}" for caution in _cautions(found, plain=plain)])


def digest_of(token: bytes) -> bytes:
    """Return the digest that is kept instead of a token."""
    return hashlib.sha256(token).digest()


def _wrong(file: Path, why: str, line: int | None = None) -> TokensFileError:
    return TokensFileError(f"{file}: {why}" if line is None else f"{file}, line {line}: {why}")


def _content(file: Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file: a pipe or a device would never end."""
    try:
        found = file.stat()
        if stat.S_ISDIR(found.st_mode):
            raise _wrong(file, "it is a directory: name a file (PAYMENTS_GATEWAY_TOKENS_FILE)")
        if not stat.S_ISREG(found.st_mode):
            raise _wrong(file, "no regular file, which could be read again when it changes")
        if found.st_size > MAX_BYTES:
            raise _wrong(file, f"more than {MAX_BYTES:,} bytes: is it a file of tokens?")
        return file.read_bytes(), found
    except PermissionError:
        why = f"this process, of user {os.geteuid()}, may not read it: chown or chmod it"
        raise _wrong(file, f"Permission denied: {why}") from None
    except FileNotFoundError:
        why = "No such file or directory (PAYMENTS_GATEWAY_TOKENS_FILE)"
        raise _wrong(file, why) from None
    except OSError as error:
        raise _wrong(file, str(error.strerror)) from None


def _text(file: Path, content: bytes) -> str:
    """Return the text, with or without a byte order mark and with any line ends."""
    if content.startswith(_UTF_16):
        raise _wrong(file, "not UTF-8 but UTF-16, as some editors save by default: save it again")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong(file, "not UTF-8: save it as UTF-8", line) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _token_of(name: str, table: object, names: dict[bytes, str], taken: set[str]) -> Token:
    """Return the token of a table, and add it to ``names``; raises ``ValueError`` with the rule."""
    digest, scopes = _fields_of(name, table)
    if name in taken:
        raise ValueError("a token of PAYMENTS_GATEWAY_TOKENS has this name")
    if digest in names:
        raise ValueError(f"the same token as [{names[digest]}]: each name has its own")
    names[digest] = name
    return Token(name, digest, scopes)


def _fields_of(name: str, table: object) -> tuple[bytes, frozenset[str]]:
    if not _NAME.fullmatch(name):
        raise ValueError("a name is 1 to 64 letters, digits, dots, hyphens, underscores")
    if not isinstance(table, Mapping) or not _FIELDS.issuperset(table):
        raise ValueError("a token has token or sha256, and scopes, and nothing else")
    text, digest, scopes = table.get("token"), table.get("sha256"), table.get("scopes")
    if (text is None) == (digest is None):
        raise ValueError("give token or sha256, one of them")
    if not isinstance(scopes, list) or not scopes:
        raise ValueError(f"scopes is a list of {', '.join(SCOPES)}")
    for scope in scopes:
        if not isinstance(scope, str) or scope not in EVERYTHING:
            raise ValueError(
                f"there is no scope {scope!r}: scopes is a list of {', '.join(SCOPES)}"
            )
    if digest is not None:
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError("sha256 has 64 hexadecimal digits")
        return bytes.fromhex(digest), frozenset(scopes)
    if not isinstance(text, str) or weak_token(text):
        raise ValueError("a token must have 16 to 512 visible ASCII characters")
    return digest_of(text.encode()), frozenset(scopes)


def _fault_and_line(error: tomllib.TOMLDecodeError, text: str) -> tuple[str, int | None]:
    """Return the fault, and its line if it is known."""
    why = str(error)
    if why.endswith(_AT_END):
        return why.removesuffix(_AT_END), text.rstrip().count("\n") + 1
    found = _AT_LINE.search(why)
    return (why, None) if found is None else (why[: found.start()], int(found[1]))


def _line_of(name: str, text: str) -> int | None:
    """Return the line where a name's table begins, in any form that TOML allows."""
    written = rf"""^[ \t]*(?:\[[ \t]*)?(["']?){re.escape(name)}\1[ \t]*[].=]"""
    found = re.search(written, text, re.MULTILINE)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def _cautions(found: os.stat_result, *, plain: bool) -> list[str]:
    """Return which other users may change the tokens, or read them."""
    cautions = []
    if found.st_mode & stat.S_IWOTH:
        cautions.append("every user of this machine may change it, and so add tokens: chmod o-w")
    if found.st_uid not in {0, os.geteuid()}:
        cautions.append(f"its owner, user {found.st_uid}, may change it, and so add tokens: chown")
    if plain and found.st_mode & stat.S_IROTH:
        cautions.append(
            "every user of this machine may read the tokens in it: chmod o-r, or write sha256 "
            "instead of token"
        )
    return cautions
