"""The last checkpoints of the journals on the broker, and what takes up their bytes."""

import statistics
from collections.abc import Iterator

import orjson

from exactstage.checkpoint import FENCE_KEY, RESERVED, Checkpoint, decode_checkpoint
from payments.settings import Settings
from tools.bench.errors import BenchError
from tools.bench.peers.reading import read_whole
from tools.bench.scale.figures import Checkpoints

STAGES = ("payments", "accounts")


def last_checkpoints(settings: Settings) -> Checkpoints:
    """Return the means over all journals that a commit was ever written to."""
    found = [one for stage in STAGES for one in _last(settings.brokers, settings.changelog(stage))]
    if not found:
        raise BenchError("no journal has a checkpoint")
    heads = [_head(checkpoint) for checkpoint in found]
    entries = sum(len(checkpoint.sources) for checkpoint in found)
    sources = sum(len(orjson.dumps(checkpoint.sources)) for checkpoint in found)
    return Checkpoints(
        bytes=statistics.mean(heads),
        source_entries=entries / len(found),
        source_entry_bytes=sources / entries if entries else 0.0,
    )


def _head(checkpoint: Checkpoint) -> int:
    """Return the bytes that a checkpoint takes whatever its outputs."""
    return len(
        orjson.dumps(
            {
                "n": checkpoint.n,
                "published": checkpoint.published,
                "inputs": checkpoint.inputs,
                "sources": checkpoint.sources,
                "outputs": [],
            }
        )
    )


def _last(brokers: str, changelog: str) -> Iterator[Checkpoint]:
    last: dict[int | None, bytes] = {}
    for message in read_whole(brokers, changelog):
        key = message.key() or b""
        if key[:1] == RESERVED and key != FENCE_KEY:
            last[message.partition()] = message.value() or b""
    for value in last.values():
        yield decode_checkpoint(value)
