"""Advice: how errors name the settings and the commands of the application around the engine."""

_NAMES = {"program": "the application's command", "prefix": ""}


def name_program(*, program: str, prefix: str) -> None:
    """Name commands by this program, and settings with this prefix, such as ``SHOP_``."""
    _NAMES.update(program=program, prefix=prefix)


def command(text: str) -> str:
    """Return how an operator calls a command, such as ``journal inspect``."""
    return f"{_NAMES['program']} {text}"


def setting(name: str) -> str:
    """Return the name of a setting as an operator knows it, such as ``APP_ID``."""
    return f"{_NAMES['prefix']}{name}"
