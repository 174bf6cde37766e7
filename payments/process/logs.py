"""The log of workers and gateways on standard error: the form of its lines, and their writer.

A line is text, or with ``PAYMENTS_LOG_FORMAT=json`` one JSON object.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime

from payments.process.lines import Lines

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
FORMAT = "PAYMENTS_LOG_FORMAT"

FACTS = ("payment", "account", "command", "stage", "topic", "partition", "offset", "key")
"""Members of a line in JSON that are there where they are known, beside those of each line."""

KEYS = {"payments": "payment", "accounts": "account"}
"""What the key of a record is, by the stage that reads it."""


def configure(level: str) -> None:
    """Log to standard error from this level on (``info``); the first call decides.

    The form comes from the environment, since errors of the settings are logged too.
    """
    handler = StandardError(as_json=os.environ.get(FORMAT) == "json")
    logging.basicConfig(level=level.upper(), format=LINE, handlers=[handler])
    if handler.as_json and handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())


def say(text: str) -> bool:
    """Write the last line of a process into its log; return False where it keeps no log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, StandardError) and handler.stream is sys.stderr:
            handler.say(json_line(text, "error", logger=__name__) if handler.as_json else text)
            return True
    return False


def json_line(message: str, level: str, **members: object) -> str:
    """Return a line of JSON with the time of now."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found = {"time": time, "level": level, "message": message, **members}
    return json.dumps(found, ensure_ascii=False)


class JsonFormatter(logging.Formatter):
    """Formats a record as one object: time, level, message, logger, facts, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. A fact that is no text or number is left out."""
        members: dict[str, object] = {"logger": record.name}
        for name in FACTS:
            value = getattr(record, name, None)
            if isinstance(value, str | int):
                members[name] = value
        named = KEYS.get(str(members.get("stage")))
        if named is not None and "key" in members:
            members.setdefault(named, members["key"])
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json_line(record.getMessage(), record.levelname.lower(), **members)


class StandardError(logging.Handler):
    """Writes records as lines; without a reader they are dropped, and counted in the log.

    A worker that waited for the reader of its log would lose its partitions to another one.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__()
        self.stream = sys.stderr
        self.as_json = as_json
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
            if self.as_json:
                note = json_line(note, "warning", logger=__name__)
            if self._lines.write(note.encode() + b"\n"):
                self._reported = self._lines.dropped
            else:
                self._lines.dropped -= 1  # The note is no line of the log.
        self._lines.write(text.encode(errors="backslashreplace") + b"\n")
