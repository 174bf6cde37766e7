"""Bare records: key, value, offset and time of the records of a batch, without headers.

With seven headers a record, headers take most of the decoding time.
"""

from exactstage.log import NO_HEADERS, Record, TopicPartition

_new = tuple.__new__
_CONTINUED, _BITS = 0x80, 0x7F
_SHIFTS = range(7, 64, 7)


def bare_records(
    at: TopicPartition,
    kind: type[Record],
    data: bytes,
    part: tuple[int, int],
    first: tuple[int, int, int],
    *,
    newest_ms: int | None,
) -> list[Record]:
    """Return the records in a part (from, to) of the data. Raises ``ValueError`` for a fault.

    ``first`` is the offset and time of the first record, and the number of records; ``newest_ms``
    the time of all records when the broker set it. Headers are not checked.
    """
    topic, partition = at
    position, end = part
    base, first_ms, count = first
    found: list[Record] = []
    try:
        for index in range(count):
            size, position = _varint(data, position)
            stop = position + size
            # Skip the byte of attributes, which is unused.
            delta_ms, position = _varint(data, position + 1)
            delta, position = _varint(data, position)
            size, position = _varint(data, position)
            key = None if size == -1 else data[position : position + size]
            position += max(size, 0)
            value_size, position = _varint(data, position)
            value = None if value_size == -1 else data[position : position + value_size]
            position += max(value_size, 0)
            if delta != index or min(size, value_size) < -1 or not position < stop <= end:
                raise ValueError(f"record {index} is malformed")
            time_ms = first_ms + delta_ms if newest_ms is None else newest_ms
            found.append(
                _new(kind, (topic, partition, base + index, time_ms, key, value, NO_HEADERS))
            )
            position = stop
    except IndexError:
        raise ValueError("the batch ends within a record") from None
    if position != end:
        raise ValueError(f"{end - position} bytes follow the last record")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a signed number of variable length (zigzag), and the index after it."""
    number = data[at]
    if number & _CONTINUED:
        number &= _BITS
        for shift in _SHIFTS:
            at += 1
            byte = data[at]
            number |= (byte & _BITS) << shift
            if not byte & _CONTINUED:
                break
        else:
            raise ValueError("a number has no end")
    return (number >> 1) ^ -(number & 1), at + 1
