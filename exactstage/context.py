"""What a stage sees while it decides: rows to read, and what it wants to change or publish.

A decision is whole or not at all: its rows and outputs are staged here, and join the open commit of
the journal (``exactstage.journal``) only when it is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from .checkpoint import RESERVED
from .limits import Limits
from .local_rows import AllRows, LocalRows
from .log import Headers
from .outputs import LAST_MS, Output, Source, size_of
from .timer_index import TimerIndex

RowBytes = dict[bytes, bytes]

RowTimers = Callable[[bytes, bytes], Sequence[int]]
"""Returns the times at which ``tick`` wants a row, in milliseconds since 1970, UTC."""

_new = tuple.__new__
"""A named tuple's own constructor is one more Python call, and outputs are many."""

MAX_PARTITIONS = 2**31
"""Kafka's numbers of partitions are below it."""

OWN_PARTITION = -1
"""Of an output: the partition of the stage's journal."""

TIME_OF_RECORD = -1
"""Of an output: the timestamp of the record that is handled."""


class RowRefused(ValueError):
    """A stage tried to store a row that the journal can't hold."""


class OutputRefused(ValueError):
    """A stage tried to publish to a topic that is not among its outputs."""


def _no_bytes(call: str, *given: object) -> TypeError:
    names = ", ".join(type(each).__name__ for each in given)
    return TypeError(f"{call} takes bytes, and was given {names}: encode it in the stage")


