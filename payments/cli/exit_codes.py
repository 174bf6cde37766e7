"""What the commands end with, and how errors of the client become one line and such a code.

docs/cli.md has the same table; a test compares the two.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from payments.user_errors import BROKER_HINT, plain_errors

if TYPE_CHECKING:
    from payments.settings import Settings

NOT_DONE = 3
"""Answered, but not with what was asked for: declined, rejected, cancelled, not found, refused."""

NO_BROKER = 69
"""No broker answers (``EX_UNAVAILABLE`` of sysexits.h); nothing was sent."""

SEND_AGAIN = 75
"""No answer in time (``EX_TEMPFAIL``): the command may still be carried out; send it again."""


class NoBroker(click.ClickException):
    """No broker answers."""

    exit_code = NO_BROKER


class SendAgain(click.ClickException):
    """The answer did not come in time, or the client is too busy."""

    exit_code = SEND_AGAIN


@contextmanager
def client_errors(settings: "Settings") -> Iterator[None]:
    """Turn what can go wrong between here and the answer into one line and an exit code."""
    from aiokafka.errors import KafkaConnectionError

    from payments.client import errors
    from payments.dead_letters.reading import NoDeadLetter
    from payments.engine.errors import FailStop

    with plain_errors(settings):
        try:
            yield
        except errors.InvalidCommand as error:
            raise click.UsageError(str(error)) from error
        except (errors.DeadlineExceeded, errors.Overloaded) as error:
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
