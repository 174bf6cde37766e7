"""The exit codes, and the conversion of the client's errors to one line and a code.

docs/cli.md shows ``EXIT_CODES`` (``python -m tools.dev.readme`` puts it there).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from exactstage.errors import EXIT_FAIL_STOP
from payments.cli.output import OUTPUT_LOST
from payments.cli.user_errors import NO_BROKER, no_broker, plain_errors

if TYPE_CHECKING:
    from payments.client.errors import BrokersUnavailable
    from payments.settings import Settings

NOT_DONE = 3
SEND_AGAIN = 75
"""``EX_TEMPFAIL``."""

STOPPED = 130
"""As a shell reports a program that Ctrl-C ended."""

EXIT_CODES = {
    0: "Done. `worker`, `gateway`: stopped by SIGTERM or Ctrl-C, at whatever moment (143 or 130 "
    "only in the first tenths of a second, before the command has begun; 70 where a worker could "
    "not publish in time what it had decided: the next owner does).",
    1: "It could not be done, and nothing was sent; one line on standard error says why, such as a "
    "topic that is not there. `health`: not ready. `verify`: a guarantee does not hold.",
    2: "Usage error; nothing was done. `topics check`: something differs. "
    "`verify`: it could not be found out. `doctor`: a problem was found.",
    NOT_DONE: "Answered, but not carried out: declined, rejected, cancelled or lapsed before, "
    "not found, or a replay refused. Or the workers are of a later version, and this one does not "
    "know their outcome.",
    NO_BROKER: "No broker answers; nothing was sent.",
    EXIT_FAIL_STOP: "`worker`: fatal error, restart the worker; the last line of its log has the "
    "cause, and what to do first.",
    OUTPUT_LOST: "Standard output could not be written (a closed pipe, a full disk). `make` "
    "and the other commands of one payment or account were answered, and print the result on "
    "standard error.",
    SEND_AGAIN: "No answer, in time or because of Ctrl-C: the command may still be carried out. "
    "For a payment, send it again. For an account, look at the account first (`payments account "
    "show ACCOUNT`), and send it again only if no one else has changed it since.",
    STOPPED: "Ctrl-C, before anything was sent.",
}
"""Code and meaning, in Markdown."""


class SendAgain(click.ClickException):
    """The answer did not come in time."""

    exit_code = SEND_AGAIN


@contextmanager
def client_errors(settings: "Settings") -> Iterator[None]:
    """Convert errors of settings, connection and client to one line and an exit code."""
    from exactstage.errors import NotAuthorized, NoTopic
    from exactstage.kafka import Refusal
    from payments.client import errors
    from payments.dead_letters.letter import NoDeadLetter

    with plain_errors(settings):
        try:
            yield
        except errors.InvalidCommand as error:
            raise click.UsageError(str(error)) from error
        except errors.DeadlineExceeded as error:
            raise SendAgain(str(error)) from error
        except errors.BrokersUnavailable as error:
            if isinstance(error.__cause__, (NoTopic, NotAuthorized, Refusal)):
                raise click.ClickException(str(error.__cause__)) from error
            raise no_broker(settings, _why(error)) from error
        except (errors.PaymentsClientError, NoDeadLetter) as error:
            raise click.ClickException(str(error)) from error


def _why(error: "BrokersUnavailable") -> str:
    """Return the cause of a missing connection, without the addresses, which the line has."""
    from exactstage.kafka import cause_in_words

    return cause_in_words(error if error.__cause__ is None else error.__cause__)


@contextmanager
def recovery_errors(settings: "Settings") -> Iterator[None]:
    """Convert errors and refusals of a recovery command to one line and an exit code."""
    from payments.recovery.errors import RecoveryRefused

    with client_errors(settings):
        try:
            yield
        except RecoveryRefused as error:
            raise click.ClickException(str(error)) from error
