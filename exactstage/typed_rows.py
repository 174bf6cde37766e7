"""Typed rows: values of a class in the place of bytes, for stages that want them.

A row is encoded by msgspec, so its class is a ``msgspec.Struct``, a dataclass, or any other type
that msgspec knows. The journal has the same bytes as without: JSON, or MessagePack.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec

from .context import OWN_PARTITION, TIME_OF_RECORD, Context, RowRefused
from .errors import JournalBroken
from .log import Headers, Record, TopicPartition
from .outputs import Source

Row = TypeVar("Row")


class Rows(Generic[Row]):
    """How the rows of a stage are encoded: ``Stage(..., rows=Rows(Total))``.

    Raises ``TypeError`` for a type that msgspec can't read.
    """

    def __init__(
        self, row_type: type[Row], *, encoding: Literal["json", "msgpack"] = "json"
    ) -> None:
        self.row_type = row_type
        if isinstance(msgspec.inspect.type_info(row_type), msgspec.inspect.CustomType):
            message = (
                f"rows can't be {self.name}: msgspec does not know it; make it a msgspec.Struct or "
                f"a dataclass"
            )
            raise TypeError(message)
        codec: Any = msgspec.json if encoding == "json" else msgspec.msgpack
        self._encode: Callable[[Row], bytes] = codec.Encoder().encode
        self._decode: Callable[[bytes], Row] = codec.Decoder(row_type).decode

    @property
    def name(self) -> str:
        """Name of the type, for messages."""
        return getattr(self.row_type, "__name__", str(self.row_type))

    def encode(self, row: Row) -> bytes:
        """Return a row as it is stored.

        Raises ``RowRefused`` for a value that could not be read again as the type of these rows: a
        field of another type, for example, which no constructor of a ``msgspec.Struct`` refuses.
        """
        try:
            data = self._encode(row)
            self._decode(data)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            given = type(row).__name__
            message = f"a row of type {given} can't be stored as {self.name}: {error}"
            raise RowRefused(message) from error
        return data

    def decode(self, data: bytes) -> Row:
        """Return a stored row. Raises ``ValueError`` (``msgspec.DecodeError``) where it is none."""
        return self._decode(data)


class _TypedRows(Mapping[bytes, Row]):
    """The rows of one partition; each is decoded when it is asked for."""

    def __init__(self, context: "TypedContext[Row]") -> None:
        self._context = context

    def __getitem__(self, key: bytes) -> Row:
        row = self._context.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._context.untyped.all_rows)

    def __len__(self) -> int:
        return len(self._context.untyped.all_rows)


class TypedContext(Generic[Row]):
    """What a stage with typed rows sees while it decides: a ``Context`` whose rows are values.

    A row is a value of its own at each ``get``: a change of it is stored by ``put`` only.
    """

    __slots__ = ("_codec", "_journal", "untyped")

    def __init__(self, context: Context, codec: Rows[Row], journal: str) -> None:
        self.untyped = context
        """The context with rows as they are stored."""
        self._codec = codec
        self._journal = journal

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self.untyped.partition

    @property
    def time_ms(self) -> int:
        """As that of ``Context``: milliseconds since 1970, UTC."""
        return self.untyped.time_ms

    @property
    def read_until_ms(self) -> int:
        """As that of ``Context``, in ``tick``: how far the inputs are read, as a time."""
        return self.untyped.read_until_ms

    @property
    def source(self) -> Source | None:
        """Who sent the record that is being handled, when another stage did."""
        return self.untyped.source

    @property
    def rows(self) -> Mapping[bytes, Row]:
        """All rows of the partition as they were before this record."""
        return _TypedRows(self)

    def get(self, key: bytes) -> Row | None:
        """Return the row of ``key`` as it was before this record.

        Raises ``JournalBroken`` for one that is not of the stage's type, which ends the worker.
        """
        data = self.untyped.get(key)
        if data is None:
            return None
        try:
            return self._codec.decode(data)
        except (ValueError, RecursionError) as error:
            raise unreadable_row(
                TopicPartition(self._journal, self.partition), key, self._codec, error
            ) from error

    def put(self, key: bytes, row: Row) -> None:
        """Store a row.

        Raises ``RowRefused`` for one that could not be read again, and for what ``Context.put``
        refuses.
        """
        self.untyped.put(key, self._codec.encode(row))

    def delete(self, key: bytes) -> None:
        """Remove a row."""
        self.untyped.delete(key)

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
        """Publish a record once this decision is journalled; see ``Context.emit``."""
        self.untyped.emit(
            topic, key, value, type=type, partition=partition, time_ms=time_ms, headers=headers
        )

    def due(self, now_ms: int, limit: int) -> Iterator[bytes]:
        """Take timers that are due, and give their keys; see ``Context.due``."""
        return self.untyped.due(now_ms, limit)

    def before_seal(self, callback: Callable[[], None]) -> None:
        """Call back when the open commit is sealed; see ``Context.before_seal``."""
        self.untyped.before_seal(callback)

    def when_journalled(self, callback: Callable[[], None]) -> None:
        """Call back when all that is decided by now is journalled."""
        self.untyped.when_journalled(callback)

    def when_published(self, callback: Callable[[int], None]) -> None:
        """Call back when what is decided by now is published; see ``Context.when_published``."""
        self.untyped.when_published(callback)


def unreadable_row(
    at: TopicPartition, key: bytes, codec: Rows[Any], error: BaseException
) -> JournalBroken:
    """Return the failure for a row in the journal ``at`` that is not of the stage's type."""
    return JournalBroken(
        f"{at} has a row with the key {key!r} that is no {codec.name} ({error}): this version of "
        f"the stage can't read what an earlier or later one stored, and nothing was decided. "
        f"Start the version that wrote it, or give new fields of {codec.name} defaults"
    )


