"""Open transactions: written partitions whose records an open transaction hides from readers."""

import asyncio
from collections.abc import Sequence

from aiokafka import errors

from exactstage.log import TopicPartition
from exactstage.troubles import Trouble

from .connection import Connection
from .offsets import ends_now
from .standing import Standing


class OpenTransactions:
    """Partitions whose records an open transaction hides from their readers.

    A reader learns it from its fetches; a process that only writes to a partition has to ask.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: dict[TopicPartition, Standing] = {}

    async def check(self, at: Sequence[TopicPartition]) -> None:
        """Ask the leaders of these partitions, once; without an answer, nothing changes.

        The last stable offset is requested after the end: without an open transaction it has
        reached that end by then, whatever is appended in between (KIP-98).
        """
        try:
            end = await ends_now(self._connection, at, stable=False)
            stable = await ends_now(self._connection, at, stable=True)
        except (errors.KafkaError, OSError):
            # Appends to the same leaders meet the same error, and report it.
            return
        now = asyncio.get_running_loop().time()
        former, self._found = self._found, {}
        for tp in at:
            if stable[tp] >= end[tp]:
                continue
            known = former.get(tp)
            since = known.since if known is not None and known.stable == stable[tp] else now
            self._found[tp] = Standing(stable[tp], stable[tp], end[tp], since)

    def troubles(self, servers: str) -> list[Trouble]:
        """Return what the last check found."""
        return [standing.trouble(at, servers) for at, standing in self._found.items()]
