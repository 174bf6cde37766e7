"""The clients: they write the storm's commands to the log, each at its time."""

from collections.abc import Iterator, Sequence

from exactstage.log import NewRecord, TopicPartition, Writer

from .subject import Command, Transaction
from .world import World

_TRANSACTION_SECONDS = 1.5
"""How long a client's transaction stays open."""


class Clients:
    """All clients of one run. Each transaction is by a client of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._writer = world.brokers.new_writer()
        self.unfinished = 0
        """Commands that are not written yet, and transactions that have not ended."""

    def schedule(self, commands: Sequence[Command]) -> None:
        """Let each command be written at its time."""
        self.unfinished += len(commands)
        self._await_next(enumerate(commands))

    def _await_next(self, left: Iterator[tuple[int, Command]]) -> None:
        if (following := next(left, None)) is not None:
            self._world.loop.in_no_process(following[1].time, self._write, following, left)

    def _write(self, now: tuple[int, Command], left: Iterator[tuple[int, Command]]) -> None:
        number, command = now
        self._await_next(left)
        topic = command.topic or self._world.shape.subject.commands
        at = TopicPartition(topic, command.partition)
        brokers, loop = self._world.brokers, self._world.loop
        record: NewRecord = (command.key, command.value, [])
        self.unfinished -= 1
        if command.transaction is Transaction.NONE:
            sequence = self._writer.take_sequence(at, 1)
            brokers.append(at, self._writer, sequence, [record])
            return
        name = f"client-{number}"
        writer = brokers.initialise(name)
        assert isinstance(writer, Writer), "the client has this name for itself"
        brokers.add(name, writer, [at])
        brokers.append(at, writer, 0, [record], in_transaction=True)
        self.unfinished += 1
        commit = command.transaction is Transaction.COMMITTED
        loop.in_no_process(loop.time() + _TRANSACTION_SECONDS, self._end, name, writer, commit)

    def _end(self, name: str, writer: Writer, commit: bool) -> None:  # noqa: FBT001 - a callback's arguments come by position
        self._world.brokers.end(name, writer, commit=commit)
        self.unfinished -= 1
