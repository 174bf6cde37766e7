"""Errors of settings, files and connections, as one line with a hint instead of a traceback."""

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic import ValidationError

    from payments.settings import Settings

SECRETS = re.compile(r"(password|secret|tokens|endpoint)$")
"""Names of fields whose values are never shown; an address may have a password in it."""


NO_BROKER = 69
"""``EX_UNAVAILABLE`` of sysexits.h."""


class NoBroker(click.ClickException):
    """No broker answers."""

    exit_code = NO_BROKER


class ClusterDiffers(click.ClickException):
    """The cluster differs from the file, which ``check`` reports with an exit code of its own."""

    exit_code = 2


def load_settings(*, to_log: bool = False, **given: Any) -> "Settings":
    """Read the settings from the environment; ``given`` values win over it.

    With ``to_log`` standard error is a log, so warnings have the form of its lines.
    """
    from pydantic import ValidationError

    from payments.environment import warn_of_unknown
    from payments.settings import Settings

    warn_of_unknown(to_log=to_log)
    try:
        return Settings(**given)
    except ValidationError as error:
        raise click.ClickException(settings_problems(error)) from error


def settings_problems(error: "ValidationError", prefix: str = "PAYMENTS_") -> str:
    """Return the faults of settings, by the names of their variables."""
    parts = []
    for problem in error.errors():
        rule = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            parts.append(rule)
            continue
        field = str(problem["loc"][0])
        value = "" if SECRETS.search(field) else f"={problem['input']}"
        parts.append(f"{prefix}{field.upper()}{value}: {rule}{_hint(problem['input'])}")
    return "; ".join(parts)


def _hint(value: object) -> str:
    """Return the likely cause of such a value; empty where that is not known."""
    if isinstance(value, str) and value.startswith("tcp://"):
        return (
            " (Kubernetes sets such variables for a service of this name: "
            "enableServiceLinks: false in the pod's specification)"
        )
    return ""


def silence_client_logs() -> None:
    """Raise the log levels until the command ends.

    Retries are not shown; the command reports the final failure once.
    """
    context = click.get_current_context()
    for name, level in (
        ("aiokafka", logging.CRITICAL),
        ("payments", logging.ERROR),
        ("exactstage", logging.ERROR),
    ):
        log = logging.getLogger(name)
        context.call_on_close(partial(log.setLevel, log.level))
        log.setLevel(level)


BROKER_HINT = (
    "is it running? Its address is PAYMENTS_BROKERS; a secured one needs "
    "PAYMENTS_SECURITY_PROTOCOL too"
)


def no_broker(settings: "Settings", why: str) -> NoBroker:
    """Return the error for brokers that do not answer; ``why`` is the diagnosis."""
    return NoBroker(f"no Kafka broker answers at {settings.brokers} ({why}): {BROKER_HINT}")


@contextmanager
def plain_errors(settings: "Settings") -> Iterator[None]:
    """Convert errors that a user can correct to one line on standard error and an exit code."""
    from aiokafka.errors import KafkaConnectionError, KafkaError

    from exactstage import FailStop
    from exactstage.kafka import error_in_words
    from payments.settings import SettingsError
    from payments.topics.cluster import TopicsError
    from payments.topics.file import TopicsFileError

    try:
        yield
    except (SettingsError, TopicsFileError, TopicsError) as error:
        raise click.ClickException(str(error)) from error
    except (KafkaConnectionError, TimeoutError) as error:
        raise no_broker(settings, error_in_words(error)) from error
    except FailStop as error:
        if isinstance(error.__cause__, KafkaConnectionError):
            raise no_broker(settings, error_in_words(error.__cause__)) from error
        raise click.ClickException(str(error)) from error
    except KafkaError as error:
        if "AuthorizationFailed" in type(error).__name__:
            message = (
                f"not authorized: the broker at {settings.brokers} refuses this user "
                f"({type(error).__name__}): payments doctor --role ROLE names the right and the "
                f"command that grants it; docs/security.md has all roles"
            )
            raise click.ClickException(message) from error
        message = f"the broker at {settings.brokers} refuses: {type(error).__name__}: {error}"
        raise click.ClickException(message) from error
    except (ssl.SSLError, FileNotFoundError, PermissionError) as error:
        message = f"{error}: check PAYMENTS_SSL_CAFILE, PAYMENTS_SSL_CERTFILE, PAYMENTS_SSL_KEYFILE"
        raise click.ClickException(message) from error
