"""A stage: what an application gives to the engine.

A stage reads some topics, keeps rows, and publishes outputs. Its logic is synchronous and changes
nothing but the journal that it is run: so a decision is whole or not at all, and the engine can
run it on a broker, in a test, or in a simulation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Protocol

from .journal import Journal, Rows
from .log import Record


class StageLogic(Protocol):
    """The application's part of a stage."""

    def handle(self, record: Record, journal: Journal) -> None:
        """Decide what ``record`` changes: ``journal.put``, ``delete`` and ``emit``.

        A record sees the rows as they were before it. ``journal.source`` names the sender of a
        message from another stage. Raise ``Refused`` to put the record on the dead letters together
        with what was staged; any other exception discards what was staged.
        """

    def on_error(self, record: Record, error: Exception, journal: Journal) -> None:
        """Answer a record whose ``handle`` raised ``error``; its dead letter is written already.

        Or one that the engine has ``Refused`` before, for its size or its batch's: its value is not
        there then, or no more than told who is to be answered.
        """

    def restored(self, partition: int, rows: Rows) -> None:
        """Build what is kept beside the rows: they were restored from the journal."""

    def released(self, partition: int) -> None:
        """Drop what is kept for a partition that another worker owns now."""

    def tick(self, journal: Journal, now_ms: int, limit: int) -> bool:
        """Do what time asks for, at most ``limit`` rows of it; True when there is more."""


class Refused(Exception):  # noqa: N818 - an outcome, not an error
    """The record is not well formed: it goes to the dead letters with a stable reason code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Stage:
    """A stage of an application and its topics, which all have equally many partitions."""

    name: str
    logic: StageLogic
    changelog: str
    dead_letters: str
    public_inputs: tuple[str, ...] = ()
    """Anyone may write there, with any partitioner."""

    internal_inputs: tuple[str, ...] = ()
    """Only stages write there; every record carries its position."""

    outputs: tuple[str, ...] = ()
    """Public topics that this stage alone writes, beside its dead letters."""

    internal_outputs: tuple[str, ...] = ()
    """Internal inputs of stages that this one sends messages to, beside ``forward_to``."""

    forward_to: str | None = None
    """Internal input that takes records found on a wrong partition of a public one."""

    row_format: int = 1
    """Format of the rows: to be raised when the version before can't read them. A worker refuses
    journals that may hold rows of a newer one."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """What its decisions depend on beside records and rows: values by the names that a user knows.
    All workers need the same ones; journals tell them, and a takeover warns where they differ."""

    keeps: Mapping[str, float] = field(default_factory=dict)
    """For how many seconds a record has to stay in topics, by their names; ``math.inf`` is for
    ever. A worker warns where a configuration deletes them sooner."""

    public: frozenset[str] = field(init=False)
    emits: frozenset[str] = field(init=False)
    """Every topic that the stage may publish to."""

    def __post_init__(self) -> None:
        """Check what the engine relies on."""
        for call in ("handle", "on_error", "restored", "released", "tick"):
            if iscoroutinefunction(getattr(self.logic, call, None)):
                message = (
                    f"{self.name}: {call} of its logic is async, it must be a plain function: a "
                    f"decision is whole or not at all, so nothing may be awaited in it"
                )
                raise ValueError(message)
        object.__setattr__(self, "public", frozenset({*self.outputs, self.dead_letters}))
        sent_to = {*self.internal_outputs, *filter(None, [self.forward_to])}
        object.__setattr__(self, "emits", self.public | sent_to)
        if self.forward_to is not None and self.forward_to not in self.internal_inputs:
            message = f"{self.name}: records are forwarded through an internal input of the stage"
            raise ValueError(message)
        if self.public & set(self.inputs):
            message = f"{self.name}: a stage can't read what it writes for others to see"
            raise ValueError(message)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All topics that the stage reads."""
        return (*self.public_inputs, *self.internal_inputs)


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

    Raises ``ValueError`` where two would write the same topic, or messages that nobody reads.
    """
    found: dict[str, Stage] = {}
    writers: dict[str, str] = {}
    for stage in stages:
        for topic in (*stage.public, stage.changelog):
            if writers.setdefault(topic, stage.name) != stage.name:
                message = f"{topic} would be written by {writers[topic]} and {stage.name}"
                raise ValueError(message)
        found[stage.name] = stage
    read = {topic for stage in found.values() for topic in stage.internal_inputs}
    for stage in found.values():
        if unread := stage.emits - stage.public - read:
            message = f"{stage.name} sends messages to {sorted(unread)}, which no stage reads"
            raise ValueError(message)
    return found
