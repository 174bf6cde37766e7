"""What must hold after a run: what ``payments verify`` proves, and that nothing is left undone.

The auditor reads what the run has left: the public topics with all that was ever appended, and the
journals as compaction has left them. Here is also what it takes for granted or lets pass: that a
partition has its owner's positions in order, and that nothing is still in flight.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from exactstage.checkpoint import RESERVED
from exactstage.log import Record, TopicPartition
from exactstage.outputs import OUTPUT_ID_HEADER, OutputId, parse_source
from payments.domain.results import Outcome
from payments.records.record_models import Result
from payments.settings import Settings
from payments.verify.auditor import Auditor
from payments.verify.findings import Kind

History = Mapping[TopicPartition, Sequence[Record]]
"""The committed records of each partition."""

_PASSED_ON = (Kind.MISSING_RESULT, Kind.MISSING_DEAD_LETTER)
"""What becomes of a command that was forwarded when the inbox has lost it."""


def violations(settings: Settings, history: History, *, may_wait: bool = False) -> Iterator[str]:
    """Yield whatever does not hold.

    ``may_wait`` lets payments wait for ever, and commands that were forwarded have no answer.
    """
    auditor = Auditor(settings)
    for topics in auditor.topics.phases:
        for at in sorted(at for at in history if at.topic in topics):
            start = auditor.start_of(at, 0)
            auditor.read([record for record in history[at] if record.offset >= start])
    report = auditor.finish()
    yield from (
        str(violation)
        for violation in report.violations
        if not may_wait or violation.kind not in _PASSED_ON
    )
    if (report.in_flight or report.pending) and not may_wait:
        yield f"{report.in_flight} commands and {report.pending} transfers are in flight for ever"
    yield from (f"not checked: {count} {what}" for what, count in report.unchecked.items())
    for topic in auditor.topics.public:
        for at in sorted(at for at in history if at.topic == topic):
            yield from _positions(at, history[at])


def _positions(at: TopicPartition, records: Sequence[Record]) -> Iterator[str]:
    """Each public record has a position of its partition, later than the one before."""
    last: OutputId = (0, -1)
    for record in records:
        source = parse_source(dict(record.headers[:2])[OUTPUT_ID_HEADER] or b"")
        if source.position <= last or source.partition != at.partition:
            yield f"{at}/{record.offset} has the position {source}, after {last}"
        last = source.position


def early(results: Sequence[Record], latest_ms: Sequence[float]) -> Iterator[str]:
    """Yield what was forgotten at a time that no broker's clock had come to.

    ``latest_ms`` is, for each record, the latest time that a worker can have had from a broker.
    """
    for record, known_ms in zip(results, latest_ms, strict=True):
        if b'"expired"' in (record.value or b""):
            result = Result.model_validate_json(record.value or b"")
            time_ms = datetime.fromisoformat(result.time).timestamp() * 1000
            if result.outcome is Outcome.EXPIRED and time_ms > known_ms + 1:
                yield f"{record.topic}/{record.partition}/{record.offset} expired too early"


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