class UnreadableRow(Exception):
    """A restored row is not of the stage's type; the cause says why."""


class TypedLogic:
    """The logic of a stage with typed rows, as the engine calls it: with bytes."""

    def __init__(self, logic: Any, codec: Rows[Any], journal: str, *, builds: bool) -> None:
        """Wrap a logic; ``builds`` is whether it wants the restored rows."""
        self._logic, self._codec, self._journal = logic, codec, journal
        self._builds = builds

    def _typed(self, context: Context) -> Context:
        return cast("Context", TypedContext(context, self._codec, self._journal))

    def handle(self, record: Record, context: Context) -> None:
        """See ``StageLogic``."""
        self._logic.handle(record, self._typed(context))

    def on_error(self, record: Record, error: Exception, context: Context) -> None:
        """See ``StageLogic``."""
        self._logic.on_error(record, error, self._typed(context))

    def timers(self, key: bytes, data: bytes) -> Sequence[int]:
        """See ``StageLogic``."""
        times: Sequence[int] = self._logic.timers(key, self._decoded(data))
        return times

    def check(self, key: bytes, data: bytes) -> None:
        """See ``StageLogic``; raises ``UnreadableRow`` too."""
        self._logic.check(key, self._decoded(data))

    def is_open(self, key: bytes, data: bytes) -> bool:
        """See ``StageLogic``."""
        return bool(self._logic.is_open(key, self._decoded(data)))

    def _decoded(self, data: bytes) -> Any:
        try:
            return self._codec.decode(data)
        except (ValueError, RecursionError) as error:
            raise UnreadableRow from error

    def restored(self, partition: int, rows: Mapping[bytes, bytes]) -> None:
        """See ``StageLogic``."""
        if self._builds:
            decode = self._codec.decode
            self._logic.restored(partition, {key: decode(data) for key, data in rows.items()})

    def released(self, partition: int) -> None:
        """See ``StageLogic``."""
        self._logic.released(partition)

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """See ``StageLogic``."""
        return bool(self._logic.tick(self._typed(context), now_ms, limit))
