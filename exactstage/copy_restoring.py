"""Restoring with a local copy: only the journal's tail is read, if the copy is what it says.

The copy is judged twice: by what it says of itself before anything is read (``why_foreign``), and
by the checkpoints and the gaps that are found while its journal is read (``Tail``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .checkpoint import RESERVED
from .errors import FailStop
from .journal import Journal
from .local_copy import LocalCopy, Position, digest, timer_key
from .local_rows import LocalRows
from .log import Bounds, Cluster, Record
from .stage import Stage

SHARE_OF_TOMBSTONES = 0.75
"""Share of a tombstone's life for which a restore may take, and a copy lack what came later."""


class Changes(dict[bytes, bytes | None]):
    """Rows that some records change; what is removed is kept as None."""

    def pop(self, key: bytes, default: Any = None) -> Any:
        """Note that a row is removed."""
        self[key] = None
        return default


def belonging(
    app_id: str, cluster: Cluster, stage: Stage, *, partition: int, partitions: int
) -> Mapping[str, Any]:
    """Return what has to be the same in a copy of this journal; see ``Position.belongs``."""
    return {
        "app": app_id,
        "cluster": cluster.id,
        "topic": cluster.topics[stage.changelog],
        "stage": stage.name,
        "partition": partition,
        "partitions": partitions,
        "rows": stage.row_format,
        "index": stage.index_version,
        "timers": stage.timers is not None,
        "is_open": stage.keeps_open is not None,
        "check": stage.check is not None,
        "settings": dict(stage.settings),
    }


def why_foreign(
    position: Position, belongs: Mapping[str, Any], held: Bounds, fence: int
) -> str | None:
    """Return why a copy can't be one of this journal; None if it may be."""
    for name, value in belongs.items():
        if (found := position.belongs.get(name)) != value:
            if name == "settings" and isinstance(found, Mapping):
                return _other_settings(found, value)
            return f"it was written for {name} {found!r}, here is {value!r}"
    if position.offset > fence:
        return (
            f"it is ahead of its journal: it has it up to {position.offset}, which ends at {fence}"
        )
    if held.first > position.ring_offset:
        return f"the journal begins at {held.first} now, after {position.ring_offset}"
    return None


