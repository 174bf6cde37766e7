"""Batches that a load has appended, read from the log files of its broker.

A batch (record format version 2) begins with its base offset (8 bytes) and the length of what
follows these twelve bytes; the number of its records is at byte 57 (Kafka's documentation, "Record
Batch").
"""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct(">qi")
_COUNT = struct.Struct(">i")
_COUNT_AT = 57


class Appended(NamedTuple):
    """How many batches, how many records in them, and all their bytes; control batches count."""

    batches: int
    records: int
    bytes: int


def log_sizes(files: Iterable[Path]) -> Mapping[Path, int]:
    """Return the size of each log file, in bytes."""
    return {file: file.stat().st_size for file in files}


def appended_since(sizes: Mapping[Path, int], files: Iterable[Path]) -> Appended:
    """Return what was appended since the files had these sizes."""
    count = records = size = 0
    for file in files:
        at, end = sizes.get(file, 0), file.stat().st_size
        size += end - at
        with file.open("rb") as log:
            while at + _COUNT_AT + _COUNT.size <= end:
                log.seek(at)
                head = log.read(_COUNT_AT + _COUNT.size)
                at += _HEAD.size + _HEAD.unpack_from(head)[1]
                count += 1
                records += _COUNT.unpack_from(head, _COUNT_AT)[0]
    return Appended(count, records, size)
