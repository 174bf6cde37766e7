"""Arguments of the client: checks of type and range, with the argument's name in the error."""

import math
from numbers import Real

_MAX_SHOWN = 60


def require_text(name: str, value: object, meaning: str) -> None:
    """Raise ``TypeError`` unless ``value`` is text."""
    if not isinstance(value, str):
        raise wrong_type(name, f"text (str), {meaning}", value)


def require_number(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ``TypeError`` unless ``value`` is an int, ``ValueError`` for one out of range."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "a whole number (int)", value)
    if value < least or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"{least} to {most:,}"
        message = f"{name} must be {allowed}, not {value}"
        raise ValueError(message)


def require_seconds(name: str, value: object) -> None:
    """Raise ``TypeError`` unless ``value`` is a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_type(name, "a number of seconds", value)


def require_connect_seconds(seconds: float) -> None:
    """Raise unless ``seconds`` is a time to wait for a connection; 0 does not wait."""
    require_seconds("connect_seconds", seconds)
    if not (math.isfinite(seconds) and seconds >= 0):
        message = f"connect_seconds must be 0 (do not wait) or more, not {seconds}"
        raise ValueError(message)


def require_instance(name: str, value: object, kind: type, meaning: str) -> None:
    """Raise ``TypeError`` unless ``value`` is an instance of ``kind``."""
    if not isinstance(value, kind):
        raise wrong_type(name, f"{kind.__name__}, {meaning}", value)


def wrong_type(name: str, needed: str, value: object) -> TypeError:
    """Return the error for an argument that is not what it ``needed`` to be."""
    shown = ascii(value)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}..."
    return TypeError(f"{name} must be {needed}, not {type(value).__name__} ({shown})")