def _other_settings(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return why a copy is foreign for its settings: those that differ."""
    differing = ", ".join(
        f"{name}={before.get(name, 'not set')} (here {now.get(name, 'not set')})"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )
    return f"it was written with {differing}"


_MOST_KEPT = 100_000
"""Open rows up to which an empty copy is filled without marking the others as not open."""


class Tail:
    """One journal with a copy, while what the copy lacks is read."""

    def __init__(self, stage: Stage, local: LocalRows, held: Bounds) -> None:
        """Continue from the copy of ``local``, which is judged already, or is empty."""
        self._stage, self.local = stage, local
        self._position = local.copy.position
        self.first = held.first if self._position is None else self._position.ring_offset
        """Where reading begins."""
        self.refused: str | None = None
        """Why the copy must not be used, once that is known."""
        self.next = held.first if self._position is None else self._position.offset
        """The offset behind what was read."""
        self._seen = False
        """Whether the journal still has the copy's last checkpoint."""
        self._sought = -1 if self._position is None else self._position.unfinished_offset
        """Offset of the last row of a takeover that did not end, while it is not found again."""
        self.has_gaps = False
        """Whether something was compacted away in what the copy lacks, or may have been."""
        self._kept: set[bytes] | None = set() if self._position is None else None
        """Of a copy that was empty: the rows in it that are open; None: it may be any."""

    @property
    def has_copy(self) -> bool:
        """Whether it continues from a copy: then that is used, unless it is refused."""
        return self._position is not None

    def split(self, records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
        """Return the records that the copy has, and those that it lacks."""
        position = self._position
        if position is None:
            return (), records
        known = [record for record in records if record.offset < position.offset]
        for record in known:
            if record.offset == position.checkpoint_offset:
                self._seen = True
                if digest(record.value or b"") != position.checkpoint:
                    self.refused = f"its commit {position.commit} is not that of the journal"
        new = records[len(known) :]
        self._look_for_unfinished(new)
        return known, new

    def _look_for_unfinished(self, records: Sequence[Record]) -> None:
        """Look for the last row that a takeover wrote which did not end.

        Rows up to there are in the copy; they are those of the journal if it still has that one.
        """
        position = self._position
        if position is None or self._sought < 0:
            return
        found = next((record for record in records if record.offset >= self._sought), None)
        if found is None:
            return
        if found.offset == self._sought and record_digest(found) == position.unfinished:
            self._sought = -1
        else:
            self.refused = self._lacks_unfinished()

    def _lacks_unfinished(self) -> str:
        return (
            f"a takeover that did not end has written rows up to offset {self._sought}, and its "
            f"journal does not have that one any more"
        )

    def add(self, records: Sequence[Record], changes: Changes) -> None:
        """Take what records that the copy lacks have changed.

        Raises ``DiskBehind`` where it has to come again, and ``FailStop``.
        """
        if not records:
            return
        if self.refused is None:
            self._write(records, changes)
        last = records[-1].offset
        if records[0].offset != self.next or last - records[0].offset + 1 != len(records):
            self.has_gaps = True
        self.next = last + 1

    def _write(self, records: Sequence[Record], changes: Changes) -> None:
        timers, is_open = derived(self._stage, changes, self.local.suspects)
        keeps = None if self._stage.keeps_open is None else (lambda key, _: key in is_open)
        kept = self._kept
        self.local.copy.write(
            changes.items(),
            timers=timers,
            keeps=keeps,
            kept=kept,
            position=self._unfinished(records),
        )
        if kept is not None:
            kept.difference_update(changes)
            kept |= is_open
            if len(kept) > _MOST_KEPT:
                self._kept = None

    def _unfinished(self, records: Sequence[Record]) -> Position | None:
        """Return what the copy says of itself from now on, if that changes.

        An empty one says nothing before all is read: what is found of it then is thrown away.
        """
        row = next((r for r in reversed(records) if r.key and r.key[:1] != RESERVED), None)
        if row is None:
            return None
        self.local.unfinished = row.offset, record_digest(row)
        if self._position is None or self._sought >= 0:
            return None
        offset, found = self.local.unfinished
        return msgspec.structs.replace(self._position, unfinished_offset=offset, unfinished=found)

    def judge(self, last_commit: int, *, age_limit_ms: float, now_ms: int) -> str | None:
        """Return why the copy must not be used, now that all is read; None if it may be."""
        position = self._position
        if self.refused is not None or position is None:
            return self.refused
        if last_commit < position.commit:
            return f"it is ahead of its journal, which lacks its commit {position.commit}"
        if not self._seen:
            # Compacted away, or lost and replaced by others: nothing says which.
            return f"its journal does not have its commit {position.commit} any more"
        if self._sought >= 0:
            return self._lacks_unfinished()
        age_ms = now_ms - position.time_ms
        if self.has_gaps and age_ms > age_limit_ms:
            return (
                f"it is {age_ms / 1000:.0f} s old, and tombstones may have been compacted away "
                f"since (delete.retention.ms of the changelog)"
            )
        return None


def derived(
    stage: Stage, changes: Changes, suspects: dict[bytes, None]
) -> tuple[list[bytes], set[bytes]]:
    """Return what a copy has beside these rows: their timers, and the keys that count as open.

    ``suspects`` gets the keys of rows that the stage can't read, and loses those that are gone.
    Raises ``FailStop``.
    """
    timers, is_open = list[bytes](), set[bytes]()
    for key, row in changes.items():
        suspects.pop(key, None)
        if row is None:
            continue
        try:
            times, wants = read_row(stage, key, row)
        except FailStop:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is reported with its row
            suspects[key] = None
            continue
        timers += [timer_key(time_ms, key) for time_ms in times]
        if wants:
            is_open.add(key)
    return timers, is_open


def read_row(stage: Stage, key: bytes, row: bytes) -> tuple[Sequence[int], bool]:
    """Return the timers of a restored row, and whether the stage counts it as open.

    Raises what the stage does.
    """
    if stage.check is not None:
        stage.check(key, row)
    times = () if stage.timers is None else stage.timers(key, row)
    return times, stage.keeps_open is not None and stage.keeps_open(key, row)


def record_digest(record: Record) -> str:
    """Return what distinguishes a record from another one at its offset."""
    return digest(msgspec.json.encode((record.timestamp, record.key, record.value)))


def new_local(
    stage: Stage, journal: Journal, copy: LocalCopy, belongs: Mapping[str, Any]
) -> LocalRows:
    """Have the rows of a journal in a copy."""
    local = LocalRows(copy, journal.rows)
    local.belongs, local.keeps = belongs, stage.keeps_open
    journal.keep_locally(local)
    return local
