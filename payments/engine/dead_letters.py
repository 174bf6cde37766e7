"""Dead letters: records that could not be understood or handled, bytes untouched.

A dead letter carries the key, value and headers as received, and headers that say why, as text,
named ``__streams.errors.*`` like those of Kafka Streams (KIP-1034) with a stable reason code beside
them.
"""

import traceback

from .limits import Limits
from .log import NewRecord, Record
from .outputs import Output, size_of
from .stage import Refused, Stage

TYPE = "dead-letter"
HEADER_PREFIX = "__streams.errors."
INTERNAL_ERROR = "internal_error"
"""Reason code of a record whose handling raised: a bug of the stage."""

MISSING_POSITION = "missing_position"
"""Reason code of a record on an internal topic that no stage wrote."""


def dead_letter(
    stage: Stage, partition: int, record: Record, error: Exception, limits: Limits
) -> Output:
    """Return the dead letter for ``record``; ``error`` says why (``Refused`` has a reason code)."""
    key, value, headers = _cut(record, limits.dead_letter_bytes)
    reason = error.reason if isinstance(error, Refused) else INTERNAL_ERROR
    facts = {
        "reason": reason,
        "exception": type(error).__name__,
        "message": str(error),
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
    }
    if not isinstance(error, Refused):
        facts["stacktrace"] = "".join(traceback.format_exception(error))[-8000:]
    headers += [
        (f"{HEADER_PREFIX}{name}", text.encode(errors="replace")) for name, text in facts.items()
    ]
    return Output(
        stage.dead_letters, partition, key, value, f"{stage.name}.{TYPE}", record.timestamp, headers
    )


def _cut(record: Record, limit: int) -> NewRecord:
    """Return key, value and headers as received, unless the journal could not hold them.

    Only a compressed batch can bring a record over the limit. Its value is cut, its headers are
    left out, and a header says how large the value was; the rest is where the others say.
    """
    key, value, headers = record.key, record.value, record.headers
    if size_of(key, value, headers) <= limit:
        return key, value, list(headers)
    size = b"%d" % len(value or b"")
    value = None if value is None else value[: limit // 2]
    return key and key[: limit // 8], value, [(f"{HEADER_PREFIX}value.bytes", size)]
