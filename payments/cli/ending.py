"""How the command ends: the exit code and the last words, whatever happens to it.

``end`` runs the whole command; ``Attempt`` is for one that sends: once something may be in the log,
nothing may say that it could not be done.
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

_AGAIN = (
    "the command may still be carried out: send it again, the same one, to learn what became of it"
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
        if not error.quiet:
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
    """Show an error as click does; what it repeats of the input does not drive the terminal."""
    text = io.StringIO()
    error.show(text)
    for line in text.getvalue().splitlines():
        talk(printable(line))


class Attempt:
    """What is known of a command, or of several one after the other, when something goes wrong."""

    def __init__(self) -> None:
        self.may_be_sent = False
        """Whether one may be in the log without an answer."""

        self.answered = 0

    def begin(self) -> None:
        """Note that from now on one may be sent."""
        self.may_be_sent = True

    def answer(self) -> None:
        """Note that the last one was answered."""
        self.may_be_sent = False
        self.answered += 1

    @contextmanager
    def truthful(self) -> Iterator[None]:
        """Turn what would say "not done" into ``SendAgain`` where that could be wrong."""
        try:
            yield
        except (click.UsageError, SendAgain, OutputLost):
            raise
        except NoBroker as error:  # Of the last one, which was not sent.
            self._some_were_sent(error.message, error)
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                told = "stopped by Ctrl-C before the answer came"
            elif isinstance(error, click.ClickException):
                told = error.message
            else:
                told = f"{type(error).__name__}: {error}"
            if self.may_be_sent:
                raise SendAgain(f"{told}; {_AGAIN}") from error
            self._some_were_sent(told, error)
            raise

    def _some_were_sent(self, told: str, error: BaseException) -> None:
        if self.answered:
            raise SendAgain(f"{told}; some commands were sent before") from error
