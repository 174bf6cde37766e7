"""``resume`` beside an open transaction of a producer: it says what blocks the search.

Of the same kind: accounts and ledger (``tests/broker/test_standstill.py``), results that other
calls wait for (``trouble``, there too). Misuse of ``resume`` is in ``test_misuse.py``, what it
finds in ``tests/gateway/test_locations.py``.
"""

import pytest

from exactstage.kafka import Chunk
from exactstage.log import TopicPartition
from payments.client import CatchingUp, LogTransport, PaymentsClient
from payments.testing import PaymentsTestbed


class Blocked(LogTransport):
    """A transport whose commands are blocked by an open transaction while ``topic`` is set."""

    topic: str | None = None

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int, headers: bool = True
    ) -> Chunk:
        """Return no record from that topic, although there are some."""
        chunk = await super().read(at, offset, max_bytes=max_bytes)
        if at.topic == self.topic:
            return Chunk([], offset, stable=offset, end=chunk.position)
        return chunk


@pytest.mark.parametrize("topic", ["payments.commands", "payments.results"])
async def test_a_search_that_an_open_transaction_blocks_says_so(topic: str) -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        transport = Blocked(payments.log)
        async with PaymentsClient(settings=payments.settings, transport=transport) as client:
            mark = await client.mark("p1")
            made = await client.make("p1", account="abc", amount=1, command_id="c1")
            transport.topic = topic
            with pytest.raises(CatchingUp, match="open transaction") as told:
                await client.resume("p1", "c1", mark, deadline_seconds=0.1)
            assert "the command can't be searched for: " in str(told.value)
            assert f"{topic}/" in str(told.value)
            transport.topic = None
            found = await client.resume("p1", "c1", mark)
            assert found is not None
            assert (await found).outcome == made.outcome == "completed"
