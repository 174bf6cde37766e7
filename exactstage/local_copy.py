"""Local copies: the rows of a worker's journals on its own disk.

A copy makes a takeover short, since only the journal's tail has to be read, and lets a worker have
more rows than memory. The journal stays the truth: a copy is written after the journal's
acknowledgement, in one atomic batch with the position up to which it has the journal, and one that
is torn, foreign, ahead of its journal or too old is thrown away (docs/design.md 4.11).

It is a RocksDB of its own for each journal, whose files all have checksums and are listed in its
manifest; LMDB and SQLite have no such checksums. It writes no log of its own: what a killed process
had not written to a file yet is read from the journal again, and a file that is missing shows.
Keys: ``r`` + key of a row; ``t`` + time + key of a timer; ``k`` + key of a row that the stage wants
at a takeover; ``p`` for the position.
"""

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from .advice import setting
from .errors import FailStop
from .record import TopicPartition
from .slow_disk import DiskBehind

logger = logging.getLogger(__name__)

FORMAT = 1
"""Format of a copy. A newer one is thrown away."""

ROW, TIMER, KEPT, POSITION = b"r", b"t", b"k", b"p"
_TIME_BYTES = 8
DAMAGED = "damaged"
"""File beside a copy that was found damaged while it was in use."""

LOCK = "lock"
"""File of a state directory that the worker which uses it has locked."""

_MIB = 1024 * 1024

DEFAULT_MEMORY_BYTES = 512 * _MIB

FLUSH_SECONDS = 30.0
"""Between two times at which all copies are written to their files."""

_FEWEST_SHARES = 4
"""No copy has more of the memory: what is not in a file yet is read again after a kill."""

_LEAST_BUFFER_BYTES = 128 * 1024
"""Of a copy, for what is not in a file yet, however many there are."""

_MOST_FILES = 36
"""Of a copy before they are compacted: then writes stop."""

_STALLED = "Write stall"
"""What RocksDB says of a write for which it would have to wait."""

_ARENA_BYTES = 16 * 1024
"""By which that memory grows."""

Keeps = Callable[[bytes, bytes], bool]
"""Whether the stage wants a row at a takeover."""


class CopyRefused(Exception):
    """A copy must not be used; the message says why."""


class CopyUnfinished(CopyRefused):
    """It was empty, and what filled it was interrupted: no sign of damage."""

    def __init__(self) -> None:
        super().__init__("the takeover or standby that filled it did not end; it is filled anew")


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where a copy has its journal, and which journal that is."""

    format: int = FORMAT
    belongs: Mapping[str, Any]
    """What has to be the same for the copy to be of the same journal, and its timers right."""

    commit: int
    """Number of the last commit that it has."""

    checkpoint: str
    """Digest of that commit's checkpoint; "" where there is none."""

    checkpoint_offset: int
    offset: int
    """Offset in the journal from which on it has nothing."""

    ring_offset: int
    """From where the journal is read to have its whole ring of checkpoints."""

    time_ms: int
    """The brokers' time when this was so."""

    unfinished_offset: int = -1
    """Offset of the last row that it has from behind that: a takeover wrote it, and did not end."""

    unfinished: str = ""
    """Digest of that row's record."""


def digest(checkpoint: bytes) -> str:
    """Return the digest of a checkpoint's value."""
    return blake2b(checkpoint, digest_size=16).hexdigest()


def path_of(directory: Path, at: TopicPartition) -> Path:
    """Return where the copy of a journal is in a state directory."""
    return directory / f"{at.topic}-{at.partition}"


def timer_key(time_ms: int, key: bytes) -> bytes:
    """Return the key of a timer: timers are in the order of their times."""
    return TIMER + time_ms.to_bytes(_TIME_BYTES) + key


