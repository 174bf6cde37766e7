"""What can go wrong in the engine: retried inside the log, or the end of the process."""

EXIT_FAIL_STOP = 70
"""Exit code of a process that can't go on (``EX_SOFTWARE`` of sysexits.h)."""


class FailStop(Exception):  # noqa: N818 - it is an order, not a description of an error
    """The process can't go on: the message says where, why, and what to do next."""


class Fenced(FailStop):
    """Another worker owns the partition now; what this one has in memory is out of date."""


class PositionLost(FailStop):
    """The broker no longer has the position that the journal names (retention, or a new topic)."""


class NoTopic(FailStop):
    """A topic is not there: the brokers answer, and know of none with its name."""


class JournalBroken(FailStop):
    """What a journal holds contradicts itself; going on could lose or repeat a payment."""


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
    """Topics and journals are not those of one installation; going on would mix two of them."""


class RecordsLost(FailStop):
    """Acknowledged records are gone; going on could double, lose or repeat a payment."""


class Defect(FailStop):
    """Something that was never expected to be raised; its cause tells where."""


def as_fail_stop(what: str, error: Exception) -> FailStop:
    """Return the failure that ends the process; a bug ends it too, since going on could hang."""
    if isinstance(error, FailStop):
        return error
    failure = Defect(f"{what} failed: {error!r}")
    failure.__cause__ = error
    return failure
