"""A stage: what an application gives to the engine.

A stage reads some topics, keeps rows, and publishes outputs. Its logic is synchronous and changes
nothing but the journal that it is run: so a decision is whole or not at all, and the engine can
run it on a broker, in a test, or in a simulation.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, cast

from .context import Context, RowTimers
from .log import Record

if TYPE_CHECKING:
    from .typed_rows import Rows, TypedContext


class StageLogic(Protocol):
    """The application's part of a stage: ``handle``, and what it wants of the rest.

    ``Stage`` takes an object with ``handle`` and any of the others, or a function in its place.
    """

    def handle(self, record: Record, context: Context) -> None:
        """Decide what ``record`` changes: ``context.put``, ``delete`` and ``emit``.

        A record sees the rows as they were before it. ``context.source`` names the sender of a
        message from another stage. Raise ``Refused`` to dead-letter the record together with what
        was staged; any other exception discards what was staged.
        """

    def on_error(self, record: Record, error: Exception, context: Context) -> None:
        """Answer a record whose ``handle`` raised ``error``; its dead letter is written already.

        Or one that the engine has ``Refused`` before, for its size or its batch's: its value is
        absent then, or only as much of it as names who is to be answered. Default: no answer.
        """

    def timers(self, key: bytes, row: Any) -> Sequence[int]:
        """Return the times at which ``tick`` wants a row: milliseconds since 1970, UTC.

        The engine calls it for each row that is stored or restored, keeps the times, and gives the
        keys that are due to ``tick`` by ``context.due``. It depends on key and row alone; where it
        raises, the record is dead-lettered, or the takeover ends. Many rows with the same time cost
        less than many times, so round them up. Default: no times.
        """

    def check(self, key: bytes, row: Any) -> None:
        """Raise any error for a restored row that can't be read. Default: all can.

        Before anything is decided the worker ends then, with a line that names the row. Not needed
        where ``timers`` reads the row, nor with typed ``rows``.
        """

    def restored(self, partition: int, rows: Mapping[bytes, Any]) -> None:
        """Build what is kept beside the rows, from the restored rows. Default: nothing.

        They are bytes, or values where the stage has typed ``rows``. What depends on time is better
        kept by ``timers``. Where rows are on disk and there is ``is_open``, only open rows come.
        """

    def is_open(self, key: bytes, row: Any) -> bool:
        """Return whether ``restored`` needs a row, where rows are on disk. Default: all.

        To read all of them would make a takeover long; the engine finds the open ones at once.
        """

    def released(self, partition: int) -> None:
        """Drop what is kept for a partition that another worker owns now. Default: nothing."""

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """Run due timer work, changing at most ``limit`` rows; return whether more is due now.

        ``now_ms`` is the brokers' time, in milliseconds since 1970, UTC. Default: no work. Where a
        record that came in time must not lose to the timer, what ends at a time is due when
        ``context.read_until_ms`` has reached it, not before.
        """


class Handles(Protocol):
    """The least that an object must have to be the logic of a stage."""

    def handle(self, record: Record, context: Context) -> None:
        """As that of ``StageLogic``."""


class HandlesTyped(Protocol):
    """The same with typed rows; its other callbacks get a ``TypedContext`` too."""

    def handle(self, record: Record, context: "TypedContext[Any]") -> None:
        """As that of ``StageLogic``."""


Logic = (
    StageLogic
    | Handles
    | HandlesTyped
    | Callable[[Record, Context], None]
    | Callable[[Record, "TypedContext[Any]"], None]
)
"""What a stage may be given; those with a ``TypedContext`` for a stage with typed ``rows``."""

_CALLBACKS = (
    "handle",
    "on_error",
    "timers",
    "check",
    "restored",
    "is_open",
    "released",
    "tick",
)


class _Completed:
    """A stage's logic, with the defaults of what it leaves out."""

    def __init__(self, logic: Logic) -> None:
        for name in _CALLBACKS:
            if (given := getattr(logic, name, None)) is not None:
                setattr(self, name, given)
        if not hasattr(logic, "handle"):
            self.handle = logic  # type: ignore[method-assign, assignment]

    def handle(self, record: Record, context: Context) -> None:
        """Be replaced by the logic's own."""
        raise NotImplementedError

    def on_error(self, record: Record, error: Exception, context: Context) -> None:
        """Do no more: the record is dead-lettered already."""

    def timers(self, key: bytes, row: Any) -> Sequence[int]:  # noqa: ARG002
        """Nothing depends on time."""
        return ()

    def check(self, key: bytes, row: Any) -> None:
        """Rows are bytes."""

    def restored(self, partition: int, rows: Mapping[bytes, Any]) -> None:
        """Keep nothing beside the rows."""

    def is_open(self, key: bytes, row: Any) -> bool:  # noqa: ARG002
        """Any row may be needed."""
        return True

    def released(self, partition: int) -> None:
        """Nothing is kept beside the rows."""

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:  # noqa: ARG002
        """Nothing depends on time."""
        return False


