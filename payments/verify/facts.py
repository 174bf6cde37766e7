"""Facts: what an audit keeps of each record, a few 64-bit words in buckets of arrays.

Ids are kept as 64-bit hashes (with a new key in each process), so two ids count as one with a
probability of about n^2 / 2^65: 3 in 10^8 for a million. A word has a code of 8 bits and a record's
partition and offset. The facts of one payment are in one bucket of each kind, so that only one
bucket at a time is made into objects.
"""

from array import array
from collections.abc import Iterator

BUCKETS = 256
BLOCK_FACTS = 512
"""A bucket is kept in blocks: if its array grew as a whole, the heap would be full of holes."""

MAX_WORD = 2**63 - 1
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PARTITION_BITS, _OFFSET_BITS = 12, 44
"""Partitions are at most 4,096 (see Settings); 2^44 records come in 5 years at 100,000/s."""

_CODE_AT = _PARTITION_BITS + _OFFSET_BITS


def digest(value: object) -> int:
    """Return the 64-bit hash of bytes, a text, or a tuple of such."""
    return hash(value) & _MASK


def word_of(number: int) -> int:
    """Return a number, which may be below zero, as a word."""
    return number & _MASK


def signed(word: int) -> int:
    """Return the number that ``word_of`` was given."""
    return word - 2**64 if word > MAX_WORD else word


def pack(code: int, partition: int, offset: int) -> int:
    """Return a code of 8 bits, a partition and an offset in one word."""
    return code << _CODE_AT | partition << _OFFSET_BITS | offset


def code_of(word: int) -> int:
    """Return the code that ``pack`` was given."""
    return word >> _CODE_AT


def place_of(word: int) -> tuple[int, int]:
    """Return the partition and the offset that ``pack`` was given."""
    partition = word >> _OFFSET_BITS & ((1 << _PARTITION_BITS) - 1)
    return partition, word & ((1 << _OFFSET_BITS) - 1)


class Facts:
    """Facts of one kind: ``width`` words each, of which the first is the hash they are found by."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._block_words = BLOCK_FACTS * width
        self._open = [array("Q") for _ in range(BUCKETS)]
        self._full: list[list[bytes]] = [[] for _ in range(BUCKETS)]

    def add(self, *words: int) -> None:
        """Keep a fact."""
        number = words[0] % BUCKETS
        block = self._open[number]
        block.extend(words)
        if len(block) == self._block_words:
            self._full[number].append(block.tobytes())
            self._open[number] = array("Q")

    def take(self, bucket: int) -> Iterator[tuple[int, ...]]:
        """Yield the facts of one bucket in the order in which they came, and forget them."""
        found = array("Q", b"".join(self._full[bucket]))
        found += self._open[bucket]
        self._full[bucket], self._open[bucket] = [], array("Q")
        words = iter(found)
        return zip(*[words] * self._width, strict=True)
