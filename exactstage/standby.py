"""Standbys: the journals of partitions that another worker owns are followed into local copies.

Nothing is claimed and nothing is written to the log. A copy has whole commits only, and says of
itself what that of an owner says: so the takeover of a partition that was followed is the usual one
(``copy_restoring``), and finds that only the journal's tail is left to read (docs/design.md 4.12).
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import msgspec

from .advice import setting
from .checkpoint import FENCE_KEY, NOTE_KEY, RESERVED
from .copy_restoring import Changes, Tail, derived, why_foreign
from .errors import FailStop, PositionLost, RecordsLost, UnreadableBatch, as_fail_stop
from .foreign import described, foreign_reason
from .guarded_tasks import GuardedTasks
from .identity import CHECKPOINT_FORMAT
from .local_copy import CopyRefused, StateDirectory, timer_key
from .local_rows import LocalRows
from .log import Bounds, Cluster, Log, Reader, Record, TopicPartition
from .restoring import Checkpoints, Foreign, decoded, ends_of, fold
from .slow_disk import DiskBehind
from .stage import Stage

logger = logging.getLogger(__name__)

Belongs = Callable[[Stage, int, Cluster], Mapping[str, Any]]
"""What has to be the same for a copy to be of the journal of a stage and partition."""

_FETCH_SECONDS = 0.5

_RECORDS_AT_ONCE = 200
"""Records that are taken before the event loop runs."""

_REST_SHARE = 3
"""For how many times as long nothing is taken then, in a worker that has partitions of its own."""

_DISK_SECONDS = 0.05
"""After which a write comes again that the disk was too slow for."""

_MOST_OPEN, _MOST_OPEN_BYTES = 20_000, 16 * 1024 * 1024
"""Records that may come without a checkpoint; a commit has fewer, compaction leaves more."""

_RETRY_SECONDS = 30.0
_MOST_RETRY_SECONDS = 3600.0


class _Number(msgspec.Struct):
    """What a follower needs of a checkpoint."""

    n: int
    format: int = CHECKPOINT_FORMAT


class Follower:
    """One journal while it is followed: first up to its end, then as it grows."""

    def __init__(
        self, at: TopicPartition, stage: Stage, state: StateDirectory, age_limit_seconds: float
    ) -> None:
        self.at, self.stage = at, stage
        self._state, self._age_limit_seconds = state, age_limit_seconds
        self._local: LocalRows | None = None
        """None before it has begun, and while it rests after a failure."""
        self._tail: Tail | None = None
        """While it is read up to its end for the first time."""
        self.position, self.epoch = 0, -1
        """The next offset, and the leader epoch of what is before it; -1 where it is unknown."""
        self._end = 0
        """Up to where it is read to catch up."""
        self._first = self._next = self._n = 0
        self._fresh_at = self._time_ms = 0.0
        """When it had all of the journal, by the event loop's clock and by the brokers'."""
        self._slots: Checkpoints = {}
        self._foreign: Foreign = {}
        self._copied = False
        self._open: list[Record] = []
        """Records whose checkpoint has not come yet."""
        self._failures = 0
        self.rests_until = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether it is read."""
        return self._local is not None

    @property
    def catches_up(self) -> bool:
        """Whether it has not been read up to its end yet."""
        return self._tail is not None

    @property
    def is_hasty(self) -> bool:
        """Whether it takes no rests: reading took so long once that tombstones may have gone."""
        return self._failures > 0

    def begin(
        self, held: Bounds, belongs: Mapping[str, Any], now: float, now_ms: int | None
    ) -> None:
        """Open the copy; one that is not of this journal is thrown away.

        ``now_ms`` is the brokers' time, None while it is unknown. Raises ``FailStop``.
        """
        copy = self._state.open(self.at)
        if copy.position is not None and (
            why := why_foreign(copy.position, belongs, held, held.end)
        ):
            copy = self._state.renew(self.at, why)
        self._local = local = LocalRows(copy, {})
        local.belongs, local.keeps = belongs, self.stage.keeps_open
        self._tail = Tail(self.stage, local, held)
        self._slots, self._foreign, self._open = {}, {}, []
        self.position, self.epoch = self._tail.first, -1
        self._first, self._end, self._n = held.first, held.end, 0
        self._fresh_at, self._time_ms = now, now_ms or 0

    def take(self, records: Sequence[Record], now: float) -> None:
        """Take the next records.

        Raises ``DiskBehind`` where they have to come again, ``CopyRefused`` and ``FailStop``.
        """
        assert self._local is not None, "it has begun"
        if self._tail is not None:
            self._catch_up(self._tail, records, now)
        else:
            self._go_on(self._local, records, now)

    def _catch_up(self, tail: Tail, records: Sequence[Record], now: float) -> None:
        known, new = tail.split(records)
        changes = Changes()
        fold(known, Changes(), self._slots, self._foreign)
        fold(new, changes, self._slots, self._foreign)
        tail.add(new, changes)
        if tail.refused is not None:
            raise CopyRefused(tail.refused)
        if tail.has_gaps:
            self._require_fresh(now)

    def has_read(self, position: int, epoch: int, ends_at: tuple[int, float] | None) -> None:
        """Note how far it is read; ``ends_at`` is where it ended when that was asked."""
        self.position, self.epoch = position, epoch
        if ends_at is not None and position >= ends_at[0]:
            self._fresh_at = max(self._fresh_at, ends_at[1])

    def completes(self, now_ms: int | None) -> bool:
        """Let the copy say that it has the journal up to its end, once that is so.

        Raises ``DiskBehind`` where it has to be tried again, ``CopyRefused`` where it must not be
        used, ``FailStop`` where a takeover would end.
        """
        tail, local = self._tail, self._local
        if tail is None or local is None or self.position < self._end:
            return False
        commits = sorted(map(decoded, self._slots.values()), key=lambda checkpoint: checkpoint.n)
        self._copied = any(c.identity is not None and c.identity.copied for c in commits)
        self._require_own(self._foreign)
        if local.suspects:
            raise self._unreadable(next(iter(local.suspects)))
        before = local.copy.position
        time_ms = now_ms if now_ms is not None or before is None else before.time_ms
        age_limit_ms = self._age_limit_seconds * 1000
        last = commits[-1].n if commits else 0
        if (why := tail.judge(last, age_limit_ms=age_limit_ms, now_ms=time_ms or 0)) is not None:
            raise CopyRefused(why)
        if tail.has_gaps and before is not None and now_ms is None:
            raise CopyRefused("how old it is is not known before a broker has stated its time")
        record = max(self._slots.values(), key=lambda each: each.offset, default=None)
        checkpoint = None if record is None else record.value or b""
        local.restored(ends_of(self._slots) if commits else (), self._first, checkpoint)
        if record is not None:
            times = (record.timestamp, self._time_ms, 0 if before is None else before.time_ms)
            self._time_ms = max(times)
            local.begin(int(self._time_ms))
        elif next(local.copy.rows(), None) is not None:
            raise FailStop(f"{self.at} has rows but no checkpoint")
        self._tail, self._n, self._next, self._failures = None, last, tail.next, 0
        self._slots, self._foreign = {}, {}
        return True

    def _go_on(self, local: LocalRows, records: Sequence[Record], now: float) -> None:
        """Write the commits that have come whole, in one batch."""
        first, last = records[0].offset, records[-1].offset
        if first != self._next or last - first + 1 != len(records):
            self._require_fresh(now)
        found = [*self._open, *records]
        whole = len(found)
        while whole and not _is_checkpoint(found[whole - 1]):
            whole -= 1
        if whole:
            self._write(local, found[:whole])
        elif (
            len(found) > _MOST_OPEN
            or sum(len(record.value or b"") for record in found) > _MOST_OPEN_BYTES
        ):
            raise _Again
        self._open, self._next = found[whole:], last + 1

    def _write(self, local: LocalRows, commits: Sequence[Record]) -> None:
        changes, slots, foreign = Changes(), Checkpoints(), Foreign()
        fold(commits, changes, slots, foreign)
        self._require_own(foreign)
        ends = list(self._numbers(commits))
        old = self._timers_of(local, changes)
        suspects = dict[bytes, None]()
        timers, is_open = derived(self.stage, changes, suspects)
        if suspects:
            raise self._unreadable(next(iter(suspects)))
        self._time_ms = max(self._time_ms, commits[-1].timestamp)
        local.follow(
            changes.items(),
            ends,
            commits[-1].value or b"",
            timers=timers,
            taken=old.difference(timers),
            is_open=None if self.stage.keeps_open is None else (lambda key, _: key in is_open),
            time_ms=int(self._time_ms),
        )
        self._n = ends[-1][0]

    def _numbers(self, commits: Sequence[Record]) -> Iterator[tuple[int, int]]:
        """Yield the number of each commit, and the offset behind it.

        Raises ``CopyRefused`` where they do not rise: what was read before is not in the journal.
        """
        n = self._n
        for record in commits:
            if not _is_checkpoint(record):
                continue
            found = _number_of(record)
            if found <= n:
                raise CopyRefused(f"commit {found} of its journal comes after commit {n}")
            n = found
            yield n, record.offset + 1

    def _timers_of(self, local: LocalRows, changes: Changes) -> set[bytes]:
        """Return the timers that the copy has of rows which change.

        An owner takes them when they are due; here nothing would, and they would become many.
        """
        if (timers := self.stage.timers) is None:
            return set()
        rows = ((key, local.copy.get(key)) for key in changes)
        return {
            timer_key(time_ms, key)
            for key, row in rows
            if row is not None
            for time_ms in timers(key, row)
        }

    def _require_own(self, foreign: Foreign) -> None:
        """Raise ``FailStop`` for records that no worker wrote, as a takeover would."""
        for record in foreign.values():
            if (why := foreign_reason(record, copied=self._copied)) is not None:
                raise FailStop(described(record, why))

    def _require_fresh(self, now: float) -> None:
        """Raise ``CopyRefused`` where a tombstone may have been compacted away unread."""
        if now - self._fresh_at > self._age_limit_seconds:
            raise CopyRefused(
                f"it has not had the end of its journal for {now - self._fresh_at:.0f} s, and "
                f"tombstones may have been compacted away since (delete.retention.ms of the "
                f"changelog)"
            )

    def _unreadable(self, key: bytes) -> FailStop:
        return FailStop(
            f"{self.at} has a row with the key {key!r} that the stage {self.stage.name} can't "
            f"read here: does a newer version own the partition?"
        )

    def look_again(self) -> None:
        """Begin once more with the copy as it is: what was lost of the journal shows then."""
        self.end()

    def fail(self, now: float) -> float:
        """Rest, the longer the more often this happens; return for how long."""
        self.end()
        seconds = _RETRY_SECONDS * 2.0**self._failures
        self._failures += 1
        self.rests_until = now + min(seconds, _MOST_RETRY_SECONDS)
        return self.rests_until - now

    def refuse(self, why: str, now: float) -> None:
        """Throw the copy away, and begin anew: at once, unless that does not help."""
        self.end()
        self._state.throw_away(self.at, why)
        if self._failures:
            self.fail(now)
        else:
            self._failures += 1

    def end(self) -> None:
        """Close the copy, which stays as it is."""
        self._local = self._tail = None
        self._open, self._slots, self._foreign = [], {}, {}
        self._state.close_copy(self.at)


