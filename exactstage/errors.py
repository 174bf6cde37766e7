"""What can go wrong in the engine: this module is for code that catches or reports errors.

What may pass is retried inside the log; all else is a ``FailStop``, the end of the process.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from .advice import command, setting
from .record import Record, TopicPartition, address_text

__all__ = [
    "BATCH_TOO_LARGE",
    "EXIT_FAIL_STOP",
    "UNDECODABLE_BATCH",
    "Defect",
    "FailStop",
    "Fenced",
    "JournalBroken",
    "NewerFormat",
    "NoTopic",
    "NotAuthorized",
    "NotOurs",
    "PositionLost",
    "RecordsLost",
    "Stalled",
    "UnreadableBatch",
]

EXIT_FAIL_STOP = 70
"""Exit code of a process that can't continue (``EX_SOFTWARE`` of sysexits.h)."""


UNDECODABLE_BATCH = "undecodable_batch"
"""Reason code of a batch that is none, or holds something else than it says."""

BATCH_TOO_LARGE = "batch_too_large"
"""Reason code of a batch whose records are over the limit once they are inflated."""


OUT_OF_ORDER = (
    "acknowledged records are missing there, as after an unclean election or of a broker that came "
    "back without the end of its log; the next start finds out what is lost, "
    "and names the command that comes next"
)
"""Why a partition refuses a sequence number that does not follow, and the next step."""


class FailStop(Exception):
    """The process can't continue: the message says where, why, and what to do next."""


class NotAuthorized(FailStop):
    """The brokers do not let this user do what it has to; the message says what is missing."""


class Fenced(FailStop):
    """Another worker owns the partition now; what this one has in memory is out of date."""


class PositionLost(FailStop):
    """The broker no longer has the position that the journal names (retention, or a new topic)."""


class Stalled(FailStop):
    """No more records come, although there are more: Kafka does not give them."""

    def __init__(self, positions: Mapping[TopicPartition, int], seconds: float) -> None:
        behind = ", ".join(at.address(position) for at, position in positions.items())
        super().__init__(
            f"no record comes from {behind} on for {seconds:.0f} s, although there are more: is "
            f"its leader up, or a transaction of another producer open there? Nothing was skipped; "
            f"try again later"
        )
        self.positions = positions
        """Next offset of each partition that is not read up to its end."""


class NoTopic(FailStop):
    """A topic is not there: the brokers answer, and know of none with its name."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = names


def usual_apply(_: "Iterable[str]") -> str:
    """Return the command that makes topics, or brings them back, where all are the usual ones."""
    return f"{command('topics apply')}"


def no_topic(
    names: Iterable[str], apply_command: Callable[[Iterable[str]], str] = usual_apply
) -> NoTopic:
    """Return the error for topics that are not there."""
    missing = list(names)
    return NoTopic(
        f"there is no topic {', '.join(missing)}; make it with: {apply_command(missing)} (or is "
        f"{setting('TOPIC_PREFIX')} or {setting('APP_ID')} mistyped?)",
        missing,
    )


class JournalBroken(FailStop):
    """What a journal holds contradicts itself; continuing could lose or repeat a decision."""


class NewerFormat(JournalBroken):
    """A newer version wrote it, in a format that this one does not know."""


def newer_format(what: str, found: int, known: int) -> NewerFormat:
    """Return the error for a format of something that this version does not know."""
    message = (
        f"{what} has format {found}, this version reads up to {known}: a newer version wrote "
        f"it; start that version again"
    )
    return NewerFormat(message)


class NotOurs(FailStop):
    """Topics and journals are not those of one installation; continuing would mix two of them."""


class RecordsLost(FailStop):
    """Acknowledged records are gone; continuing could double, lose or repeat one."""


class UnreadableBatch(FailStop):
    """A batch can't be decoded.

    ``Reader.skip`` continues behind it, for topics that anyone may write. Everywhere else it ends
    the process.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        offset: int,
        last_offset: int,
        end_is_known: bool,
        timestamp: int,
        reason: str,
        cause: str,
        data: bytes,
        heads: Iterable[Record] = (),
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        """Offset of its first record."""
        self.last_offset = last_offset
        self.end_is_known = end_is_known
        """Whether ``last_offset`` is sure: else it is unknown where the next batch begins."""
        self.timestamp = timestamp
        """Of its newest record: milliseconds since 1970, UTC."""
        self.reason = reason
        """``UNDECODABLE_BATCH`` or ``BATCH_TOO_LARGE``."""
        self.cause = cause
        self.data = data
        """The batch as it is in the log."""
        self.heads = heads
        """Its first records, as far as they can be found, without headers and large values. Their
        offsets follow one another from ``offset`` on; they can be gone through more than once."""
        super().__init__(
            f"{self.address}: the batch of offsets {offset} to {last_offset} can't "
            f"be read ({reason}): {cause}. Nothing was skipped. No worker writes such a batch: a "
            f"broker's disk has damaged it, or another program wrote it. Restore the partition "
            f"from another replica or from a backup, then start again. Where no copy is left, "
            f"{command('journal skip')} gives up a range of an input, and "
            f"{command('rebuild --replace')} "
            f"makes journals anew"
        )

    @property
    def address(self) -> str:
        """The address of its first record: ``topic/partition/offset``."""
        return address_text(self.topic, self.partition, self.offset)


class Defect(FailStop):
    """Something that was never expected to be raised; its cause shows where."""


def as_fail_stop(what: str, error: Exception) -> FailStop:
    """Return the failure that ends the process; a bug ends it too, since continuing could hang."""
    if isinstance(error, FailStop):
        return error
    failure = Defect(f"{what} failed: {error!r}")
    failure.__cause__ = error
    return failure
