"""What is on the broker after a load: batches in its log files, and the journals' last checkpoints.

A batch (record format version 2) begins with its base offset (8 bytes) and the length of what
follows these twelve bytes; the number of its records is at byte 57 (Kafka's documentation, "Record
Batch").
"""

import statistics
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from exactstage.checkpoint import FENCE_KEY, RESERVED, Checkpoint, decode_checkpoint
from payments.settings import Settings
from tools.bench.failures import BenchError
from tools.bench.scale_figures import Checkpoints
from tools.bench.topics_client import read_whole

_HEAD = struct.Struct(">qi")
_COUNT = struct.Struct(">i")
_COUNT_AT = 57
_STAGES = ("payments", "accounts")


class Appended(NamedTuple):
    """How many batches, and how many records in them."""

    batches: int
    records: int


def log_sizes(files: Iterable[Path]) -> Mapping[Path, int]:
    """Return the size of each log file, in bytes."""
    return {file: file.stat().st_size for file in files}


def appended_since(sizes: Mapping[Path, int], files: Iterable[Path]) -> Appended:
    """Return what was appended since the files had these sizes; control batches count too."""
    count = records = 0
    for file in files:
        at, end = sizes.get(file, 0), file.stat().st_size
        with file.open("rb") as log:
            while at + _COUNT_AT + _COUNT.size <= end:
                log.seek(at)
                head = log.read(_COUNT_AT + _COUNT.size)
                at += _HEAD.size + _HEAD.unpack_from(head)[1]
                count += 1
                records += _COUNT.unpack_from(head, _COUNT_AT)[0]
    return Appended(count, records)


def last_checkpoints(settings: Settings) -> Checkpoints:
    """Return the means over all journals that a commit was ever written to."""
    found = [one for stage in _STAGES for one in _last(settings.brokers, settings.changelog(stage))]
    if not found:
        raise BenchError("no journal has a checkpoint")
    entries = sum(len(checkpoint.sources) for checkpoint in found)
    sources = sum(len(orjson.dumps(checkpoint.sources)) for checkpoint in found)
    return Checkpoints(
        bytes=statistics.mean(map(_size_without_outputs, found)),
        source_entries=entries / len(found),
        source_entry_bytes=sources / entries if entries else 0.0,
    )


def _size_without_outputs(checkpoint: Checkpoint) -> int:
    names = ("n", "published", "inputs", "sources")
    head = {name: getattr(checkpoint, name) for name in names}
    return len(orjson.dumps({**head, "outputs": []}))


def _last(brokers: str, changelog: str) -> Iterator[Checkpoint]:
    last: dict[int | None, bytes] = {}
    for message in read_whole(brokers, changelog):
        key = message.key() or b""
        if key[:1] == RESERVED and key != FENCE_KEY:
            last[message.partition()] = message.value() or b""
    return map(decode_checkpoint, last.values())
