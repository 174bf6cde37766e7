"""Local copies: the rows on a worker's disk, compared with the journals that they are copies of.

A copy is compared as of its position. Rows that its journal has changed later may be compacted
away, so of those not all is known. One that the next worker throws away is not compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exactstage import Record, TopicPartition
from exactstage.inspection import (
    RESERVED,
    CopyRefused,
    FoundCopy,
    copy_digest,
    iso_time,
    record_digest,
    why_foreign,
)
from exactstage.log import Bounds

from .facts import BUCKETS, Facts, digest
from .findings import CopyReport, CopyState, Findings, Kind, Place

Wants = Callable[[bytes, bytes], tuple[Sequence[int], bool]]
"""By key and row: the times of the row's timers, and whether it counts as open."""

_ABSENT = 0
CLOCKS_DIFFER_SECONDS = 60
"""How much two clocks may differ; timers that are due within that may have been taken."""

_COMPACTED = "rows of local copies that the journals have changed since, and compacted"
_DUE = "timers that were due in local copies, and may have been taken"
_NOT_READ = "rows of local copies whose timers can't be read"


class Ages(NamedTuple):
    """From which age on a copy may lack tombstones."""

    limit_ms: float
    now_ms: int


class _Difference(NamedTuple):
    """A row that is not the journal's."""

    offset: int
    """Of the journal's record that has the row."""

    is_in_journal: bool


class _Compared:
    """One copy, and what is read of its journal."""

    def __init__(self, copy: FoundCopy, belongs: Mapping[str, object], wants: Wants) -> None:
        self.copy, self._belongs, self._wants = copy, belongs, wants
        self.refused = copy.refused
        position = copy.position
        self._at = 0 if position is None else position.offset
        # A takeover that did not end has written rows from behind its position.
        self._written = max(self._at, 0 if position is None else position.unfinished_offset + 1)
        self._facts = Facts(3)
        self._held: Bounds | None = None
        self._next = 0
        self._last_gap = -1
        """The last offset before ``_written`` that the journal has no record at."""

        self._has_gaps = False
        """Whether it lacks records behind the copy's position."""

        self._has_checkpoint = False
        self._unread: str | None = None
        """Which part of its journal could not be read, if any."""

        self._unfinished = -1 if position is None else position.unfinished_offset
        """Offset of the last row of a takeover that did not end; -1 once it is found, or if there
        is none."""

    def holds(self, held: Bounds) -> None:
        """Note what the journal has, now; a later call only raises its end."""
        if self._held is None:
            self._held = held
            self._skip_to(held.first)
            position = self.copy.position
            if position is not None and self.refused is None:
                self.refused = why_foreign(position, self._belongs, held, held.end)
        self._held = self._held._replace(end=held.end)

    def _skip_to(self, offset: int) -> None:
        if offset > self._next:
            self._last_gap = max(self._last_gap, min(offset, self._written) - 1)
            self._has_gaps = self._has_gaps or offset > max(self._next, self._at)
        self._next = offset

    def take(self, record: Record) -> None:
        """Take the next record of the journal."""
        position = self.copy.position
        if self.refused is not None or position is None:
            return
        _, _, offset, _, key, value, _ = record
        self._skip_to(offset)
        self._next += 1
        if key and key[:1] != RESERVED:
            self._facts.add(digest(key), _ABSENT if value is None else digest(value), offset)
            if offset == self._unfinished and record_digest(record) == position.unfinished:
                self._unfinished = -1
        elif offset == position.checkpoint_offset:
            self._has_checkpoint = copy_digest(value or b"") == position.checkpoint

    def unread(self, why: str) -> None:
        """Note that the journal is not known as a whole: nothing can be compared with it."""
        self._unread = self._unread or why

    def judge(self, findings: Findings, ages: Ages) -> CopyReport:
        """Compare the copy, unless the next worker throws it away."""
        name, position = self.copy.path.name, self.copy.position
        why = self.refused or self._why_not_used(ages)
        if why is not None:
            return CopyReport(name, CopyState.NOT_USED, why)
        if position is None:
            return CopyReport(name, CopyState.EMPTY)
        found = Findings()
        try:
            rows = self._compare(found)
        except CopyRefused as error:
            return CopyReport(name, CopyState.NOT_USED, str(error))
        findings.take(found)
        state = CopyState.DIFFERS if found.by_kind else CopyState.SAME
        return CopyReport(name, state, commit=position.commit, offset=position.offset, rows=rows)

    def _why_not_used(self, ages: Ages) -> str | None:
        position = self.copy.position
        if position is None:
            return None
        if self._unread is not None:
            return self._unread
        if not self._has_checkpoint:
            return f"its journal does not have its commit {position.commit} any more"
        if self._unfinished >= 0:
            return (
                f"a takeover that did not end has written rows up to offset {self._unfinished}, "
                f"and its journal does not have that one any more"
            )
        age_ms = ages.now_ms - position.time_ms
        if self._has_gaps and age_ms > ages.limit_ms:
            return (
                f"it is {age_ms / 1000:.0f} s old, and tombstones may have been compacted away "
                f"since (delete.retention.ms of the changelog)"
            )
        return None

    def _compare(self, findings: Findings) -> int:
        """Report what differs; return how many rows the copy has. Raises ``CopyRefused``."""
        is_open = set(self.copy.open_keys())
        rows, count = Facts(2), 0
        for key, row in self.copy.rows():
            count += 1
            rows.add(digest(key), digest(row))
            self._check_row(key, row, is_open, findings)
        for key in is_open:
            self._differs(findings, f"{_named(key)} is among its open rows, and it has no such row")
        self._report(self._differences(rows, findings), findings)
        return count

    def _check_row(self, key: bytes, row: bytes, is_open: set[bytes], findings: Findings) -> None:
        """Check the timers of a row, and whether it counts as open; remove it from ``is_open``."""
        position = self.copy.position
        assert position is not None, "an empty copy has no rows"
        try:
            times, wants = self._wants(key, row)
        except Exception:  # noqa: BLE001 - whatever it is: the row is compared all the same
            findings.unchecked[_NOT_READ] += 1
            is_open.discard(key)
            return
        for time_ms in times:
            if self.copy.has_timer(time_ms, key):
                continue
            if time_ms <= position.time_ms + CLOCKS_DIFFER_SECONDS * 1000:
                findings.unchecked[_DUE] += 1
            else:
                message = f"the timer of {_named(key)} at {iso_time(time_ms).decode()} is missing"
                self._differs(findings, message)
        if wants and key not in is_open:
            self._differs(findings, f"{_named(key)} is missing among its open rows")
        elif not wants and key in is_open:
            self._differs(findings, f"{_named(key)} is among its open rows, and is not open")
        is_open.discard(key)

    def _differences(self, rows: Facts, findings: Findings) -> dict[int, _Difference]:
        """Return the differing rows by the hash of their key."""
        found: dict[int, _Difference] = {}
        for bucket in range(BUCKETS):
            versions: dict[int, list[tuple[int, int]]] = {}
            for key, value, offset in self._facts.take(bucket):
                versions.setdefault(key, []).append((value, offset))
            copied = {key: value for key, value in rows.take(bucket)}  # noqa: C416
            for key in versions.keys() | copied.keys():
                value = copied.get(key, _ABSENT)
                difference = self._difference(versions.get(key, ()), value, findings)
                if difference is not None:
                    found[key] = difference
        return found

    def _difference(
        self, versions: Sequence[tuple[int, int]], value: int, findings: Findings
    ) -> _Difference | None:
        """Compare the row of one key with its versions in the journal."""
        before, known_at, possible = _ABSENT, -1, set[int]()
        for version, offset in versions:
            if offset < self._at:
                before, known_at = version, offset
            elif offset < self._written:
                possible.add(version)
        if value == before or value in possible:
            return None
        is_changed_since = bool(versions) and versions[-1][1] >= self._at
        if is_changed_since and self._last_gap > known_at:
            findings.unchecked[_COMPACTED] += 1
            return None
        return _Difference(known_at, is_in_journal=before != _ABSENT)

    def _report(self, differences: dict[int, _Difference], findings: Findings) -> None:
        if not differences:
            return
        for key in self._keys_in(differences):
            difference = differences.pop(digest(key))
            if difference.is_in_journal:
                message = f"the row of {_named(key)} is another one than the journal's"
                self._differs(findings, message, difference.offset)
            else:
                message = f"it has a row of {_named(key)}, and the journal has none"
                self._differs(findings, message, difference.offset)
        for difference in differences.values():
            self._differs(findings, "the row of this record is missing", difference.offset)

    def _keys_in(self, hashes: Mapping[int, object]) -> Iterator[bytes]:
        """Yield the keys of the copy that have one of these hashes."""
        for key, _ in self.copy.rows():
            if digest(key) in hashes:
                yield key

    def _differs(self, findings: Findings, message: str, offset: int = -1) -> None:
        at, position = self.copy.at, self.copy.position
        assert position is not None, "an empty copy is not compared"
        place = Place(*at, offset if offset >= 0 else position.checkpoint_offset)
        message = f"local copy {self.copy.path.name}: {message}"
        findings.add(Kind.COPY_DIFFERS, place, message)


