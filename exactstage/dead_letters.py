"""Dead letters: records that could not be understood or handled, bytes untouched.

A dead letter carries the key, value and headers as received, and headers that say why, as text,
named ``__streams.errors.*`` like those of Kafka Streams (KIP-1034) with a stable reason code beside
them.
"""

import traceback
from typing import NamedTuple

from .errors import UnreadableBatch
from .limits import Limits
from .log import Header, NewRecord, Record
from .outputs import INSTALLATION, OUTPUT_ID_HEADER, Output, size_of
from .stage import Refused, Stage

DEAD_LETTER_TYPE = "dead-letter"
HEADER_PREFIX = "__streams.errors."
INTERNAL_ERROR = "internal_error"
"""Reason code of a record whose handling raised: a bug of the stage."""

MISSING_POSITION = "missing_position"
"""Reason code of a record on an internal topic that no stage wrote."""

FOREIGN_RECORD = "foreign_record"
"""Reason code of a record on an internal topic that looks like a message, but was sent by no worker
of this installation."""

TOO_LARGE = "too_large"
"""Reason code of a record on a wrong partition that is too large to be forwarded."""


def reason_of(error: Exception) -> str:
    """Return the reason code of a record that met this error."""
    return error.reason if isinstance(error, Refused) else INTERNAL_ERROR


def dead_letter(
    stage: Stage, partition: int, record: Record, error: Exception, limits: Limits
) -> Output:
    """Return the dead letter for ``record``; ``error`` says why (``Refused`` has a reason code)."""
    key, value, headers = _truncated(record, limits.dead_letter_bytes)
    facts = {
        "reason": reason_of(error),
        "exception": type(error).__name__,
        "message": str(error),
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
    }
    if not isinstance(error, Refused):
        facts[_STACKTRACE] = "".join(traceback.format_exception(error))[-8000:]
    headers += [
        (f"{HEADER_PREFIX}{name}", text.encode(errors="replace")) for name, text in facts.items()
    ]
    return Output(
        stage.dead_letters,
        partition,
        key,
        value,
        f"{stage.name}.{DEAD_LETTER_TYPE}",
        record.timestamp,
        headers,
    )


def refusal_of(batch: UnreadableBatch) -> Refused:
    """Return why each record of a batch that can't be read is refused."""
    return Refused(batch.reason, f"its batch can't be read: {batch.cause}")


def batch_letter(
    stage: Stage, partition: int, batch: UnreadableBatch, limits: Limits, *, unanswered: int
) -> Output:
    """Return the dead letter for a whole batch: its bytes as they are in the log, without a key.

    ``unanswered`` of its records, the last ones, could not be distinguished.
    """
    first = Record(
        topic=batch.topic,
        partition=batch.partition,
        offset=batch.offset,
        timestamp=batch.timestamp,
        key=None,
        value=batch.data,
        headers=(),
    )
    letter = dead_letter(stage, partition, first, Refused(batch.reason, batch.cause), limits)
    # The last one stays the last: by it versions before know the letter of a batch.
    rest = (f"{HEADER_PREFIX}{UNANSWERED}", b"%d" % unanswered)
    last = (f"{HEADER_PREFIX}{LAST_OFFSET}", b"%d" % batch.last_offset)
    return letter._replace(headers=[rest, *letter.headers, last])


_FACTS = ("reason", "exception", "message", "topic", "partition", "offset")
_VALUE_BYTES, _STACKTRACE, LAST_OFFSET = "value.bytes", "stacktrace", "last.offset"
UNANSWERED = "unanswered"


class Unpacked(NamedTuple):
    """A dead letter as it was received, and why it is one."""

    headers: list[Header]
    facts: dict[str, str]
    """By name without the prefix: those of ``dead_letter``, ``value.bytes`` where it was truncated,
    ``last.offset`` and ``unanswered`` where it is a whole batch."""


def unpack_dead_letter(record: Record) -> Unpacked:
    """Separate the client's headers from the engine's, by position in the list.

    So no header of a client can stand for one of the engine's. Raises ``ValueError`` for a record
    that no stage wrote.
    """
    names = [name for name, _ in record.headers]
    has_more = names[-1:] in ([f"{HEADER_PREFIX}{name}"] for name in (_STACKTRACE, LAST_OFFSET))
    last = len(names) - has_more
    first = last - len(_FACTS)
    # Before what was received: CloudEvents' own, with the subject where there is a key; records of
    # versions before don't name the installation.
    received = 5 + bool(record.key) + (names[2:3] == [INSTALLATION])
    if (
        first < received
        or names[1] != OUTPUT_ID_HEADER
        or names[first:last] != [f"{HEADER_PREFIX}{name}" for name in _FACTS]
    ):
        message = f"no stage wrote {record.address}"
        raise ValueError(message)
    headers = list(record.headers[received:first])
    own = list(record.headers[first:])
    is_batch = names[-1:] == [f"{HEADER_PREFIX}{LAST_OFFSET}"]
    if is_batch or [name for name, _ in headers] == [f"{HEADER_PREFIX}{_VALUE_BYTES}"]:
        own += headers
        headers = []
    facts = {
        name.removeprefix(HEADER_PREFIX): (text or b"").decode(errors="replace")
        for name, text in own
    }
    return Unpacked(headers, facts)


def _truncated(record: Record, limit: int) -> NewRecord:
    """Return key, value and headers as received, unless the journal could not hold them.

    Only a compressed batch can bring a record over the limit. Its value is truncated, its headers
    are left out, and a header says how large the value was; the rest is where the others say.
    """
    key, value, headers = record.key, record.value, record.headers
    if size_of(key, value, headers) <= limit:
        return key, value, list(headers)
    size = b"%d" % len(value or b"")
    value = None if value is None else value[: limit // 2]
    return key and key[: limit // 8], value, [(f"{HEADER_PREFIX}{_VALUE_BYTES}", size)]
