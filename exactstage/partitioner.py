"""Which partition a key belongs to: murmur2, as Java clients and aiokafka compute it.

librdkafka (kcat) uses CRC32 unless configured otherwise, so a record may be found elsewhere; the
stage then forwards it (docs/design.md 2). Source of the rule: Kafka's
``BuiltInPartitioner.partitionForKey``.
"""

from struct import unpack_from
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # Compiled, the hash is machine arithmetic: no step overflows.

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit murmur2 hash with Kafka's seed, as an unsigned number."""
    length = len(data)
    h: i64 = _SEED ^ length
    whole = length >> 2
    k: i64
    for k in unpack_from(f"<{whole}I", data):
        k = (k * _M) & _MASK  # noqa: PLW2901 - the word is mixed in place, as the hash is defined
        h = ((h * _M) ^ ((k ^ (k >> 24)) * _M)) & _MASK
    rest = length & 3
    if rest:
        h = ((h ^ int.from_bytes(data[-rest:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of ``key`` among ``partitions``."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
