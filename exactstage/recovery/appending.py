"""Appending: records in order, in as few appends as their sizes allow."""

from collections.abc import Iterable

from exactstage.limits import Limits
from exactstage.log import Log, NewRecord, TopicPartition, Writer
from exactstage.outputs import Rounds, publish, size_of


async def append_records(
    log: Log,
    writer: Writer,
    records: Iterable[tuple[TopicPartition, NewRecord]],
    limits: Limits | None = None,
) -> None:
    """Append records; those of one partition keep their order. Raises what the log raises."""
    rounds = Rounds((limits or Limits()).batch_bytes)
    for (topic, partition), (key, value, headers) in records:
        size = size_of(key, value, headers)
        rounds.add(topic, partition, writer, (key, value, headers), size)
    await publish(log, rounds)
