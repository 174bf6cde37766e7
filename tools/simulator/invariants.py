"""What must hold after a run of any subject: positions of outputs in order, rows as journalled."""

from collections.abc import Iterator, Sequence

from exactstage.checkpoint import RESERVED
from exactstage.log import Record, TopicPartition
from exactstage.outputs import OUTPUT_ID_HEADER, OutputId, parse_source

from .subject import History


def out_of_order(history: History, topics: Sequence[str]) -> Iterator[str]:
    """Yield each public record without a position of its partition, later than the one before."""
    for topic in topics:
        for at in sorted(at for at in history if at.topic == topic):
            yield from _out_of_order(at, history[at])


def _out_of_order(at: TopicPartition, records: Sequence[Record]) -> Iterator[str]:
    last: OutputId = (0, -1)
    for record in records:
        source = parse_source(dict(record.headers[:2])[OUTPUT_ID_HEADER] or b"")
        if source.output_id <= last or source.partition != at.partition:
            yield f"{at}/{record.offset} has the position {source}, after {last}"
        last = source.output_id


def fold(records: Sequence[Record]) -> dict[bytes, bytes]:
    """Return the rows that a journal's records amount to."""
    rows: dict[bytes, bytes] = {}
    for record in records:
        assert record.key is not None, f"{record} has no key"
        if record.key[:1] != RESERVED:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
    return rows
