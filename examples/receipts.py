"""Receipts: an own Faust app beside the workers, which reads what they publish.

Run it with ``faust -A receipts worker``. Its id is its consumer group: other than PAYMENTS_APP_ID.
Faust delivers at least once: after a crash a result may come again, with the same ``ce_id``.
"""

import os
from collections.abc import AsyncIterator

import faust
from faust.types import StreamT

from payments.client import LedgerEntry, Result
from payments.domain.money import money_text

app = faust.App(
    "receipts",
    broker=f"kafka://{os.environ.get('PAYMENTS_BROKERS', 'localhost:9092')}",
    store="memory://",
    topic_partitions=int(os.environ.get("PAYMENTS_PARTITIONS", "8")),
)
results = app.topic("payments.results", key_type=bytes, value_type=bytes, value_serializer="raw")
ledger = app.topic("accounts.ledger", key_type=bytes, value_type=bytes, value_serializer="raw")
entries_of = app.Table("entries_of", default=int)
"""How many entries each account has: a table of this app, with a changelog of its own."""


@app.agent(results)
async def write_receipts(stream: StreamT[bytes]) -> AsyncIterator[str | None]:
    """Yield a line for each payment that was completed for the first time."""
    async for value in stream:
        result = Result.model_validate_json(value)
        if result.outcome == "completed" and not result.replayed and result.amount:
            yield f"{result.payment}: {money_text(result.amount, str(result.currency))}"
        else:
            yield None


@app.agent(ledger)
async def count_entries(stream: StreamT[bytes]) -> AsyncIterator[int]:
    """Keep the number of the last entry: it only grows, so a repeat changes nothing."""
    async for value in stream:
        entry = LedgerEntry.model_validate_json(value)
        entries_of[entry.account] = max(entries_of[entry.account], entry.sequence)
        yield entries_of[entry.account]
