"""Local rows: the rows of one journal, where most of them are on the worker's disk.

In memory are those of commits that the journal has not acknowledged yet. A decision sees its own
rows at once; the disk has them only when the journal has (``local_copy``).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .limits import RING
from .timer_index import TimerIndex

if TYPE_CHECKING:
    from .local_copy import Keeps, LocalCopy, Position

_AHEAD = 256
"""Timers that are read at once."""

_NEVER_MS = 2**63

_MANY_TAKEN = 4096
"""Timers that were taken and are still on disk, after which a commit is written to remove them."""


def _time_of(timer: bytes) -> int:
    """Return the time of a timer from its key on disk (``local_copy.timer_key``)."""
    return int.from_bytes(timer[1:9])


class LocalTimers(TimerIndex):
    """The timers of one journal on disk; those of commits that are not acknowledged wait."""

    def __init__(self, copy: "LocalCopy") -> None:
        super().__init__()
        self._copy = copy
        self.opened: list[tuple[int, bytes]] = []
        """Those of the open commit."""
        self.taken: list[bytes] = []
        """Keys on disk of those that were taken since the last commit was sealed."""
        self._removed: set[bytes] = set()
        """All that were taken, and are still on disk: until the commit that has what was decided on
        them is acknowledged. A crash before it finds them again."""
        self._ready: deque[tuple[int, bytes, bytes]] = deque()
        self._read_up_to = b""
        """The key on disk up to which timers are in ``_ready``, or were taken."""
        self._earliest_ms = _NEVER_MS
        """Time of the earliest timer that is not taken. Any thread may look, so it is noted when
        the disk is read."""

    def add(self, time_ms: int, key: bytes) -> None:
        """Add a timer; it can be taken when its commit is acknowledged."""
        self.opened.append((time_ms, key))

    def is_due(self, now_ms: int) -> bool:
        """Whether a key can be taken."""
        self._read(now_ms)
        return bool(self._ready) and self._ready[0][0] <= now_ms

    def overdue_ms(self, now_ms: int) -> int:
        """Return for how long the earliest timer is due; 0 where none is. Any thread may ask."""
        return max(0, now_ms - self._earliest_ms)

    def take(self, now_ms: int) -> bytes | None:
        """Take a key whose time has come; None: there is none."""
        if not self.is_due(now_ms):
            return None
        self._earliest_ms, timer, key = self._ready.popleft()
        self.taken.append(timer)
        self._removed.add(timer)
        return key

    def written(self, timers: Iterable[bytes], removed: Iterable[bytes]) -> None:
        """Note that these are on disk now, and those are not any more."""
        self._removed.difference_update(removed)
        first = min(timers, default=None)
        if first is None:
            return
        self._earliest_ms = min(self._earliest_ms, _time_of(first))
        if first < self._read_up_to:
            self._read_up_to = min([first, *(timer for _, timer, _ in self._ready)])
            self._ready.clear()

    def _read(self, now_ms: int) -> None:
        """Read some timers that are due, if all that were read are taken."""
        if self._ready:
            return
        next_ms = _NEVER_MS
        for timer, time_ms, key in self._copy.timers(self._read_up_to):
            if time_ms > now_ms or len(self._ready) >= _AHEAD:
                next_ms = time_ms
                break
            self._read_up_to = timer
            if timer not in self._removed:
                self._ready.append((time_ms, timer, key))
        self._earliest_ms = self._ready[0][0] if self._ready else next_ms


class LocalRows:
    """What a journal asks for its rows, beside those in its memory."""

    def __init__(self, copy: "LocalCopy", recent: dict[bytes, bytes]) -> None:
        """Keep rows in ``copy``; the journal has ``recent``, those that are not there yet."""
        self.copy = copy
        self.timers = LocalTimers(copy)
        self._recent = recent
        self._deleted: set[bytes] = set()
        """Keys that were deleted since."""
        self._latest: dict[bytes, int] = {}
        """The sealed commit that changed a key last."""
        self._sealed: deque[tuple[int, list[tuple[int, bytes]], list[bytes]]] = deque()
        """Timers of sealed commits, and those that were taken for them, in order."""
        self._ends: deque[tuple[int, int]] = deque(maxlen=RING + 1)
        """Number of each of the last commits, and the offset behind it."""
        self._first_offset = 0
        self.keeps: Keeps | None = None
        self.belongs: Mapping[str, Any] = {}
        self.suspects: dict[bytes, None] = {}
        """Keys of restored rows that the stage can't read."""
        self.unfinished: tuple[int, str] = (-1, "")
        """Offset and digest of the last row that the takeover has written."""
        self._last_checkpoint: bytes | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return a row that the journal does not have in memory."""
        return None if key in self._deleted else self.copy.get(key)

    def accepted(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Note what a decision has changed."""
        for key, row in rows:
            if row is None:
                self._deleted.add(key)
            else:
                self._deleted.discard(key)

    @property
    def wants_commit(self) -> bool:
        """Whether a commit is needed, although nothing may have been decided."""
        return len(self.timers.taken) >= _MANY_TAKEN

    def sealed(self, n: int, keys: Iterable[bytes]) -> None:
        """Note that a commit with these keys has its number."""
        for key in keys:
            self._latest[key] = n
        self._sealed.append((n, self.timers.opened, self.timers.taken))
        self.timers.opened, self.timers.taken = [], []

    def acknowledged(
        self,
        n: int,
        records: Sequence[tuple[bytes | None, bytes | None, Any]],
        *,
        offset: int,
        time_ms: int,
        open_keys: Mapping[bytes, Any],
    ) -> None:
        """Write a commit whose first record has ``offset`` in the journal.

        ``open_keys`` are what the open commit has changed since. Raises ``DiskBehind``, with
        nothing changed, where it has to come again, and ``FailStop``.
        """
        from .local_copy import timer_key  # noqa: PLC0415 - only where it is used

        rows = [(key, value) for key, value, _ in records[:-1] if key is not None]
        timers, taken, count = list[bytes](), list[bytes](), 0
        for sealed, added, removed in self._sealed:
            if sealed > n:
                break
            timers += [timer_key(due_ms, key) for due_ms, key in added]
            taken += removed
            count += 1
        end = offset + len(records)
        position = self._position(n, end, records[-1][1] or b"", time_ms)
        self.copy.write(rows, timers=timers, taken=taken, keeps=self.keeps, position=position)
        for _ in range(count):
            self._sealed.popleft()
        self._ends.append((n, end))
        self.timers.written(timers, taken)
        for key, _ in rows:
            if self._latest.get(key) == n:
                del self._latest[key]
                if key not in open_keys:
                    self._recent.pop(key, None)
                    self._deleted.discard(key)

    def follow(
        self,
        rows: Iterable[tuple[bytes, bytes | None]],
        ends: Sequence[tuple[int, int]],
        checkpoint: bytes,
        *,
        timers: Iterable[bytes],
        taken: Iterable[bytes],
        is_open: "Keeps | None",
        time_ms: int,
    ) -> None:
        """Write what commits of another owner have changed; ``checkpoint`` is that of the last.

        ``ends`` are their numbers, and the offset behind each. Raises ``DiskBehind``, with nothing
        changed, where it has to come again, and ``FailStop``.
        """
        before = list(self._ends)
        self._ends.extend(ends)
        position = self._position(*ends[-1], checkpoint, time_ms)
        try:
            self.copy.write(rows, timers=timers, taken=taken, keeps=is_open, position=position)
        except BaseException:
            self._ends.clear()
            self._ends.extend(before)
            raise

    def begin(self, time_ms: int) -> None:
        """Note that the copy has what the takeover has read.

        Raises ``DiskBehind`` where it has to come again, and ``FailStop``.

        Up to the last checkpoint: what comes behind it, a fence at least, may be lost without a
        trace in the checkpoints, and is read again.
        """
        self.timers.is_due(0)  # From now on it knows the earliest.
        if self._last_checkpoint is None:
            return  # The takeover has written the first one.
        n, end = self._ends[-1]
        unfinished = self.unfinished if self.unfinished[0] >= end else (-1, "")
        # A takeover after one without a commit has not read the whole ring.
        before = self.copy.position
        position = self._position(
            n,
            end,
            self._last_checkpoint,
            time_ms,
            unfinished,
            ring_offset=0 if before is None else before.ring_offset,
        )
        self.copy.write((), position=position)

    def _position(
        self,
        n: int,
        end: int,
        checkpoint: bytes,
        time_ms: int,
        unfinished: tuple[int, str] = (-1, ""),
        *,
        ring_offset: int = 0,
    ) -> "Position":
        """Return what the copy says of itself when it has all up to the commit ``n``."""
        from .local_copy import Position, digest  # noqa: PLC0415 - only where it is used

        return Position(
            belongs=self.belongs,
            commit=n,
            checkpoint=digest(checkpoint),
            checkpoint_offset=end - 1,
            offset=end,
            ring_offset=max(ring_offset, self._ring_offset(n + 1)),
            time_ms=time_ms,
            unfinished_offset=unfinished[0],
            unfinished=unfinished[1],
        )

    def _ring_offset(self, n: int) -> int:
        """Return from where the journal is to be read for the ring before commit ``n``."""
        known = (each for each in self._ends if each[0] >= n - RING - 1)
        number, end = next(known, (n, 0))
        return end if number <= n - RING else self._first_offset

    def restored(
        self, ends: Sequence[tuple[int, int]], first_offset: int, last_checkpoint: bytes | None
    ) -> None:
        """Note the checkpoints of the journal: number, and offset behind each, in order.

        ``last_checkpoint`` is the value of the last one.
        """
        self._ends.clear()
        self._ends.extend(ends)
        self._first_offset = first_offset
        self._last_checkpoint = last_checkpoint

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all rows: those in memory, and those on disk."""
        recent = dict(self._recent)
        yield from recent.items()
        deleted = set(self._deleted)
        for key, row in self.copy.rows():
            if key not in recent and key not in deleted:
                yield key, row


class AllRows(Mapping[bytes, bytes]):
    """All rows of a journal, read-only; to go through them reads the disk."""

    def __init__(self, recent: Mapping[bytes, bytes], local: LocalRows) -> None:
        self._recent, self._local = recent, local

    def __getitem__(self, key: bytes) -> bytes:
        row = self._recent.get(key)
        if row is None:
            row = self._local.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self._local.items())

    def __len__(self) -> int:
        return sum(1 for _ in self._local.items())
