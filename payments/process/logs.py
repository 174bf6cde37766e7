"""The log of workers and gateways on standard error: the form of its lines, and their writer."""

import logging
import sys

from payments.process.lines import Lines

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Log to standard error from this level on (``info``); the first call decides."""
    logging.basicConfig(level=level.upper(), format=LINE, handlers=[StandardError()])


def say(text: str) -> bool:
    """Write the last line of a process into its log; return False where it keeps no log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, StandardError) and handler.stream is sys.stderr:
            handler.say(text)
            return True
    return False


class StandardError(logging.Handler):
    """Writes records as lines; without a reader they are dropped, and counted in the log.

    A worker that waited for the reader of its log would lose its partitions to another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stream = sys.stderr
        self._lines = Lines(self.stream)
        self._reported = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, after how many were dropped before it."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a faulty logging call must not fail its caller
            self.handleError(record)
            return
        self.say(text)

    def say(self, text: str) -> None:
        """Write a line of text."""
        missing = self._lines.dropped - self._reported
        if missing:
            note = f"({missing} lines are missing here: standard error took nothing)"
            if self._lines.write(note.encode() + b"\n"):
                self._reported = self._lines.dropped
            else:
                self._lines.dropped -= 1  # The note is no line of the log.
        self._lines.write(text.encode(errors="backslashreplace") + b"\n")
