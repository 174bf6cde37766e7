"""The end of a command: its exit code and its last line, whatever happens.

``end`` runs the whole command. ``Attempt`` is for commands that send: once something may be in the
log, no message may say that it was not done.
"""

import errno
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from payments.cli.exit_codes import STOPPED, SendAgain
from payments.cli.output import (
    OUTPUT_LOST,
    OutputLost,
    abandon,
    escape_what_is_not_encoded,
    printable,
    talk,
)
from payments.cli.user_errors import NoBroker

PAYMENT_IN_DOUBT = (
    "the command may still be carried out: send the same command again to learn its outcome"
)
ACCOUNT_IN_DOUBT = (
    "the command may still be carried out: look at the account first (payments account show "
    "ACCOUNT), and send it again only if no one else has changed it since"
)


def end(command: Callable[[], object]) -> NoReturn:
    """Run the command, and exit with its code."""
    escape_what_is_not_encoded()
    try:
        code = command()
    except click.Abort:
        talk("stopped by Ctrl-C")
        sys.exit(STOPPED)
    except OutputLost as error:
        if not error.is_silent:
            _show(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        abandon(sys.stdout)
        talk(f"Error: standard output could not be written ({error.strerror})")
        sys.exit(OUTPUT_LOST)
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: click.ClickException) -> None:
    """Show an error as click does; control characters of the input are escaped."""
    text = io.StringIO()
    error.show(text)
    for line in text.getvalue().splitlines():
        talk(printable(line))


class Attempt:
    """What was sent and answered of one command, or of several, when an error occurs."""

    def __init__(self, in_doubt: str = PAYMENT_IN_DOUBT) -> None:
        """``in_doubt`` is said of a command without an answer."""
        self._in_doubt = in_doubt
        self.may_be_sent = False
        """Whether one may be in the log without an answer."""

        self.answered = 0

    def begin(self) -> None:
        """Note that a command may be sent from now on."""
        self.may_be_sent = True

    def answer(self) -> None:
        """Note that the last command was answered."""
        self.may_be_sent = False
        self.answered += 1

    @contextmanager
    def truthful(self) -> Iterator[None]:
        """Raise ``SendAgain`` in place of an error that would wrongly mean "not done"."""
        try:
            yield
        except (click.UsageError, SendAgain, OutputLost):
            raise
        except NoBroker as error:  # The last command was not sent.
            self._some_were_sent(error.message, error)
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                cause = "stopped by Ctrl-C before the answer came"
            elif isinstance(error, click.ClickException):
                cause = error.message
            else:
                cause = f"{type(error).__name__}: {error}"
            if self.may_be_sent:
                raise SendAgain(f"{cause}; {self._in_doubt}") from error
            self._some_were_sent(cause, error)
            raise

    def _some_were_sent(self, cause: str, error: BaseException) -> None:
        if self.answered:
            raise SendAgain(f"{cause}; some commands were sent before") from error