def between(db: Any, prefix: bytes, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a database whose keys begin so, from ``first`` on.

    Raises what rocksdict does.
    """
    found = db.iter()
    found.seek(first or prefix)
    while found.valid():
        key = found.key()
        if not key.startswith(prefix):
            return
        yield key, found.value()
        found.next()
    found.status()


class LocalCopy:
    """The copy of one journal. What the disk refuses ends the worker."""

    def __init__(self, at: TopicPartition, path: Path, options: Any) -> None:
        """Open or make it.

        Raises ``CopyRefused`` for one that is damaged, ``FailStop`` where that is not known.
        """
        from rocksdict import Rdict, WriteOptions  # noqa: PLC0415 - an optional extra

        self.at, self.path = at, path
        self._closing = Lock()
        self._flushed: Position | None = None
        """The position that is in a file."""
        self._unlogged = WriteOptions()
        # A property, whatever the package's own stubs say.
        self._unlogged.disable_wal = True  # type: ignore[assignment, method-assign]
        self._unlogged.no_slowdown = True
        if (path / DAMAGED).exists():
            raise CopyRefused("it was found damaged while it was in use")
        try:
            self._db = Rdict(str(path / "rows"), options)
        except Exception as error:
            if not shows_damage(error):
                raise _unusable(path, error) from error
            raise CopyRefused(f"it can't be opened ({error})") from error
        self.is_closed = False
        try:
            self.position = self._read_position()
        except (CopyRefused, FailStop):
            self.close()
            raise

    def _read_position(self) -> Position | None:
        """Return what it says of itself; None of an empty one.

        Raises ``CopyRefused`` and ``FailStop``.
        """
        try:
            stored = self._db.get(POSITION)
            is_empty = stored is None and self._is_empty()
        except Exception as error:
            if not shows_damage(error):
                raise _unusable(self.path, error) from error
            raise CopyRefused(f"it can't be read ({error})") from error
        if is_empty:
            return None
        if stored is None:
            raise CopyUnfinished
        return decode_position(stored)

    def _is_empty(self) -> bool:
        # Of its own, so that no frame of a failure keeps the iterator, and with it the database.
        found = self._db.iter()
        found.seek_to_first()
        is_empty = not found.valid()
        found.status()
        return is_empty

    def get(self, key: bytes) -> bytes | None:
        """Return a row. Raises ``FailStop``."""
        try:
            row: bytes | None = self._db.get(ROW + key)
        except Exception as error:
            raise self._damaged(error) from error
        return row

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all rows. Raises ``FailStop``."""
        for key, row in self._between(ROW):
            yield key[len(ROW) :], row

    def timers(self, first: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield the timers from the key ``first`` on: key of the timer, time, key of the row."""
        for key, _ in self._between(TIMER, first):
            time_ms = int.from_bytes(key[len(TIMER) : len(TIMER) + _TIME_BYTES])
            yield key, time_ms, key[len(TIMER) + _TIME_BYTES :]

    def kept(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows that the stage wants at a takeover. Raises ``FailStop``."""
        for found, _ in self._between(KEPT):
            key = found[len(KEPT) :]
            if (row := self.get(key)) is not None:
                yield key, row

    def _between(self, prefix: bytes, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from between(self._db, prefix, first)
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._damaged(error) from error

    def write(
        self,
        rows: Iterable[tuple[bytes, bytes | None]],
        *,
        timers: Iterable[bytes] = (),
        taken: Iterable[bytes] = (),
        keeps: Keeps | None = None,
        kept: Container[bytes] | None = None,
        position: Position | None = None,
    ) -> None:
        """Write rows and tombstones, timers, and up to where this is the journal, all or nothing.

        ``taken`` are timers to be removed. ``kept`` are the keys whose rows may have been wanted at
        a takeover so far; None: any. Raises ``DiskBehind`` where it has to come again, and
        ``FailStop``.
        """
        batch = self._batch(rows, timers, taken, keeps, kept)
        if position is not None:
            batch.put(POSITION, msgspec.json.encode(position))
        try:
            self._db.write(batch, self._unlogged)
        except Exception as error:
            if _STALLED in str(error):
                raise DiskBehind from error
            if shows_damage(error):  # RocksDB has found it while it merged files.
                raise self._damaged(error) from error
            raise FailStop(
                f"the local copy of {self.at} in {self.path} can't be written ({error}): is the "
                f"disk full, or read-only? Nothing is lost, the journal has it. Make room, or give "
                f"the worker another {setting('STATE_DIR')}, and start it again"
            ) from error
        if position is not None:
            self.position = position

    def _batch(
        self,
        rows: Iterable[tuple[bytes, bytes | None]],
        timers: Iterable[bytes],
        taken: Iterable[bytes],
        keeps: Keeps | None,
        kept: Container[bytes] | None,
    ) -> Any:
        from rocksdict import WriteBatch  # noqa: PLC0415 - an optional extra

        batch = WriteBatch(raw_mode=True)
        for key in taken:
            batch.delete(key)
        for key, row in rows:
            if row is None:
                batch.delete(ROW + key)
            else:
                batch.put(ROW + key, row)
            if keeps is None:
                continue
            if row is not None and self._is_kept(keeps, key, row):
                batch.put(KEPT + key, b"")
            elif kept is None or key in kept:
                batch.delete(KEPT + key)
        for key in timers:
            batch.put(key, b"")
        return batch

    def _is_kept(self, keeps: Keeps, key: bytes, row: bytes) -> bool:
        try:
            return keeps(key, row)
        except Exception as error:
            raise FailStop(
                f"{self.at} has a row with the key {key!r} of which the stage's is_open can't say "
                f"whether it is open ({error!r}): correct is_open. Nothing is lost, the journal "
                f"has the row"
            ) from error

    def estimated_keys(self) -> int:
        """Return about how many rows and timers there are. Any thread may ask."""
        with self._closing:
            if self.is_closed:
                return 0
            try:
                return int(self._db.property_int_value("rocksdb.estimate-num-keys") or 0)
            except Exception as error:
                raise _unusable(self.path, error) from error

    def flush(self) -> None:
        """Write what is not in a file yet, if there is any. Any thread may do it.

        Raises ``FailStop``.
        """
        with self._closing:
            position = self.position
            if self.is_closed or position is self._flushed:
                return
            try:
                self._db.flush()
            except Exception as error:
                raise self._damaged(error) from error
            self._flushed = position

    def share(self, buffer_bytes: int) -> None:
        """Have ``buffer_bytes`` for what is not in a file yet. Raises ``FailStop``."""
        try:
            self._db.set_options({"write_buffer_size": str(buffer_bytes)})
        except Exception as error:
            raise _unusable(self.path, error) from error

    def close(self) -> None:
        """Close it; it stays for the next takeover."""
        with self._closing:
            if self.is_closed:
                return
            self.is_closed = True
            try:
                self._db.close()
            except Exception as error:  # noqa: BLE001 - whatever it is, others have to be closed
                if shows_damage(error):
                    self._mark_damaged()
                logger.warning(
                    "%s: the local copy in %s could not be written to its end, and is some commits "
                    "older (%s): nothing is lost, the journal has them",
                    self.at,
                    self.path,
                    error,
                )

    def _damaged(self, error: Exception) -> FailStop:
        if self.is_closed:
            return FailStop(f"the local copy of {self.at} is closed: another worker owns it now")
        if not shows_damage(error):
            return _unusable(self.path, error)
        self._mark_damaged()
        return FailStop(
            f"the local copy of {self.at} in {self.path} can't be read ({error}): the disk has "
            f"damaged it. Nothing is lost, the journal has it; the next start throws the copy away "
            f"and reads the whole journal. Look at the disk"
        )

    def _mark_damaged(self) -> None:
        with suppress(OSError):  # Else the next worker finds the damage again.
            (self.path / DAMAGED).touch()


def shows_damage(error: Exception) -> bool:
    """Whether a copy is beyond use: a checksum is wrong, a file is missing, or it makes no sense.

    Else it may be as good as before when the disk has room again, or the process more open files.
    """
    text = str(error)
    if "IO error" in text:  # May be inside another error.
        return "No such file" in text
    return "Corruption" in text or "Invalid argument" in text


def decode_position(stored: bytes) -> Position:
    """Return a stored position. Raises ``CopyRefused``."""
    try:
        found = msgspec.json.decode(stored)["format"]
        if found > FORMAT:
            raise CopyRefused(f"it has format {found}, this version reads up to {FORMAT}")
        return msgspec.json.decode(stored, type=Position)
    except (KeyError, TypeError, ValueError) as error:
        raise CopyRefused(f"what it says of itself can't be read ({error!r})") from error


def _remove(path: Path) -> None:
    """Delete a copy. Raises ``FailStop``."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise FailStop(
            f"the local copy in {path} must not be used, and can't be deleted ({error}): delete it "
            f"by hand, and start the worker again (nothing is lost)"
        ) from error


class StateDirectory:
    """The local copies of one worker, with one limit of memory for all of them."""

    def __init__(self, path: Path, *, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        """Make the directory if it is not there, and lock it. Raises ``FailStop``."""
        self.path = path
        self._copies: dict[TopicPartition, LocalCopy] = {}
        self._lock = _locked(path)
        self._options = _options(memory_bytes)
        # What is not in a file yet has to be read again after a kill.
        self._buffers_bytes = min(64 * _MIB, memory_bytes // 4)
        self._buffer_bytes = 0
        """Of each copy."""

    def open(self, at: TopicPartition) -> LocalCopy:
        """Return the copy of a journal, or an empty one; one that can't be opened is deleted."""
        path = path_of(self.path, at)
        self.close_copy(at)
        self._share_memory(len(self._copies) + 1)
        try:
            copy = self._opened(at, path)
        except CopyUnfinished as why:
            logger.info("%s: the local copy in %s is not used: %s", at, path, why)
            _remove(path)
            copy = self._new(at, path)
        except CopyRefused as why:
            self.throw_away(at, str(why))
            copy = self._new(at, path)
        self._copies[at] = copy
        return copy

    def _share_memory(self, count: int) -> None:
        """Give each of ``count`` copies its share of memory for what is not in a file yet.

        One limit that all fill together would have each write of a busy copy flushed while idle
        ones are near it. Shares change when the number of copies has doubled.
        """
        shares = 1 << (max(count, _FEWEST_SHARES) - 1).bit_length()
        buffer_bytes = max(_LEAST_BUFFER_BYTES, self._buffers_bytes // shares)
        if buffer_bytes == self._buffer_bytes:
            return
        for copy in self._copies.values():
            copy.share(buffer_bytes)
        self._options.set_write_buffer_size(buffer_bytes)
        self._buffer_bytes = buffer_bytes

    async def flush(self) -> None:
        """Write what is not in a file yet, one copy after the other, while the event loop runs.

        A copy whose last commit in a file is old may be worth nothing after a kill: compaction
        takes the checkpoint from the journal by which it is known. Raises ``FailStop``.
        """
        for copy in list(self._copies.values()):
            await asyncio.to_thread(copy.flush)

    def close_copy(self, at: TopicPartition) -> None:
        """Close the copy of a journal, if it is open; it stays for the next takeover."""
        if (copy := self._copies.pop(at, None)) is not None:
            copy.close()

    def renew(self, at: TopicPartition, why: str) -> LocalCopy:
        """Throw a copy away, and return an empty one."""
        self.close_copy(at)
        self.throw_away(at, why)
        return self.open(at)

    def throw_away(self, at: TopicPartition, why: str) -> None:
        """Delete a copy, with a line that says why."""
        path = path_of(self.path, at)
        logger.warning(
            "%s: the local copy in %s is thrown away, and the whole journal is read: %s",
            at,
            path,
            why,
        )
        _remove(path)

    def close(self) -> None:
        """Close all copies, and unlock the directory."""
        for copy in self._copies.values():
            copy.close()
        self._copies.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _opened(self, at: TopicPartition, path: Path) -> LocalCopy:
        """Open or make a copy. Raises ``CopyRefused`` and ``FailStop``."""
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        return LocalCopy(at, path, self._options)

    def _new(self, at: TopicPartition, path: Path) -> LocalCopy:
        try:
            return self._opened(at, path)
        except CopyRefused as why:
            raise _unusable(path, why) from why


def _unusable(path: Path, error: object) -> FailStop:
    return FailStop(
        f"there can be no local copy in {path} ({error}): is the disk full, read-only or broken, "
        f"or are too many files open? Nothing is lost. Make room, or give the worker another "
        f"{setting('STATE_DIR')}, and start it again"
    )


def _locked(path: Path) -> int:
    """Return the file that locks a directory for this process. Raises ``FailStop``."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise FailStop(
            f"{path} is in use by another process: each worker needs a {setting('STATE_DIR')} of "
            f"its own; or is the former worker still ending?"
        ) from error
    return lock


def _options(memory_bytes: int) -> Any:
    """Return RocksDB's options: most of the memory is for what is read."""
    try:
        import rocksdict as rocks  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise FailStop(
            f"{setting('STATE_DIR')} needs rocksdict, which is not here: install the extra disk"
        ) from error
    blocks = rocks.BlockBasedOptions()
    blocks.set_block_cache(rocks.Cache(memory_bytes * 3 // 4))
    blocks.set_bloom_filter(10, block_based=False)  # Most ids that are asked for are new.
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = rocks.Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003 - another
    options.set_block_based_table_factory(blocks)
    options.set_arena_block_size(_ARENA_BYTES)  # Each copy has at least one.
    # No slowdown before that: a write that is refused then would delay the next one even more.
    options.set_level_zero_slowdown_writes_trigger(_MOST_FILES)
    options.set_level_zero_stop_writes_trigger(_MOST_FILES)
    options.set_compression_type(rocks.DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_max_open_files(256)
    options.set_keep_log_file_num(2)
    return options
