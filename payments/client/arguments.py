"""Arguments of the client: checks of type and range, with the argument's name in the error."""

import math
from collections.abc import Sequence
from numbers import Real

from exactstage import Header
from exactstage.log import NO_HEADERS
from payments.client.errors import InvalidCommand
from payments.domain.results import Reason

MAX_SECONDS = 86_400.0
SECONDS = "a number of seconds"


def require_text(name: str, value: object, meaning: str) -> None:
    """Raise ``TypeError`` unless ``value`` is text."""
    if not isinstance(value, str):
        raise _wrong_type(name, f"text (str), {meaning}", value)


def require_number(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ``TypeError`` unless ``value`` is an int, ``ValueError`` for one out of range."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, "a whole number (int)", value)
    if value < least or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"{least} to {most:,}"
        message = f"{name} must be {allowed}, not {value}"
        raise ValueError(message)


def require_deadline(seconds: float, name: str = "deadline_seconds") -> None:
    """Raise ``TypeError`` or ``ValueError`` unless ``seconds`` is a deadline."""
    _require_number_of_seconds(name, seconds)
    if not 0 < seconds <= MAX_SECONDS:  # Refuses NaN too.
        message = f"{name} must be over 0 and at most {MAX_SECONDS:.0f}, not {seconds}"
        raise ValueError(message)


def require_result_seconds(seconds: float | None) -> None:
    """Raise unless ``seconds`` is None (the same as the deadline) or a time to wait."""
    if seconds is not None:
        require_deadline(seconds, "result_seconds")


def require_connect_seconds(seconds: float) -> None:
    """Raise unless ``seconds`` is a time to wait for a connection; 0 does not wait."""
    _require_number_of_seconds("connect_seconds", seconds)
    if not (math.isfinite(seconds) and seconds >= 0):
        message = f"connect_seconds must be 0 (do not wait) or more, not {seconds}"
        raise ValueError(message)


def require_instance(name: str, value: object, kind: type, meaning: str) -> None:
    """Raise ``TypeError`` unless ``value`` is an instance of ``kind``."""
    if not isinstance(value, kind):
        raise _wrong_type(name, f"{kind.__name__}, {meaning}", value)


def checked_headers(headers: object) -> list[Header]:
    """Return headers in the form of a record's.

    Raises ``TypeError``, and ``InvalidCommand`` for a name that can't be encoded as UTF-8.
    """
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Sequence):
        raise _wrong_type("headers", _HEADERS, headers)
    if not headers:
        return NO_HEADERS
    found: list[Header] = []
    for number, header in enumerate(headers):
        if not isinstance(header, (tuple, list)) or len(header) != len(("name", "value")):
            raise _wrong_type(f"headers[{number}]", "a pair of a name and a value", header)
        name, value = header
        if not isinstance(name, str):
            raise _wrong_type(f"the name of headers[{number}]", "text (str)", name)
        if value is not None and not isinstance(value, bytes):
            raise _wrong_type(f"the value of headers[{number}] ({name!a})", "bytes", value)
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                message = f"the name of headers[{number}] is not Unicode text: {name!a}"
                raise InvalidCommand("headers", message, Reason.NOT_UTF8) from None
        found.append((name, value))
    return found


_HEADERS = "a list of pairs of a name (str) and a value (bytes), such as [('trace', b'1')]"


def _require_number_of_seconds(name: str, value: object) -> None:
    # Checked first because every call has one, usually a float.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise _wrong_type(name, SECONDS, value)


def _wrong_type(name: str, needed: str, value: object) -> TypeError:
    shown = ascii(value)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}..."
    return TypeError(f"{name} must be {needed}, not {type(value).__name__} ({shown})")


_MAX_SHOWN = 60
