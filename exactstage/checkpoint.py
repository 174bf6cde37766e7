r"""Checkpoints: the record that closes a commit in the journal, and what a restart reads from it.

Key: ``\0`` + (n mod 64), so compaction only ever removes a checkpoint that is 64 commits old.
Value: one line of JSON (``n``, ``published``, ``format``, ``inputs``, ``epochs``, ``sources``,
``outputs``, and now and then ``identity``), a line feed, and then the bytes of the outputs one
after the other; ``outputs`` gives their addresses and lengths. So the outputs' bytes stay as they
are, whatever they hold, and kcat shows all of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .errors import JournalBroken, newer_format
from .identity import CHECKPOINT_FORMAT, Identity
from .limits import RING
from .outputs import Output, OutputId
from .senders import Owner

_WITHOUT_OWNER = 2
_NO_CHECKPOINT = (
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
    msgspec.DecodeError,
)
"""Errors of bytes that are something else."""

RESERVED = b"\0"
"""First byte of the engine's own keys in a journal; no row's key may begin with it."""

FENCE_KEY = b"\0fence"

MOVED_KEY = b"\0moved"
"""Key of the mark of an installation that has moved elsewhere (repartition)."""

NOTE_KEY = b"\0rebuilt"
"""Key of the note that a journal has which was rebuilt (rebuild), or whose commands
topic was recreated (journal adopt); a takeover skips it."""


def checkpoint_key(n: int) -> bytes:
    """Return the slot of commit ``n`` in the ring."""
    return b"\0%d" % (n % RING)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of one journal after commit ``n``."""

    n: int
    published: int
    """All outputs of commits up to this one were acknowledged when ``n`` was sealed."""

    inputs: dict[str, int]
    """Next offset to read, by input topic."""

    sources: dict[str, OutputId]
    """Last message taken from a ``<stage>/<partition>``; any ``SOURCE_ROTATION_CHECKPOINTS``
    consecutive checkpoints together have all of them."""

    outputs: list[Output]
    identity: Identity | None = None
    """What the journal was written for; the ring always has it (``identity.IDENTITY_EVERY``)."""

    sent: Mapping[str, OutputId] = field(default_factory=dict)
    """Last output of the commits before for each public topic; written with the identity."""

    owners: Mapping[str, Owner] = field(default_factory=dict)
    """Newest ownership that is known of senders in ``sources``; none of versions before."""

    epochs: Mapping[str, int] = field(default_factory=dict)
    """Leader epoch, by input topic, under which the records before the next offset were appended,
    or a newer one that had been read by then (KIP-320). None of versions before, which skip it."""

    def last_public(self, public: Collection[str]) -> dict[str, OutputId]:
        """Return the last output id for each of these topics that has an output."""
        found: dict[str, OutputId] = {}
        for index, output in enumerate(self.outputs):
            if output.topic in public:
                found[output.topic] = (self.n, index)
        return found


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the value of the checkpoint's record."""
    index: list[Any] = []
    owners = checkpoint.owners
    pieces: list[bytes] = [b"", b"\n"]
    for topic, partition, key, value, type_, time_ms, headers in checkpoint.outputs:
        entry: list[Any] = [
            topic,
            partition,
            None if key is None else len(key),
            None if value is None else len(value),
            type_,
            time_ms,
        ]
        pieces.append(key or b"")
        pieces.append(value or b"")
        if headers:
            entry.append(
                [[name, None if content is None else len(content)] for name, content in headers]
            )
            pieces.extend(content or b"" for _, content in headers)
        index.append(entry)
    fields: dict[str, Any] = {
        "n": checkpoint.n,
        "published": checkpoint.published,
        "format": CHECKPOINT_FORMAT,
        "inputs": checkpoint.inputs,
        "sources": {
            name: (*output_id, *owners[name][1:]) if name in owners else output_id
            for name, output_id in checkpoint.sources.items()
        },
        "outputs": index,
    }
    if checkpoint.epochs:
        fields["epochs"] = checkpoint.epochs
    if checkpoint.identity is not None:
        fields["identity"] = checkpoint.identity.as_fields()
        fields["sent"] = checkpoint.sent
    pieces[0] = msgspec.json.encode(fields)
    return b"".join(pieces)


def decode_checkpoint(value: bytes) -> Checkpoint:
    """Read what ``encode_checkpoint`` wrote, here or in a version before (which has no format).

    Raises ``JournalBroken`` when it is something else, ``NewerFormat`` when a newer version wrote
    it.
    """
    try:
        line, _, body = value.partition(b"\n")
        fields = msgspec.json.decode(line)
        if fields.get("format", CHECKPOINT_FORMAT) > CHECKPOINT_FORMAT:
            raise newer_format("a checkpoint", fields["format"], CHECKPOINT_FORMAT)
        outputs = []
        cursor = _Cursor(body)
        for topic, partition, key_size, value_size, kind, time_ms, *rest in fields["outputs"]:
            key = cursor.take(key_size)
            content = cursor.take(value_size)
            headers = [(name, cursor.take(size)) for name, size in (rest[0] if rest else ())]
            outputs.append(Output(topic, partition, key, content, kind, time_ms, headers))
        sources = {name: (source[0], source[1]) for name, source in fields["sources"].items()}
        owners = {
            name: Owner("", source[2], source[3])
            for name, source in fields["sources"].items()
            if len(source) > _WITHOUT_OWNER
        }
        identity = fields.get("identity")
        return Checkpoint(
            n=fields["n"],
            published=fields["published"],
            inputs=fields["inputs"],
            sources=sources,
            outputs=outputs,
            identity=None if identity is None else Identity.from_fields(identity),
            sent={topic: (at[0], at[1]) for topic, at in fields.get("sent", {}).items()},
            owners=owners,
            epochs=fields.get("epochs", {}),
        )
    except _NO_CHECKPOINT as error:
        message = f"a checkpoint can't be read ({error!r}): {value[:200]!r}"
        raise JournalBroken(message) from error


class _Cursor:
    """Takes consecutive pieces of the outputs' bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int | None) -> bytes | None:
        if size is None:
            return None
        piece = self._body[self._at : self._at + size]
        if len(piece) != size:
            message = f"{size} bytes expected at {self._at}, {len(piece)} found"
            raise ValueError(message)
        self._at += size
        return piece