def _require_text(what: str, text: object) -> None:
    """Raise what ``emit`` raises for text that can't be written."""
    if not isinstance(text, str):
        raise TypeError(f"emit takes a {what} that is a str, and was given {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OutputRefused(f"the {what} {text!r} can't be written as UTF-8") from error


def _require_time(time_ms: object) -> None:
    """Raise what ``emit`` raises for a time that no header can have."""
    if not isinstance(time_ms, int):
        raise TypeError(f"emit takes a time_ms that is an int, and was given {time_ms!r}")
    if not 0 <= time_ms <= LAST_MS:
        raise OutputRefused(f"time_ms {time_ms} is outside the years 1970 to 9999")


def _no_timer(given: object) -> RowRefused:
    """Return what ``put`` raises for a timer that can't be kept."""
    return RowRefused(f"a timer at {given!r} is no whole number of milliseconds from 1970 to 9999")


def _checked(headers: Headers) -> Headers:
    """Return headers that can be written, once read. Raises what ``emit`` raises."""
    given = list(headers)
    for name, content in given:
        _require_text("name of a header", name)
        if content is not None and type(content) is not bytes:
            kind = type(content).__name__
            raise TypeError(f"emit takes headers of bytes, and was given {kind} for {name!r}")
    return given


class Context:
    """Rows of one stage and partition, and what the present decision changes.

    A stage uses ``get``, ``put``, ``delete``, ``emit``, ``due``, ``before_seal``,
    ``when_journalled``, ``when_published``, ``partition``, ``time_ms``, ``read_until_ms`` and
    ``source``; all else belongs to the engine.
    """

    def __init__(
        self,
        *,
        stage: str,
        partition: int,
        public: frozenset[str],
        emits: frozenset[str],
        limits: Limits,
        partitions: int = MAX_PARTITIONS,
        timers: RowTimers | None = None,
    ) -> None:
        self.stage, self.partition = stage, partition
        self.partitions = partitions
        """How many each topic has."""
        self.public, self.emits = public, emits
        self.limits = limits
        self.rows: RowBytes = {}
        """All rows; or, where there is a local copy, those that are not in it yet."""
        self.local: LocalRows | None = None
        """The other rows, on the worker's disk."""
        self.time_ms = 0
        """Timestamp of the record that is handled, in milliseconds since 1970, UTC; in ``tick``,
        the brokers' time."""
        self.read_until_ms = 0
        """In ``tick``: every record that was appended to an input before this time, by the brokers'
        clock, is handled. It is not after the time of the tick, and 0 while it is not known."""
        self.source: Source | None = None
        """Who sent the record that is being handled, when another stage did."""
        self._timers = timers
        self.timer_index = TimerIndex()
        self._given: set[bytes] = set()
        """Keys that ``due`` has given to the present ``tick``."""
        self._took_timers = False
        """Whether the present ``tick`` has taken a timer."""
        self._staged_rows: list[tuple[bytes, bytes | None]] = []
        self._staged_timers: list[tuple[int, bytes]] = []
        self._staged_outputs: list[Output] = []
        self._staged_sizes: list[int] = []
        self._finishing: list[Callable[[], None]] = []
        self._callbacks: list[Callable[[], None]] = []
        self._when_published: list[Callable[[int], None]] = []
        self._open = False
        """Whether something is decided that is not sealed yet."""

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key`` as it was before this record."""
        row = self.rows.get(key)
        if row is not None or self.local is None:
            return row
        return self.local.get(key)

    def put(self, key: bytes, row: bytes) -> None:
        """Store a row.

        Raises ``RowRefused`` for a reserved key or a row over the limit, ``TypeError`` for what is
        no ``bytes``: once it was staged, no broker could take it. And what the stage's own
        ``timers`` raises.
        """
        if type(key) is not bytes or type(row) is not bytes:
            raise _no_bytes("put", key, row)
        if key[:1] == RESERVED or not key:
            message = f"the key {key!r} is reserved"
            raise RowRefused(message)
        if len(row) > self.limits.row_bytes:
            message = f"a row of {len(row)} bytes is over the limit of {self.limits.row_bytes}"
            raise RowRefused(message)
        timers = self._timers
        if timers is not None:
            times: Sequence[object] = timers(key, row)  # Whatever a stage returns.
            for time_ms in times:
                if type(time_ms) is not int or not 0 <= time_ms <= LAST_MS:
                    raise _no_timer(time_ms)
                self._staged_timers.append((time_ms, key))
        self._staged_rows.append((key, row))

    def delete(self, key: bytes) -> None:
        """Remove a row: a tombstone in the journal. Raises ``TypeError`` as ``put`` does."""
        if type(key) is not bytes:
            raise _no_bytes("delete", key)
        self._staged_rows.append((key, None))

    def emit(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        type: str = "",  # noqa: A002 - what CloudEvents calls it
        partition: int = OWN_PARTITION,
        time_ms: int = TIME_OF_RECORD,
        headers: Headers = (),
    ) -> None:
        """Publish a record once this decision is journalled.

        ``type`` is its CloudEvents type (``ce_type``), "" on internal topics. A public record goes
        to the stage's own partition, a message to any.

        Raises ``OutputRefused`` for a topic that is not among the outputs of the stage, for a
        partition that does not exist, or is not the journal's own on a public topic, for a time
        outside the years 1970 to 9999, and for text that is no Unicode; ``TypeError`` for a key,
        value or header that is neither ``bytes`` nor None, and for what else has another type than
        here. Once such an output was journalled, no worker could publish it.
        """
        if headers:
            headers = _checked(headers)
        if type.__class__ is not str or not type.isascii():
            _require_text("type", type)
        if time_ms != TIME_OF_RECORD:
            _require_time(time_ms)
        self.publish(
            topic,
            self.partition if partition == OWN_PARTITION else partition,
            key,
            value,
            type,
            self.time_ms if time_ms == TIME_OF_RECORD else time_ms,
            headers,
        )

    def publish(  # noqa: PLR0917 - the fields of an ``Output``, in its order
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        type_: str,
        time_ms: int,
        headers: Headers = (),
    ) -> None:
        """Publish an ``Output`` of these fields; raises what ``emit`` raises."""
        if topic not in self.emits:
            message = (
                f"{topic} is not among the outputs of the stage {self.stage}, which are "
                f"{', '.join(sorted(self.emits))}: add it to its Stage"
            )
            raise OutputRefused(message)
        if partition != self.partition and (
            topic in self.public or not 0 <= partition < self.partitions
        ):
            raise self._wrong_partition(topic, partition)
        if (type(key) is not bytes and key is not None) or (
            type(value) is not bytes and value is not None
        ):
            raise _no_bytes("emit", key, value)
        output = _new(Output, (topic, partition, key, value, type_, time_ms, headers))
        self._staged_outputs.append(output)
        self._staged_sizes.append(size_of(key, value, headers))

    def _wrong_partition(self, topic: str, partition: int) -> OutputRefused:
        if topic in self.public:
            return OutputRefused(
                f"{topic}/{partition} can't be written from partition {self.partition}: what "
                f"others see goes to the stage's own partition, journal.partition, where an older "
                f"owner is fenced"
            )
        return OutputRefused(
            f"there is no partition {partition} of {topic}: it has {self.partitions}"
        )

    def due(self, now_ms: int, limit: int) -> Iterator[bytes]:
        """Take timers that are due, ``limit`` at most, and give the keys whose rows want that now.

        For ``tick``, which changes the row of each key or leaves it as it is. In one ``tick`` a key
        is given once; it is given again when its row is stored again with a timer that is due, and
        at most once more after a restart. What was not taken is left to the next ``tick``. Raises
        ``TypeError`` where the stage has no ``timers``.
        """
        timers = self._timers
        if timers is None:
            raise TypeError(f"the stage {self.stage} has no timers: add them to its logic")
        for _ in range(limit):
            key = self.timer_index.take(now_ms)
            if key is None:
                return
            self._took_timers = True
            row = self.get(key)
            if row is None or key in self._given:
                continue
            if min(timers(key, row), default=LAST_MS) <= now_ms:
                self._given.add(key)
                yield key

    def before_seal(self, callback: Callable[[], None]) -> None:
        """Call back when the open commit is sealed: for a row that many decisions of it change.

        The callback stores the row as ``handle`` would; nothing may raise between this call, in a
        decision, and the decision's end.
        """
        self._finishing.append(callback)

    def when_journalled(self, callback: Callable[[], None]) -> None:
        """Call back when all that is decided by now is journalled."""
        self._callbacks.append(callback)
        self._open = True

    def when_published(self, callback: Callable[[int], None]) -> None:
        """Call back, with the log's time, when all outputs of the open commit are acknowledged.

        For measurements: after a crash the next owner publishes them, and calls nobody back.
        """
        self._when_published.append(callback)

    @property
    def all_rows(self) -> Mapping[bytes, bytes]:
        """Every row; with a local copy, going through them reads the disk."""
        return self.rows if self.local is None else AllRows(self.rows, self.local)

    # --- what the engine does around it ----------------------------------------------------------

    def discard(self) -> None:
        """Forget what the present record has staged."""
        self._staged_rows.clear()
        self._staged_timers.clear()
        self._staged_outputs.clear()
        self._staged_sizes.clear()
