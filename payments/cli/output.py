"""How commands print: data on standard output, talk on standard error, colors where welcome.

Whatever the terminal and the data are, nothing that is printed fails or drives the terminal: what
the encoding lacks, control characters and those that turn the direction of writing are escaped.
"""

import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

import click

from payments.process import logs

OUTPUT_LOST = 74
"""``EX_IOERR`` of sysexits.h."""

_NOT_SHOWN = re.compile(r"[^\x20-\x7e\n]")


class OutputLost(click.ClickException):
    """Standard output could not be written; what it should have had may be in the message."""

    exit_code = OUTPUT_LOST

    def __init__(self, problem: str, *, answer: str | None = None, quiet: bool = False) -> None:
        told = "what is there is not whole" if answer is None else f"the answer was: {answer}"
        super().__init__(f"standard output could not be written ({problem}); {told}")
        self.problem, self.quiet = problem, quiet


def escape_what_is_not_encoded() -> None:
    r"""Let standard output and error print what their encoding lacks as ``\xe9``, not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(text: str, *, newline: bool = True) -> None:
    """Print data. Raises ``OutputLost`` where it can't be written, as on a closed pipe."""
    if sys.stdout is None:
        raise OutputLost("it is closed")
    try:
        # Whoever closed the pipe has read what he wanted: ``payments dead-letters list | head``.
        with lost_pipe():
            click.echo(text, nl=newline)
    except (OSError, ValueError) as error:
        abandon(sys.stdout)
        raise OutputLost(getattr(error, "strerror", None) or str(error)) from error


@contextmanager
def lost_pipe() -> Iterator[None]:
    """Raise ``OutputLost`` where click prints its own texts, such as help, on a closed pipe.

    What click does about it changes from version to version.
    """
    try:
        yield
    except BrokenPipeError as error:
        abandon(sys.stdout)
        raise OutputLost("the pipe is closed", quiet=True) from error


def talk(text: str) -> None:
    """Print on standard error; where that can't be written, nothing is said.

    Nor does a process that keeps a log there wait for its reader: a worker that can't go on must
    end, so that it is started again.
    """
    if sys.stderr is not None and not logs.say(text):
        try:
            click.echo(text, err=True)
        except (OSError, ValueError):
            abandon(sys.stderr)


def abandon(stream: TextIO | None) -> None:
    """Let what is buffered go nowhere: tried again at exit, it would change the exit code."""
    if stream is not None:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def show_json(value: Mapping[str, object]) -> None:
    """Print one object on a line of its own."""
    show(json_text(value))


def is_utf8() -> bool:
    """Return whether standard output takes every character."""
    return "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return JSON that any terminal shows and none obeys: the rest is escaped as JSON does."""
    text = json.dumps(value, indent=indent, ensure_ascii=not is_utf8())
    # Between strings JSON has none of these, and in them they may be escaped.
    return _NOT_SHOWN.sub(lambda found: _json_escape(found[0]), text)


def _json_escape(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; without rows, nothing."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        show("  ".join(cells).rstrip())


def colored(text: str, color: str) -> str:
    """Return text in a color; ``NO_COLOR`` leaves it plain, and click does where no terminal is."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)


def printable(value: bytes | str | None, limit: int | None = None) -> str:
    r"""Return text that a terminal shows and does not obey: the rest is escaped, as ``\x1b``."""
    if value is None:
        return "null"
    text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 3]}..."
