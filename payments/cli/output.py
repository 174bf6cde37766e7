"""Prints data on standard output, messages on standard error, with colors where they are wanted.

No text fails to print or controls the terminal: characters that the encoding lacks, control
characters and those that reverse the direction of writing are escaped.
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
    """Standard output could not be written; the message may have the answer instead."""

    exit_code = OUTPUT_LOST

    def __init__(self, problem: str, *, answer: str | None = None, is_silent: bool = False) -> None:
        lost = "it is not complete" if answer is None else f"the answer was: {answer}"
        super().__init__(f"standard output could not be written ({problem}); {lost}")
        self.problem, self.is_silent = problem, is_silent


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
        # A reader that closes the pipe has what it wants: ``payments dead-letters list | head``.
        with lost_pipe():
            click.echo(text, nl=newline)
    except (OSError, ValueError) as error:
        abandon(sys.stdout)
        raise OutputLost(getattr(error, "strerror", None) or str(error)) from error


@contextmanager
def lost_pipe() -> Iterator[None]:
    """Raise ``OutputLost`` where click prints its own texts, such as help, on a closed pipe.

    click's own handling depends on its version.
    """
    try:
        yield
    except BrokenPipeError as error:
        abandon(sys.stdout)
        raise OutputLost("the pipe is closed", is_silent=True) from error


def talk(text: str) -> None:
    """Print on standard error; where that can't be written, the text is dropped.

    A process that keeps a log there does not wait for its reader either: a worker with a fatal
    error must end, so that it is restarted.
    """
    if sys.stderr is not None and not logs.say(text):
        try:
            click.echo(text, err=True)
        except (OSError, ValueError):
            abandon(sys.stderr)


def abandon(stream: TextIO | None) -> None:
    """Discard the buffer: writing it at exit would fail again and change the exit code."""
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
    """Return JSON without characters that control a terminal: JSON's own escapes replace them."""
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
    """Return text in a color; plain with ``NO_COLOR``, and where click finds no terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)


def printable(value: bytes | str | None, limit: int | None = None) -> str:
    r"""Return text without characters that control a terminal: they are escaped, as ``\x1b``."""
    if value is None:
        return "null"
    text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 3]}..."
