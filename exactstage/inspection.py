"""What stages have written, for programs that read it: this module is for operators' tools.

- A journal is rows and checkpoints (``Checkpoint``, ``decode_checkpoint``), under keys of which
  those that begin with ``RESERVED`` are the engine's.
- ``read_ranges`` reads ranges of offsets of any topics, each partition in order up to its end: the
  only loop for that, with its limit of time, its progress and its errors.
- An output names itself and its sender in headers (``OutputId``, ``parse_source``, ``ORIGIN``);
  ``read_tails`` finds the last output of each public partition.
- A dead letter has the record as it was received, and headers that say why
  (``unpack_dead_letter``).
- ``Identity`` is the installation that a journal was written for; ``require_own_installation`` and
  ``takeover_failure`` are a worker's checks, without a claim.
- ``open_copies`` opens the local copies of journals in a state directory that no worker uses;
  ``belonging`` is what a copy has to say of its journal, ``why_foreign`` a worker's check of that,
  and ``read_row`` gives the timers of a row, and whether it is open. Nothing here writes.
"""

from typing import TYPE_CHECKING

from ._doors import exports

if TYPE_CHECKING:
    from .anonymous import Anonymous
    from .checkpoint import FENCE_KEY, MOVED_KEY, NOTE_KEY, RESERVED, Checkpoint, decode_checkpoint
    from .copy_inspection import FoundCopies, FoundCopy, copy_digest, open_copies
    from .copy_restoring import SHARE_OF_TOMBSTONES, belonging, read_row, record_digest, why_foreign
    from .dead_letters import (
        DEAD_LETTER_TYPE,
        FOREIGN_RECORD,
        HEADER_PREFIX,
        INTERNAL_ERROR,
        LAST_OFFSET,
        MISSING_POSITION,
        UNANSWERED,
        unpack_dead_letter,
    )
    from .foreign import NO_WORKERS_BATCH, is_removal
    from .identity import Identity, differing_settings
    from .limits import RING, SOURCE_ROTATION_CHECKPOINTS
    from .local_copy import CopyRefused
    from .outputs import (
        INSTALLATION,
        ORIGIN,
        OUTPUT_ID_HEADER,
        Output,
        OutputId,
        iso_time,
        parse_source,
    )
    from .ranges import OnUnreadable, Ranges, Show, partitions_of, read_ranges, show_nothing
    from .tails import NOTHING, Tail, read_tails
    from .takeover import require_own_installation
    from .takeover_check import FoundJournal, takeover_failure

__all__ = [
    "DEAD_LETTER_TYPE",
    "FENCE_KEY",
    "FOREIGN_RECORD",
    "HEADER_PREFIX",
    "INSTALLATION",
    "INTERNAL_ERROR",
    "LAST_OFFSET",
    "MISSING_POSITION",
    "MOVED_KEY",
    "NOTE_KEY",
    "NOTHING",
    "NO_WORKERS_BATCH",
    "ORIGIN",
    "OUTPUT_ID_HEADER",
    "RESERVED",
    "RING",
    "SHARE_OF_TOMBSTONES",
    "SOURCE_ROTATION_CHECKPOINTS",
    "UNANSWERED",
    "Anonymous",
    "Checkpoint",
    "CopyRefused",
    "FoundCopies",
    "FoundCopy",
    "FoundJournal",
    "Identity",
    "OnUnreadable",
    "Output",
    "OutputId",
    "Ranges",
    "Show",
    "Tail",
    "belonging",
    "copy_digest",
    "decode_checkpoint",
    "differing_settings",
    "is_removal",
    "iso_time",
    "open_copies",
    "parse_source",
    "partitions_of",
    "read_ranges",
    "read_row",
    "read_tails",
    "record_digest",
    "require_own_installation",
    "show_nothing",
    "takeover_failure",
    "unpack_dead_letter",
    "why_foreign",
]

__getattr__ = exports(
    __name__,
    {
        "anonymous": ("Anonymous",),
        "checkpoint": (
            "FENCE_KEY",
            "MOVED_KEY",
            "NOTE_KEY",
            "RESERVED",
            "Checkpoint",
            "decode_checkpoint",
        ),
        "copy_inspection": ("FoundCopies", "FoundCopy", "copy_digest", "open_copies"),
        "copy_restoring": (
            "SHARE_OF_TOMBSTONES",
            "belonging",
            "read_row",
            "record_digest",
            "why_foreign",
        ),
        "dead_letters": (
            "DEAD_LETTER_TYPE",
            "FOREIGN_RECORD",
            "HEADER_PREFIX",
            "INTERNAL_ERROR",
            "LAST_OFFSET",
            "MISSING_POSITION",
            "UNANSWERED",
            "unpack_dead_letter",
        ),
        "foreign": ("NO_WORKERS_BATCH", "is_removal"),
        "identity": ("Identity", "differing_settings"),
        "limits": ("RING", "SOURCE_ROTATION_CHECKPOINTS"),
        "local_copy": ("CopyRefused",),
        "outputs": (
            "INSTALLATION",
            "ORIGIN",
            "OUTPUT_ID_HEADER",
            "Output",
            "OutputId",
            "iso_time",
            "parse_source",
        ),
        "ranges": (
            "OnUnreadable",
            "Ranges",
            "Show",
            "partitions_of",
            "read_ranges",
            "show_nothing",
        ),
        "tails": ("NOTHING", "Tail", "read_tails"),
        "takeover": ("require_own_installation",),
        "takeover_check": ("FoundJournal", "takeover_failure"),
    },
)
