"""The disk of a machine: local copies of journals, and what a crash or an accident leaves of them.

A copy is a list of batches of writes, each whole or not at all. A crash loses the last of them, as
many as had not been written to a file yet. Between two lives of a worker a copy may also be gone,
be that of another journal, or an older one.
"""

from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator
from random import Random
from typing import NamedTuple

from exactstage.local_copy import Keeps, LocalCopy, Position, StateDirectory
from exactstage.record import TopicPartition
from exactstage.slow_disk import DiskBehind

_ACCIDENTS = 0.15
"""Share of the ends of a worker after which a copy is not what it was."""

_KEPT = 0.5
"""Share of the crashes after which everything is there."""


_BEHIND = 0.03
"""Share of the writes for which the disk is behind."""


class _Undo(NamedTuple):
    """What a batch has changed, as it was before."""

    position: Position | None
    rows: dict[bytes, bytes | None]
    kept: dict[bytes, bool]
    timers_added: list[bytes]
    timers_removed: list[bytes]


class SimulatedCopy(LocalCopy):
    """A copy on a simulated disk."""

    def __init__(self, at: TopicPartition, pressure: Random) -> None:
        self.at = at
        self._pressure = pressure
        self.position: Position | None = None
        self.unwritten = 0
        """Batches that a crash may lose."""
        self._rows: dict[bytes, bytes] = {}
        self._timers: list[bytes] = []
        self._kept: set[bytes] = set()
        """Keys of rows that the stage has called open when they were written."""
        self._undo: list[_Undo] = []
        self.is_closed = False

    def get(self, key: bytes) -> bytes | None:
        """Return a row."""
        return self._rows.get(key)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all rows."""
        yield from list(self._rows.items())

    def kept(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows that the stage wants."""
        for key in sorted(self._kept):
            if (row := self._rows.get(key)) is not None:
                yield key, row

    def timers(self, first: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield the timers from a key on."""
        for key in self._timers[bisect_left(self._timers, first) :]:
            yield key, int.from_bytes(key[1:9]), key[9:]

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
        """Write a batch, or be behind."""
        assert not self.is_closed, "a worker that has ended writes"
        if self._pressure.random() < _BEHIND:
            raise DiskBehind
        before: dict[bytes, bytes | None] = {}
        before_kept: dict[bytes, bool] = {}
        removed = [key for key in taken if self._remove(key)]
        for key, row in rows:
            before.setdefault(key, self._rows.get(key))
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row
            if keeps is not None:
                before_kept.setdefault(key, key in self._kept)
                assert kept is None or key in kept or key not in self._kept, "it stays open"
                self._set_kept(key, is_kept=row is not None and keeps(key, row))
        added = [key for key in timers if self._add(key)]
        self._undo.append(_Undo(self.position, before, before_kept, added, removed))
        del self._undo[:-200]
        if position is not None:
            self.position = position

    def _set_kept(self, key: bytes, *, is_kept: bool) -> None:
        if is_kept:
            self._kept.add(key)
        else:
            self._kept.discard(key)

    def _add(self, key: bytes) -> bool:
        index = bisect_left(self._timers, key)
        if index < len(self._timers) and self._timers[index] == key:
            return False
        insort(self._timers, key)
        return True

    def _remove(self, key: bytes) -> bool:
        index = bisect_left(self._timers, key)
        if index == len(self._timers) or self._timers[index] != key:
            return False
        del self._timers[index]
        return True

    def lose(self, batches: int) -> None:
        """Lose the last batches, as far as they are known; what is left was so once."""
        for _ in range(min(batches, len(self._undo))):
            undo = self._undo.pop()
            self.position = undo.position
            for key in undo.timers_added:
                self._remove(key)
            for key, row in undo.rows.items():
                if row is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = row
            for key, is_kept in undo.kept.items():
                self._set_kept(key, is_kept=is_kept)
            for key in undo.timers_removed:
                self._add(key)

    def like(self, at: TopicPartition) -> "SimulatedCopy":
        """Return the same for another journal, or for another time."""
        found = SimulatedCopy(at, self._pressure)
        found.position = self.position
        found._rows, found._timers = dict(self._rows), list(self._timers)
        found._kept = set(self._kept)
        return found

    def flush(self) -> None:
        """Have everything in a file."""
        self._undo.clear()

    def estimated_keys(self) -> int:
        """Return how many rows and timers there are."""
        return len(self._rows) + len(self._timers)

    def close(self) -> None:
        """End using it."""
        self.is_closed = True


class SimulatedState(StateDirectory):
    """The disk as one life of a worker sees it."""

    def __init__(self, disk: "SimulatedDisk") -> None:
        self._disk = disk

    def open(self, at: TopicPartition) -> LocalCopy:
        """Return the copy of a journal, or an empty one."""
        return self._disk.open(at)

    async def flush(self) -> None:
        """Have everything in files, without a thread."""
        self._disk.flush()

    def close_copy(self, at: TopicPartition) -> None:
        """Close the copy of a journal, if it is open."""
        self._disk.close_copy(at)

    def renew(self, at: TopicPartition, why: str) -> LocalCopy:
        """Throw a copy away, and return an empty one."""
        del why
        return self._disk.renew(at)

    def close(self) -> None:
        """Close all copies; what is left of a killed process closes nothing."""
        if self._disk.state is self:
            self._disk.close()


class SimulatedDisk:
    """The disk of one machine, through all lives of its worker."""

    def __init__(self, random: Random, pressure: Random) -> None:
        self._random, self._pressure = random, pressure
        self._stored: dict[TopicPartition, SimulatedCopy] = {}
        self._former: dict[TopicPartition, SimulatedCopy] = {}
        """Older copies, as a snapshot of the disk would bring them back."""
        self.thrown_away = 0
        self.state = SimulatedState(self)

    def begin(self) -> SimulatedState:
        """Return the disk for a new life."""
        self.state = SimulatedState(self)
        return self.state

    def open(self, at: TopicPartition) -> LocalCopy:
        """Return the copy of a journal, or an empty one."""
        copy = self._stored.get(at)
        if copy is None or (copy.position is None and next(copy.rows(), None) is not None):
            copy = self._stored[at] = SimulatedCopy(at, self._pressure)
        copy.is_closed = False
        return copy

    def renew(self, at: TopicPartition) -> LocalCopy:
        """Throw a copy away, and return an empty one."""
        self.thrown_away += 1
        self._stored.pop(at).close()
        return self.open(at)

    def flush(self) -> None:
        """Have everything in files: a crash loses nothing of it."""
        for copy in self._stored.values():
            copy.flush()

    def close_copy(self, at: TopicPartition) -> None:
        """Close the copy of a journal, if it is open."""
        if at in self._stored:
            self._stored[at].close()

    def close(self) -> None:
        """Close all copies."""
        for copy in self._stored.values():
            copy.close()

    def crash(self) -> None:
        """Leave what a killed process would have left."""
        self.close()
        for copy in self._stored.values():
            if self._random.random() > _KEPT:
                copy.lose(int(self._random.random() ** 2 * 200))
        if self._stored and self._random.random() < _ACCIDENTS:
            at = self._random.choice(sorted(self._stored))
            other = self._random.choice(sorted(self._stored))
            accident = self._random.choice(("gone", "foreign", "older"))
            if accident == "gone":
                del self._stored[at]
            elif accident == "foreign":
                self._stored[at] = self._stored[other].like(at)
            elif at in self._former:
                self._stored[at] = self._former[at].like(at)
        for at, copy in self._stored.items():
            if self._random.random() < _ACCIDENTS:
                self._former[at] = copy.like(at)
