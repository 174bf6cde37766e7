"""Held back: what a process has written, and readers don't get for an open transaction."""

import asyncio
from collections.abc import Sequence

from aiokafka import errors

from exactstage.log import TopicPartition
from exactstage.troubles import Trouble

from .connection import Connection
from .offsets import look_at_ends
from .standing import Standing


class HeldBack:
    """Partitions whose records an open transaction holds back from their readers.

    A fetch tells it to who reads; a process that only writes there has to ask.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._held: dict[TopicPartition, Standing] = {}

    async def look(self, at: Sequence[TopicPartition]) -> None:
        """Ask the leaders of these partitions, once; without an answer, nothing changes.

        The last stable offset is asked for after the end: without an open transaction it has
        reached that end by then, however much is appended meanwhile (KIP-98).
        """
        try:
            end = await look_at_ends(self._connection, at, stable=False)
            stable = await look_at_ends(self._connection, at, stable=True)
        except (errors.KafkaError, OSError):
            # Appends to the same leaders meet the same, and tell it.
            return
        now = asyncio.get_running_loop().time()
        former, self._held = self._held, {}
        for tp in at:
            if stable[tp] >= end[tp]:
                continue
            known = former.get(tp)
            since = known.since if known is not None and known.stable == stable[tp] else now
            self._held[tp] = Standing(stable[tp], stable[tp], end[tp], since)

    def troubles(self, servers: str) -> list[Trouble]:
        """Return what was found at the last look."""
        return [standing.trouble(at, servers) for at, standing in self._held.items()]
