"""Facts of log lines: where the record is that a line is about, for logs that are read by programs.

They are attributes of the ``logging.LogRecord`` (``extra``); a line of text is the same without.
"""

from collections.abc import Mapping

from .record import Record

_MOST_CHARACTERS = 300


def facts_of(record: Record, stage: str) -> Mapping[str, object]:
    """Return the facts of a line about a record, which a stage handles."""
    key = (record.key or b"").decode(errors="backslashreplace")
    return {
        "stage": stage,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": key[:_MOST_CHARACTERS],
    }