def _completed(stage: str, logic: Logic) -> StageLogic:
    """Return the logic with all callbacks.

    Raises ``TypeError`` for what is no logic, ``ValueError`` for one that is a coroutine.
    """
    if not callable(getattr(logic, "handle", logic)):
        message = f"{stage}: its logic is neither a function nor an object with a method handle"
        raise TypeError(message)
    for name in _CALLBACKS:
        call = getattr(logic, name, logic if name == "handle" else None)
        if iscoroutinefunction(call):
            message = (
                f"{stage}: {name} of its logic is async, it must be a plain function: a decision "
                f"is whole or not at all, so nothing may be awaited in it"
            )
            raise ValueError(message)
    if all(hasattr(logic, name) for name in _CALLBACKS):
        return cast("StageLogic", logic)
    return _Completed(logic)


def _callbacks(stage: "Stage") -> StageLogic:
    """Return the logic of a stage as the engine calls it. Raises as ``_completed`` does."""
    logic = _completed(stage.name, stage.logic)
    if stage.rows is None:
        return logic
    from .typed_rows import TypedLogic  # noqa: PLC0415 - most stages need no msgspec

    builds = hasattr(stage.logic, "restored")
    return TypedLogic(logic, stage.rows, stage.changelog, builds=builds)


class Refused(Exception):
    """The record is not well formed: it goes to the dead letters with a stable reason code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Stage:
    """A stage of an application and its topics, which all have equally many partitions."""

    name: str
    logic: Logic
    """A function from a record and a ``Context`` to its decision, or an object with ``handle``."""

    changelog: str
    """Compacted topic that has the journals."""

    dead_letters: str
    """Topic of records that can't be handled."""

    public_inputs: tuple[str, ...] = ()
    """Anyone may write there, with any partitioner."""

    internal_inputs: tuple[str, ...] = ()
    """Only stages write there; every record carries its output id."""

    added_inputs: tuple[str, ...] = ()
    """Those of the public inputs that a later version has added. The group does not assign them:
    the owner of a partition reads them too. So workers of the version before, which don't know
    them, can share the group during an upgrade."""

    outputs: tuple[str, ...] = ()
    """Public topics that this stage alone writes, beside its dead letters."""

    internal_outputs: tuple[str, ...] = ()
    """Internal inputs of stages that this one sends messages to, beside ``forward_to``."""

    forward_to: str | None = None
    """Internal input that takes records found on a wrong partition of a public one."""

    rows: "Rows[Any] | None" = None
    """How rows are encoded, ``Rows(Total)``: the logic's context is a ``TypedContext`` then. None:
    rows are bytes."""

    row_format: int = 1
    """Format of the rows: to be raised when the version before can't read them. A worker refuses
    journals that may hold rows of a newer one."""

    index_version: int = 1
    """Version of ``timers``, ``is_open`` and ``check``: to be raised when one of them says another
    thing of a row that may be stored. Rows on disk are read from the journals again then."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """What its decisions depend on beside records and rows: values by the names that a user knows.
    All workers need the same ones; journals record them, and a takeover warns where they differ."""

    keeps: Mapping[str, float] = field(default_factory=dict)
    """For how many seconds a record has to stay in topics, by their names; ``math.inf`` is for
    ever. A worker warns where a configuration deletes them sooner."""

    callbacks: StageLogic = field(init=False, repr=False, compare=False)
    """The logic, with defaults for what it leaves out."""

    timers: RowTimers | None = field(init=False, repr=False, compare=False)
    """Those of the logic, from stored rows; None where it has none."""

    check: Callable[[bytes, bytes], None] | None = field(init=False, repr=False, compare=False)
    """What raises for a restored row that can't be read; None where ``timers`` reads it, or
    nothing."""

    keeps_open: Callable[[bytes, bytes], bool] | None = field(init=False, repr=False, compare=False)
    """``is_open`` of the logic; None where it has none."""

    public: frozenset[str] = field(init=False)
    emits: frozenset[str] = field(init=False)
    """Every topic that the stage may publish to."""

    def __post_init__(self) -> None:
        """Check what the engine relies on."""
        object.__setattr__(self, "callbacks", _callbacks(self))
        has_timers, has_check = (hasattr(self.logic, name) for name in ("timers", "check"))
        checks = has_check or (self.rows is not None and not has_timers)
        object.__setattr__(self, "timers", self.callbacks.timers if has_timers else None)
        has_open = hasattr(self.logic, "is_open")
        object.__setattr__(self, "keeps_open", self.callbacks.is_open if has_open else None)
        object.__setattr__(self, "check", self.callbacks.check if checks else None)
        object.__setattr__(self, "public", frozenset({*self.outputs, self.dead_letters}))
        sent_to = {*self.internal_outputs, *filter(None, [self.forward_to])}
        object.__setattr__(self, "emits", self.public | sent_to)
        if self.forward_to is not None and self.forward_to not in self.internal_inputs:
            message = f"{self.name}: records are forwarded through an internal input of the stage"
            raise ValueError(message)
        added = set(self.added_inputs)
        if not added <= set(self.public_inputs) or (added and not self.assigned_inputs):
            message = f"{self.name}: added inputs are some of its public ones, and not all it reads"
            raise ValueError(message)
        if self.public & set(self.inputs):
            message = f"{self.name}: a stage can't read what it writes for others to see"
            raise ValueError(message)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All topics that the stage reads."""
        return (*self.public_inputs, *self.internal_inputs)

    @property
    def assigned_inputs(self) -> tuple[str, ...]:
        """The inputs whose partitions the group assigns to workers."""
        return tuple(topic for topic in self.inputs if topic not in self.added_inputs)


