"""The index of accounts: their rows and ledger entries, on disk since they may not fit in memory.

It is a SQLite database, filled from the topics. Records and the position after them are stored in
one transaction, with the ids of cluster and topic: a later start continues there. An index of other
topics, of another format, or a corrupt one is deleted and read again. ``runs`` has the layout of
the entries.
"""

import fcntl
import logging
import sqlite3
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any

from exactstage import TopicPartition
from payments.client.errors import AccountsUnavailable
from payments.client.runs import RUN_RECORDS, Place, packed, unpacked

logger = logging.getLogger(__name__)

FORMAT = 2
"""Incremented when the tables change: an index of another format is read again."""

CACHE_KIB = 65_536
"""SQLite's cache for writing; the one for reading is a quarter of it."""

LOG_INTERVAL_SECONDS = 60.0
"""A problem that recurs within this time is not logged again."""

_OFFSET_BITS = 44
_PAGE_BYTES = 8192
_CHECKPOINT_PAGES = 8192
_ROWS_AT_ONCE = 150
"""Rows of one statement, which SQLite runs without the interpreter's lock. At most 999 values."""

_NEW_RUN_RECORDS = RUN_RECORDS // 4
"""Fewest records stored at once that begin a new run; fewer join the last run."""

_PRIMARY = 0xFF
"""Mask of the primary code in SQLite's extended error codes."""

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TABLES = """
CREATE TABLE positions (topic TEXT, partition INTEGER, source TEXT, position INTEGER,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE rows (partition INTEGER, key BLOB, value BLOB,
    PRIMARY KEY (partition, key)) WITHOUT ROWID;
CREATE TABLE runs (run INTEGER PRIMARY KEY);
CREATE TABLE entries (run INTEGER, account BLOB, last INTEGER, piece BLOB,
    PRIMARY KEY (run, account, last)) WITHOUT ROWID;
CREATE TABLE lasts (partition INTEGER, account BLOB, sequence INTEGER,
    PRIMARY KEY (partition, account)) WITHOUT ROWID;
CREATE TABLE strays (partition INTEGER, account BLOB, offset INTEGER,
    PRIMARY KEY (partition, account, offset)) WITHOUT ROWID;
"""

Row = tuple[bytes, bytes]
"""Key and value of a row of the journal."""


