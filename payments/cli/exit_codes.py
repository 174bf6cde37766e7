"""What the commands end with, and how errors of the client become one line and such a code.

docs/cli.md shows ``EXIT_CODES`` (``python -m dev.readme`` puts it there).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from payments.engine.errors import EXIT_FAIL_STOP
from payments.user_errors import BROKER_HINT, plain_errors

if TYPE_CHECKING:
    from payments.settings import Settings

NOT_DONE = 3
NO_BROKER = 69
"""``EX_UNAVAILABLE`` of sysexits.h."""

SEND_AGAIN = 75
"""``EX_TEMPFAIL``."""

EXIT_CODES = {
    0: "Done.",
    1: "It could not be done; one line on standard error says why. `health`: not ready. "
    "`topics`: no broker answers, too. `verify`: a guarantee does not hold.",
    2: "Not called as it should be; nothing was done. `topics check`: something differs. "
    "`verify`: it could not be found out.",
    NOT_DONE: "Answered, but not with what was asked for: declined, rejected, cancelled before, "
    "not found, or a replay refused.",
    NO_BROKER: "No broker answers; nothing was sent.",
    EXIT_FAIL_STOP: "`worker`: it could not go on, and shall be started again.",
    SEND_AGAIN: "No answer in time: the command may still be carried out. Send it again.",
}
"""Code and meaning, in Markdown."""


class NoBroker(click.ClickException):
    """No broker answers."""

    exit_code = NO_BROKER


class SendAgain(click.ClickException):
    """The answer did not come in time."""

    exit_code = SEND_AGAIN


@contextmanager
def client_errors(settings: "Settings") -> Iterator[None]:
    """Turn what can go wrong between here and the answer into one line and an exit code."""
    from aiokafka.errors import KafkaConnectionError

    from payments.client import errors
    from payments.dead_letters.letter import NoDeadLetter
    from payments.engine.errors import FailStop

    with plain_errors(settings):
        try:
            yield
        except errors.InvalidCommand as error:
            raise click.UsageError(str(error)) from error
        except errors.DeadlineExceeded as error:
            raise SendAgain(str(error)) from error
        except errors.BrokersUnavailable as error:
            message = f"no Kafka broker answers at {settings.brokers} ({error}): {BROKER_HINT}"
            raise NoBroker(message) from error
        except (errors.PaymentsClientError, NoDeadLetter) as error:
            raise click.ClickException(str(error)) from error
        except KafkaConnectionError as error:
            message = f"no Kafka broker answers at {settings.brokers}: {BROKER_HINT}"
            raise NoBroker(message) from error
        except FailStop as error:
            if isinstance(error.__cause__, KafkaConnectionError):
                message = f"no Kafka broker answers at {settings.brokers}: {BROKER_HINT}"
                raise NoBroker(message) from error
            raise click.ClickException(str(error)) from error


@contextmanager
def recovery_errors(settings: "Settings") -> Iterator[None]:
    """Turn what a recovery command refuses, or can't do, into one line and an exit code."""
    from payments.recovery.errors import RecoveryRefused

    with client_errors(settings):
        try:
            yield
        except RecoveryRefused as error:
            raise click.ClickException(str(error)) from error