def topics_of(stages: Iterable[Stage]) -> list[str]:
    """Return every topic that these stages use, each once."""
    names: dict[str, None] = {}
    for stage in stages:
        names |= dict.fromkeys((*stage.inputs, *sorted(stage.public), stage.changelog))
    return list(names)


def senders_of(
    receiver: Stage, stages: Iterable[Stage], partitions: int
) -> Mapping[str, frozenset[str]]:
    """Return, for each internal input of a stage, every ``<stage>/<partition>`` that may send."""
    return {
        topic: frozenset(
            f"{sender.name}/{partition}"
            for sender in stages
            if topic in sender.emits
            for partition in range(partitions)
        )
        for topic in receiver.internal_inputs
    }


def by_name(stages: Iterable[Stage]) -> Mapping[str, Stage]:
    """Return the stages by name.

    Raises ``ValueError`` where two would write or read the same topic, and for messages that no
    stage reads, that anyone may read, or that come to one receiver by two topics.
    """
    found: dict[str, Stage] = {}
    writers: dict[str, str] = {}
    readers: dict[str, str] = {}
    for stage in stages:
        for topic in (*stage.public, stage.changelog):
            if writers.setdefault(topic, stage.name) != stage.name:
                message = f"{topic} would be written by {writers[topic]} and {stage.name}"
                raise ValueError(message)
        for topic in stage.inputs:
            if readers.setdefault(topic, stage.name) != stage.name:
                message = f"{topic} would be read by {readers[topic]} and {stage.name}"
                raise ValueError(message)
        found[stage.name] = stage
    for stage in found.values():
        _require_routes(stage, found.values())
    return found


def _require_routes(sender: Stage, stages: Collection[Stage]) -> None:
    """Raise ``ValueError`` where messages of a stage can't be delivered exactly once."""
    read = {topic for stage in stages for topic in stage.internal_inputs}
    if unread := sender.emits - sender.public - read:
        message = f"{sender.name} sends messages to {sorted(unread)}, which no stage reads"
        raise ValueError(message)
    if both := sender.public & read:
        message = f"{sender.name} publishes {sorted(both)}, which a stage reads as messages"
        raise ValueError(message)
    for receiver in stages:
        # A receiver knows the last message of each sender, not of each sender and topic.
        if len(topics := sender.emits & set(receiver.internal_inputs)) > 1:
            message = f"{sender.name} sends messages to {receiver.name} by {sorted(topics)}"
            raise ValueError(message)
