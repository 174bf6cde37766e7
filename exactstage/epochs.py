"""Epochs: how a reader knows that a partition has lost what was read of it (KIP-101, KIP-320).

Each batch names the leader epoch under which it was appended. A leader that was elected without the
last acknowledged records continues where its own log ends, under a newer epoch: so the older epoch
ends before what was read of it. That stays known when the log has grown past that place again.
"""

from .advice import command
from .errors import RecordsLost
from .log import TopicPartition


def truncated_after_reading(at: TopicPartition, position: int, epoch: int, end: int) -> RecordsLost:
    """Return the failure of a reader whose partition lost what was read before ``position``."""
    message = (
        f"{at} was read up to {position}, but its leader epoch {epoch} ends at {end} now: "
        f"acknowledged records were lost (an unclean election, a broker without its disk). Nothing "
        f"was skipped; start again: the takeover finds out whether one of them had been handled"
    )
    return RecordsLost(message)


def truncated_after_handling(
    journal: TopicPartition, at: TopicPartition, position: int, epoch: int, end: int
) -> RecordsLost:
    """Return the refusal to continue at a position of an input before which records were lost."""
    message = (
        f"{journal} continues at {at.address(position)}, but "
        f"leader epoch {epoch} of {at}, of which that "
        f"was read, ends at {end} now: records that were handled are lost (an unclean election, a "
        f"broker without its disk), and what was written there anew never was handled. Bring the "
        f"lost replica back, or continue at {end} with: {command('journal skip')} "
        f"--topic {at.topic} --partition {at.partition} --lost"
    )
    return RecordsLost(message)
