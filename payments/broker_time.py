"""The brokers' time for a command that has nothing to append, from the timestamp of a record.

A machine's own clock may be days off, and the expiry of payments must not depend on it.
"""

from exactstage import TopicPartition
from exactstage.kafka import BrokerClock, KafkaLog
from exactstage.log import NO_HEADERS, Batch, Channel
from payments.settings import Settings
from payments.topics.cluster import TopicsError

_RECORD = (b"time", b"written to be told the time", NO_HEADERS)


async def broker_time_ms(settings: Settings) -> int:
    """Return the time of the broker that leads the topic of the fencing check.

    Nothing else depends on the records of that topic. Raises ``TopicsError`` when its records do
    not have the broker's time, and ``FailStop`` when it can't be written to.
    """
    return (await _broker_clock(settings))()


async def ahead_seconds(settings: Settings) -> float:
    """Return how far this machine's clock is ahead of that broker's; errors as above."""
    return (await _broker_clock(settings)).difference_seconds


async def _broker_clock(settings: Settings) -> BrokerClock:
    at = TopicPartition(settings.topics.fencing_check, 0)
    log = KafkaLog(
        settings.connection(), delivery_timeout_seconds=settings.delivery_timeout_seconds
    )
    try:
        await log.start([at.topic])
        log.partition_count(at.topic)
        writer = await log.new_writer()
        await log.append([Batch(at, writer, [_RECORD])], Channel.JOURNAL)
        if not log.clock.is_known:
            message = f"{at.topic} does not have the broker's time; run: payments topics apply"
            raise TopicsError(message)
        return log.clock
    finally:
        await log.close()
