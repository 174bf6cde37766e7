"""Runs: the layout of ledger entries in the index, with which they are written sequentially.

With a row for each entry, sorted by account, each entry would be written to another page of the
disk. So the entries of a part of a partition, a run, are sorted by account and stored after those
of earlier runs; consecutive entries of an account share a row, a piece. Reading an account reads
each run of its partition.
"""

from collections.abc import Iterator, Mapping, Sequence

RUN_RECORDS = 32_768
"""About how many records a run has. With more, there are fewer runs, and sorting takes more memory.
"""

PIECE_BYTES = 1_600
"""Size at which a piece is full: with one more entry, a page of the index still holds four."""

_LENGTH_BYTES = 4

Place = tuple[bytes, int | None, int, bytes]
"""Account, sequence (None: it is no entry), offset and value of a record of the ledger."""

Piece = tuple[bytes, int, bytes]
"""Account, sequence of the last entry, and the values with their lengths."""


def packed(
    places: Sequence[Place], lasts: Mapping[bytes, int]
) -> tuple[list[Piece], list[tuple[bytes, int]], dict[bytes, int]]:
    """Return the pieces of a run sorted by account, the strays, and the new last sequences.

    ``lasts`` has the last sequence of each account that has one. A stray is an account with the
    offset of a record that is no entry, or whose number does not rise.
    """
    pieces: list[Piece] = []
    strays: list[tuple[bytes, int]] = []
    risen: dict[bytes, int] = {}
    begun: dict[bytes, list[bytes]] = {}
    sizes: dict[bytes, int] = {}
    for account, number, offset, value in places:
        before = risen.get(account) or lasts.get(account, 0)
        if number is None or number <= before:
            strays.append((account, offset))
            continue
        size = len(value)
        parts = begun.get(account)
        if parts is None or number != before + 1 or sizes[account] >= PIECE_BYTES:
            if parts is not None:
                pieces.append((account, before, b"".join(parts)))
            parts = begun[account] = []
            sizes[account] = 0
        parts.append(size.to_bytes(_LENGTH_BYTES, "big"))
        parts.append(value)
        sizes[account] += size
        risen[account] = number
    pieces += [(account, risen[account], b"".join(parts)) for account, parts in begun.items()]
    pieces.sort()
    return pieces, strays, risen


def unpacked(piece: bytes) -> Iterator[bytes]:
    """Yield the values of a piece in order."""
    at = 0
    while at < len(piece):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(piece[at:begin], "big")
        yield piece[begin:at]
