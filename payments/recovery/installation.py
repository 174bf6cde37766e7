"""The installation that a recovery command works on: its stages, and a log of their topics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from exactstage import Stage, topics_of
from exactstage.kafka import KafkaLog
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage

from .errors import RecoveryRefused

PATIENCE_SECONDS = 15.0
"""How long a request is retried; short, since an operator waits for the answer."""


def stages_of(settings: Settings) -> list[Stage]:
    """Return the stages of an installation: payments, accounts."""
    return [payments_stage(settings), accounts_stage(settings)]


@asynccontextmanager
async def open_log(settings: Settings, *, grown: bool = False) -> AsyncIterator[KafkaLog]:
    """Connect for as long as the block lasts. Raises ``RecoveryRefused`` when topics do not fit.

    With ``grown`` some topics may have more partitions than the others: they were added in place.
    """
    topics = topics_of(stages_of(settings))
    log = KafkaLog(settings.connection(), delivery_timeout_seconds=PATIENCE_SECONDS)
    try:
        await log.start(topics)
        counts = {topic: log.partition_count(topic) for topic in topics}
        different = {t: n for t, n in counts.items() if n != settings.partitions}
        if different and not (grown and min(counts.values()) == settings.partitions):
            listing = ", ".join(f"{topic} {count}" for topic, count in different.items())
            message = f"PAYMENTS_PARTITIONS is {settings.partitions}, but there are: {listing}"
            raise RecoveryRefused(message)
        yield log
    finally:
        await log.close()
