"""Standing: a partition that has records but whose fetches return none."""

from typing import NamedTuple

from exactstage.log import TopicPartition
from exactstage.troubles import Trouble


class Standing(NamedTuple):
    """Position of the reader, offsets of the partition, and since when (the loop's time)."""

    position: int
    stable: int
    """Last stable offset."""

    end: int
    """High watermark."""

    since: float

    def trouble(self, at: TopicPartition, servers: str) -> Trouble:
        """Return this as a trouble; ``servers`` is for the commands in its advice."""
        if self.position < self.stable:
            return Trouble(
                "records are there and don't come",
                str(at),
                self.since,
                "its leader returns none of them: look at that broker's log",
                f"read up to {self.position}, end {self.end}",
                partition=True,
            )
        tool = f"kafka-transactions.sh --bootstrap-server {servers}"
        # The same text for all partitions, so that a line has it once.
        advice = (
            f"a producer has not ended its transaction there, and what comes after it waits until "
            f"that ends (at most its transaction.timeout.ms). Find it with: {tool} "
            f"describe-producers --topic TOPIC --partition NUMBER (its "
            f"CurrentTransactionStartOffset is the last stable offset); if it hangs, end it with: "
            f"{tool} abort --topic TOPIC --partition NUMBER --start-offset LAST_STABLE_OFFSET"
        )
        return Trouble(
            "blocked by an open transaction",
            str(at),
            self.since,
            advice,
            f"last stable offset {self.stable}, end {self.end}",
            partition=True,
        )