class _Again(Exception):
    """A journal has more records without a checkpoint than memory is for."""


def _is_checkpoint(record: Record) -> bool:
    key = record.key
    if not key or key[:1] != RESERVED or key in {FENCE_KEY, NOTE_KEY}:
        return False
    return foreign_reason(record, copied=True) is None


def _number_of(record: Record) -> int:
    """Return the number of a checkpoint. Raises ``JournalBroken`` for what is none."""
    line, _, _ = (record.value or b"").partition(b"\n")
    try:
        found = msgspec.json.decode(line, type=_Number)
    except msgspec.DecodeError:
        return decoded(record).n  # It says what is wrong.
    return found.n if found.format <= CHECKPOINT_FORMAT else decoded(record).n


class Standbys:
    """Follows the journals of partitions, within bounds: one after the other, some at a time."""

    def __init__(
        self,
        *,
        log: Log,
        stages: Sequence[Stage],
        state: StateDirectory | None,
        belongs: Belongs,
        age_limit_seconds: float,
        tasks: GuardedTasks,
        is_busy: Callable[[], bool],
    ) -> None:
        """Follow nothing yet; without ``state`` nothing is followed ever.

        ``is_busy`` says whether the worker has other work.
        """
        self._log, self._stages, self._state = log, stages, state
        self._belongs, self._age_limit_seconds = belongs, age_limit_seconds
        self._tasks, self._is_busy = tasks, is_busy
        self._followers: dict[TopicPartition, Follower] = {}
        self._lags: Mapping[TopicPartition, int] = {}
        self._may_run = asyncio.Event()
        self._is_running = self._is_disk_behind = False
        self._cluster: Cluster | None = None
        self.records_read = 0
        """Records that were followed."""

    @property
    def partitions(self) -> AbstractSet[int]:
        """Partitions that are followed. Any thread may ask."""
        return {at.partition for at in list(self._followers)}

    @property
    def is_complete(self) -> bool:
        """Whether it follows, and has the rows of all that it follows."""
        followers = self._followers.values()
        return bool(followers) and all(each.has_begun and not each.catches_up for each in followers)

    def lags(self) -> Mapping[str, int]:
        """Return by how many records the copies are behind, by stage. Any thread may ask."""
        lags = self._lags
        return {
            stage.name: sum(lag for at, lag in lags.items() if at.topic == stage.changelog)
            for stage in self._stages
        }

    def keep(self, partitions: Collection[int]) -> None:
        """Follow none but these, and none of them before ``follow``: their copies are closed."""
        self._may_run.clear()
        for at in [at for at in self._followers if at.partition not in partitions]:
            self._followers.pop(at).end()
            self._lags = {each: lag for each, lag in self._lags.items() if each != at}

    def follow(self, partitions: Collection[int]) -> None:
        """Follow the journals of these partitions, which this worker does not own."""
        if self._state is None:
            if partitions:
                logger.info(
                    "this worker is no standby for partitions %s: it has no %s",
                    sorted(partitions),
                    setting("STATE_DIR"),
                )
            return
        self.keep(partitions)
        if partitions and self.partitions != set(partitions):
            logger.info("standby for partitions %s", sorted(partitions))
        for partition in sorted(set(partitions) - self.partitions):
            for stage in self._stages:
                at = TopicPartition(stage.changelog, partition)
                self._followers[at] = Follower(at, stage, self._state, self._age_limit_seconds)
        if not self._followers:
            return
        self._may_run.set()
        if not self._is_running:
            self._is_running = True
            self._tasks.spawn("standbys", self._run())

    async def _run(self) -> None:
        while True:
            await self._may_run.wait()
            try:
                await self._read()
            except (PositionLost, RecordsLost) as failure:
                # It is not said which one; those that have lost nothing find out soon.
                logger.info("standby: journals are looked at again: %s", failure)
                for follower in self._followers.values():
                    follower.look_again()
                await asyncio.sleep(_FETCH_SECONDS)
            except UnreadableBatch as batch:
                at = TopicPartition(batch.topic, batch.partition)
                self._rest([at], batch)
            except Exception as error:  # noqa: BLE001 - the owners work on
                self._rest(list(self._followers), as_fail_stop("reading", error))

    async def _read(self) -> None:
        """Read while there is something to follow. Raises what a reader does."""
        reader = await self._log.open_reader(committed_only=False, closing=RESERVED)
        try:
            await self._read_with(reader)
        except GeneratorExit:
            raise  # Thrown away with its machine: it can't await.
        except BaseException:
            await reader.close()
            raise
        await reader.close()

    async def _read_with(self, reader: Reader) -> None:
        read: Mapping[TopicPartition, Follower] = {}
        while self._followers:
            await self._may_run.wait()
            await self._begin_next()
            wanted = {at: each for at, each in self._followers.items() if each.has_begun}
            if wanted != read:
                read = wanted
                self._assign(reader, read)
            if not read:
                await asyncio.sleep(_FETCH_SECONDS)
                continue
            self._note(reader, read)
            fetched = await reader.fetch(timeout_seconds=_FETCH_SECONDS)
            for at, records in fetched.items():
                await self._take(read[at], records)
            self._note(reader, read)
            if any(not each.has_begun for each in read.values()):
                read = {}  # It may begin again, from elsewhere.

    def _assign(self, reader: Reader, read: Mapping[TopicPartition, Follower]) -> None:
        positions = {at: each.position for at, each in read.items()}
        epochs = {at: each.epoch for at, each in read.items() if each.epoch >= 0}
        reader.assign(positions, epochs)

    async def _begin_next(self) -> None:
        """Begin with the next journal, once the others are read up to their ends.

        One alone is read up to its end within the life of a tombstone sooner.
        """
        now = asyncio.get_running_loop().time()
        if any(each.catches_up for each in self._followers.values()):
            return
        waiting = (each for each in self._followers.values() if not each.has_begun)
        follower = next((each for each in waiting if each.rests_until <= now), None)
        if follower is None:
            return
        if self._cluster is None:
            self._cluster = await self._log.describe([stage.changelog for stage in self._stages])
        began_ms = self._time_ms()
        held = (await self._log.bounds([follower.at]))[follower.at]
        if not self._is_followed(follower):
            return
        belongs = self._belongs(follower.stage, follower.at.partition, self._cluster)
        self._try(follower, partial(follower.begin, held, belongs, now, began_ms))

    def _is_followed(self, follower: Follower) -> bool:
        return self._followers.get(follower.at) is follower

    async def _take(self, follower: Follower, records: Sequence[Record]) -> None:
        """Take records, some at a time, and leave the loop to other work in between."""
        clock = asyncio.get_running_loop().time
        for start in range(0, len(records), _RECORDS_AT_ONCE):
            await self._may_run.wait()
            if not self._is_followed(follower) or not follower.has_begun:
                return
            some = records[start : start + _RECORDS_AT_ONCE]
            began = clock()
            self._try(follower, partial(follower.take, some, began))
            while self._is_disk_behind and follower.has_begun:
                await asyncio.sleep(_DISK_SECONDS)
                await self._may_run.wait()
                if not self._is_followed(follower):
                    return
                began = clock()
                self._try(follower, partial(follower.take, some, began))
            self.records_read += len(some)
            rests = self._is_busy() and not follower.is_hasty
            await asyncio.sleep((clock() - began) * _REST_SHARE if rests else 0)

    def _note(self, reader: Reader, read: Mapping[TopicPartition, Follower]) -> None:
        """Note how far all is read, and which journals are read up to their ends now."""
        now, ends = asyncio.get_running_loop().time(), reader.seen_ends()
        positions, epochs = dict(reader.positions()), dict(reader.epochs())
        lags = dict[TopicPartition, int]()
        for at, follower in read.items():
            if not self._is_followed(follower) or not follower.has_begun:
                continue
            end, asked = ends.get(at), reader.end_asked(at)
            ends_at = None if end is None or asked is None else (end, min(now, asked))
            follower.has_read(positions[at], epochs.get(at, -1), ends_at)
            lags[at] = 0 if end is None else max(0, end - positions[at])
            self._try(follower, partial(self._complete, follower))
        self._lags = lags

    def _complete(self, follower: Follower) -> None:
        if not follower.completes(self._time_ms()):
            return
        if self.is_complete:
            logger.info("standby: copies of %s are complete", sorted(self.partitions))

    def _try(self, follower: Follower, work: Callable[[], None]) -> None:
        """Do something for one journal; a failure concerns no other one."""
        now = asyncio.get_running_loop().time()
        self._is_disk_behind = False
        try:
            work()
        except DiskBehind:
            self._is_disk_behind = True
        except _Again:
            follower.look_again()
        except CopyRefused as why:
            try:
                follower.refuse(str(why), now)
            except FailStop as failure:
                self._rest([follower.at], failure)
        except Exception as error:  # noqa: BLE001 - the owners work on
            self._rest([follower.at], as_fail_stop("following it", error))

    def _rest(self, journals: Sequence[TopicPartition], failure: FailStop) -> None:
        """Follow these journals later, with one line that says why."""
        now, seconds = asyncio.get_running_loop().time(), math.inf
        found = [self._followers[at] for at in journals if at in self._followers]
        for follower in found:
            seconds = min(seconds, follower.fail(now))
        if found:
            logger.warning(
                "standby: %s can't be followed, which is tried again in %.0f s; a takeover reads "
                "what its copy lacks: %s",
                ", ".join(str(each.at) for each in found),
                seconds,
                failure,
            )

    def _time_ms(self) -> int | None:
        """Return the brokers' time, None while it is unknown."""
        clock = self._log.clock
        return clock() if clock.is_known else None