@dataclass(slots=True)
class LocalCopies:
    """Compares the copies in a state directory with the journals, as those are read."""

    ages: Ages
    missing: int = 0
    """Journals without a copy here."""

    _compared: dict[TopicPartition, _Compared] = field(default_factory=dict)
    _others: list[str] = field(default_factory=list)

    def add(self, copy: FoundCopy, belongs: Mapping[str, object], wants: Wants) -> None:
        """Compare a copy too, which must belong to what ``belongs`` says."""
        self._compared[copy.at] = _Compared(copy, belongs, wants)

    def add_other(self, name: str) -> None:
        """Note a directory that is no copy of one of the journals."""
        self._others.append(name)

    def holds(self, bounds: Mapping[TopicPartition, Bounds]) -> None:
        """Note what the journals have, before they are read, and each time that is asked again."""
        for at, held in bounds.items():
            if (compared := self._compared.get(at)) is not None:
                compared.holds(held)

    def take(self, record: Record) -> None:
        """Take the next record of a journal."""
        compared = self._compared.get(TopicPartition(record.topic, record.partition))
        if compared is not None:
            compared.take(record)

    def unread(self, at: TopicPartition, why: str) -> None:
        """Note that a part of a journal could not be read, so that its copy is not compared."""
        if (compared := self._compared.get(at)) is not None:
            compared.unread(why)

    def judge(self, findings: Findings) -> list[CopyReport]:
        """Compare each copy; all that can be read of the journals has been read."""
        reports = [each.judge(findings, self.ages) for each in self._compared.values()]
        why = "it is no copy of a journal of this app id"
        reports += [CopyReport(name, CopyState.UNKNOWN, why) for name in self._others]
        return sorted(reports, key=lambda report: report.name)


def _named(key: bytes) -> str:
    text = key.decode(errors="replace")
    return f"{text!r}"