class Index:
    """One database in the given folder, or in a temporary one that ends with the client."""

    def __init__(self, folder: Path | None, name: str, journal: str) -> None:
        """Keep ``name`` in a folder; ``journal`` is the topic of rows, other topics are ledgers."""
        self._given, self._name, self._journal = folder, name, journal
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock_file: IO[bytes] | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._positions: dict[TopicPartition, tuple[str, int]] | None = None
        """The stored positions; None while there is no connection."""

        self._writing = threading.RLock()
        self.problem: str | None = None
        """Why the index can't be written, from a failure until the next success."""

        self._cant_open = False
        self._next_log_at = 0.0

    @property
    def file(self) -> Path:
        """The database."""
        folder = self._given or Path(self._temporary.name if self._temporary else ".")
        return folder / f"{self._name}.sqlite"

    def close(self) -> None:
        """Close the database; a temporary one is removed."""
        with self._writing:
            self._disconnect()
            self._release()
            if self._temporary is not None:
                self._temporary.cleanup()
                self._temporary = None

    @property
    def is_free(self) -> bool:
        """Whether no other thread is storing, so that storing does not wait."""
        free = self._writing.acquire(blocking=False)
        if free:
            self._writing.release()
        return free

    def position(self, at: TopicPartition, source: str) -> int | None:
        """Return the stored position in a partition of this source; None to read it from its start.

        It does not wait for a thread that is storing.
        """
        positions = self._positions
        if positions is None:
            with self._guarded():
                positions = self._positions
        assert positions is not None, "it is connected"
        found = positions.get(at)
        if found is None:
            return None
        if found[0] != source:
            logger.warning("the index of %s is of another topic: it is read again", at)
            return None
        return found[1]

    def restart(self, at: TopicPartition, source: str, position: int) -> None:
        """Delete the data of a partition, and begin at a position."""
        number = (at.partition,)
        with self._guarded() as writer, writer:
            if at.topic == self._journal:
                writer.execute("DELETE FROM rows WHERE partition = ?", number)
            else:
                runs = _runs_of(at.partition)
                writer.execute("DELETE FROM entries WHERE run >= ? AND run < ?", runs)
                writer.execute("DELETE FROM runs WHERE run >= ? AND run < ?", runs)
                writer.execute("DELETE FROM lasts WHERE partition = ?", number)
                writer.execute("DELETE FROM strays WHERE partition = ?", number)
            self._note(writer, at, source, position)

    def take_rows(
        self, at: TopicPartition, source: str, rows: Sequence[Row], begin: int, position: int
    ) -> None:
        """Store rows of the journal that were read from ``begin`` to ``position``.

        Raises ``AccountsUnavailable`` when the index does not end at ``begin`` any more.
        """
        with self._guarded() as writer, writer:
            self._require_end(at, source, begin)
            newest = sorted(dict(rows).items())
            _insert(
                writer,
                "OR REPLACE INTO rows",
                [(at.partition, key, value) for key, value in newest],
            )
            self._note(writer, at, source, position)
        self.problem = None

    def take_entries(
        self, at: TopicPartition, source: str, places: Sequence[Place], begin: int, position: int
    ) -> None:
        """Store entries of the ledger that were read from ``begin`` to ``position``.

        Records that are no entries, or repeat a number, are recorded as strays: the pages of their
        account are refused. Raises ``AccountsUnavailable`` when the index does not end at ``begin``
        any more.
        """
        number = at.partition
        with self._guarded() as writer, writer:
            self._require_end(at, source, begin)
            accounts = sorted({account for account, *_ in places})
            pieces, strays, lasts = packed(places, _lasts(writer, number, accounts))
            if pieces:
                run = _run(writer, number, begin, len(places))
                _insert(writer, "INTO entries", [(run, *piece) for piece in pieces])
            risen = [(number, account, lasts[account]) for account in accounts if account in lasts]
            _insert(writer, "OR REPLACE INTO lasts", risen)
            _insert(writer, "INTO strays", [(number, *stray) for stray in strays])
            self._note(writer, at, source, position)
        self.problem = None

    def row(self, partition: int, key: bytes) -> bytes | None:
        """Return the value of a row."""
        found = self._read("SELECT value FROM rows WHERE partition = ? AND key = ?", partition, key)
        value: bytes | None = found[0][0] if found else None
        return value

    def last_sequence(self, partition: int, account: bytes) -> int:
        """Return the sequence of the last stored entry of an account; 0 without one."""
        found = self._read(
            "SELECT sequence FROM lasts WHERE partition = ? AND account = ?", partition, account
        )
        return int(found[0][0]) if found else 0

    def entries(self, partition: int, account: bytes, after: int, limit: int) -> list[bytes]:
        """Return the values of the entries after sequence ``after``, at most ``limit``."""
        found = self._each(
            "SELECT last, piece FROM runs CROSS JOIN entries USING (run) WHERE run >= ? "
            "AND run < ? AND account = ? AND last > ? ORDER BY run, last LIMIT ?",
            *_runs_of(partition),
            account,
            after,
            limit,
        )
        values: list[bytes] = []
        with closing(found):  # Most pieces have several entries, so fewer pieces are read.
            for last, piece in found:
                some = list(unpacked(piece))
                values += some[max(after - last + len(some), 0) :]
                if len(values) >= limit:
                    break
        return values[:limit]

    def stray(self, partition: int, account: bytes) -> int | None:
        """Return the offset of a stray of the account; None when it has none."""
        found = self._read(
            "SELECT offset FROM strays WHERE partition = ? AND account = ? LIMIT 1",
            partition,
            account,
        )
        return found[0][0] if found else None

    def _require_end(self, at: TopicPartition, source: str, position: int) -> None:
        """Raise ``AccountsUnavailable`` when the database was deleted in between."""
        if self._positions is None or self._positions.get(at) != (source, position):
            message = f"{self.file} was corrupt, and is being read again: ask again"
            raise AccountsUnavailable(message)

    def _note(
        self, writer: sqlite3.Connection, at: TopicPartition, source: str, position: int
    ) -> None:
        writer.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
            (at.topic, at.partition, source, position),
        )
        assert self._positions is not None, "it is connected"
        self._positions[at] = source, position

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; it does not wait for a thread that is storing."""
        return list(self._each(statement, *values))

    def _each(self, statement: str, *values: object) -> Generator[tuple[Any, ...], None, None]:
        """Yield the rows of a query."""
        reader = self._reader
        if reader is None:
            with self._guarded():
                reader = self._reader
        assert reader is not None, "it is connected"
        try:
            with closing(reader.execute(statement, values)) as cursor:
                yield from cursor
        except sqlite3.DatabaseError as error:
            with self._writing:
                raise self._failed(error) from error

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """Return the connection for writing, to one thread at a time.

        Raises ``AccountsUnavailable``.
        """
        with self._writing:
            try:
                writer = self._connected()
                yield writer
            except (sqlite3.DatabaseError, OSError) as error:
                raise self._failed(error) from error

    def _note_problem(self, problem: str) -> None:
        """Record a problem, and log it once, not for each partition and each call."""
        now = time.monotonic()
        if self.problem is None and now >= self._next_log_at:
            self._next_log_at = now + LOG_INTERVAL_SECONDS
            logger.warning("accounts can't be read: %s", problem)
        self.problem, self._cant_open = problem, self._writer is None

    def _failed(self, error: sqlite3.DatabaseError | OSError) -> AccountsUnavailable:
        """Return the failure for an error of SQLite; deletes a corrupt database."""
        file, code = self.file, getattr(error, "sqlite_errorcode", 0)
        if code & _PRIMARY in _BROKEN:
            logger.warning("%s is corrupt (%s): the accounts are read again", file, error)
            self._disconnect()
            _remove(file)
            return AccountsUnavailable(f"{file} was corrupt, and is being read again: ask again")
        if self._given is None and self._temporary is None:
            folder = "a folder for temporary files"
        else:
            folder = str(file.parent)
        problem = (
            f"the index of accounts can't be kept in {folder}: {error}; free space there, or "
            f"set PAYMENTS_CLIENT_STATE_DIR to another folder"
        )
        self._note_problem(problem)
        self._disconnect()
        return AccountsUnavailable(problem)

    def _connected(self) -> sqlite3.Connection:
        if self._writer is not None:
            return self._writer
        try:
            self._take_folder()
        except AccountsUnavailable as error:
            self._note_problem(str(error))
            raise
        file = self.file
        is_new = not file.exists()
        self._writer = _connect(file, CACHE_KIB)
        (format_,) = self._writer.execute("PRAGMA user_version").fetchone()
        if format_ != FORMAT:
            if not is_new:
                message = "%s has format %s, not %s: the accounts are read again"
                logger.warning(message, file, format_, FORMAT)
            self._writer.close()
            _remove(file)
            self._writer = _connect(file, CACHE_KIB)
            self._writer.executescript(_TABLES + f"PRAGMA user_version = {FORMAT};")
        self._reader = _connect(file, CACHE_KIB // 4)
        self._positions = {
            TopicPartition(topic, partition): (source, position)
            for topic, partition, source, position in self._writer.execute(
                "SELECT topic, partition, source, position FROM positions"
            )
        }
        if self._cant_open:
            self.problem, self._cant_open = None, False
        return self._writer

    def _take_folder(self) -> None:
        """Lock the folder for this process; if another process has it, use a temporary folder."""
        if self._given is not None and self._lock_file is None:
            lock = self.file.with_suffix(".lock")
            try:
                self._given.mkdir(parents=True, exist_ok=True)
                self._lock_file = lock.open("wb")
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning(
                    "another process keeps its index in PAYMENTS_CLIENT_STATE_DIR=%s: this one's "
                    "is temporary, and read again at each start",
                    self._given,
                )
                self._given = None
                self._release()
            except OSError as error:
                self._release()
                message = f"PAYMENTS_CLIENT_STATE_DIR={self._given}: {error.strerror}"
                raise AccountsUnavailable(message) from error
        if self._given is None and self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="payments-accounts-")

    def _release(self) -> None:
        """Release the lock of the folder."""
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _disconnect(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._reader = self._writer = None
        self._positions = None


def _connect(file: Path, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    # A crash of the machine may lose the last transactions; their records are read again.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    # A large log before each checkpoint, since the same pages change repeatedly.
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    return connection


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _runs_of(partition: int) -> tuple[int, int]:
    """Return the range of the run numbers of a partition: first, and after the last."""
    return partition << _OFFSET_BITS, (partition + 1) << _OFFSET_BITS


def _run(writer: sqlite3.Connection, partition: int, begin: int, records: int) -> int:
    """Return the run for records from offset ``begin`` on: the last run, or a new one."""
    runs = _runs_of(partition)
    found = writer.execute("SELECT max(run) FROM runs WHERE run >= ? AND run < ?", runs).fetchone()
    last: int | None = found[0]
    new = runs[0] + begin
    if last is not None and records < _NEW_RUN_RECORDS and new - last < RUN_RECORDS:
        return last
    writer.execute("INSERT INTO runs VALUES (?)", (new,))
    return new


def _lasts(
    writer: sqlite3.Connection, partition: int, accounts: Sequence[bytes]
) -> dict[bytes, int]:
    """Return the last sequences of the accounts that have entries."""
    found: dict[bytes, int] = {}
    for begin in range(0, len(accounts), _ROWS_AT_ONCE):
        some = accounts[begin : begin + _ROWS_AT_ONCE]
        marks = ", ".join("?" * len(some))
        which = f"partition = ? AND account IN ({marks})"
        statement = f"SELECT account, sequence FROM lasts WHERE {which}"  # noqa: S608 - only marks
        found.update(writer.execute(statement, (partition, *some)))
    return found


def _insert(writer: sqlite3.Connection, where: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows, many with one statement."""
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[begin : begin + _ROWS_AT_ONCE]
        marks = f"({', '.join('?' * len(some[0]))})"
        statement = f"INSERT {where} VALUES {', '.join([marks] * len(some))}"  # noqa: S608 - only marks
        writer.execute(statement, list(chain.from_iterable(some)))
