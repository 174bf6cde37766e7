"""Runs: how ledger entries are laid out in the index, so that storing them writes in one direction.

A row for each entry, at a place given by its account, would be written to another page of the disk
each time. So the entries of a part of a partition, a run, are sorted by account and stored behind
those of earlier runs; entries of an account that follow each other share a row, a piece. To read
an account is to look into each run of its partition.
"""

from collections.abc import Iterator, Mapping, Sequence

RUN_RECORDS = 32_768
"""Records of a run, about. More of them: fewer runs to look into, more memory to sort them."""

PIECE_BYTES = 1_600
"""A piece that has as many is full: with one entry more, a page of the index still holds four."""

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
