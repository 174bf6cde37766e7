"""Receipts: an own Faust app beside the workers, which reads what they publish.

Run it with ``faust -A receipts worker --without-web``. Its id is its consumer group: other than
PAYMENTS_APP_ID. The broker, the topics' prefix and their partitions come from ``PAYMENTS_*``.
Faust delivers at least once: after a crash a result may come again, with the same ``ce_id``.
"""

from collections.abc import AsyncIterator

import faust
from faust.types import StreamT, TopicT

from payments.client import LedgerEntry, Result
from payments.domain.money import money_text
from payments.settings import Settings

settings = Settings()
app = faust.App(
    f"{settings.topic_prefix}receipts",
    broker=[f"kafka://{server}" for server in settings.brokers.split(",")],
    store="memory://",
    topic_partitions=settings.partitions,
)


def records_of(topic: str) -> TopicT:
    """Return a topic whose records an agent gets as their bytes."""
    name = settings.topic(topic)
    return app.topic(name, key_type=bytes, value_type=bytes, value_serializer="raw")


results, ledger = records_of("payments.results"), records_of("accounts.ledger")
entries_of = app.Table("entries_of", default=int)
"""How many entries each account has: a table of this app, with a changelog of its own."""


@app.agent(results)
async def write_receipts(stream: StreamT[bytes]) -> AsyncIterator[str | None]:
    """Print a line for each payment that was completed for the first time; yield it for tests."""
    async for value in stream:
        result = Result.model_validate_json(value)
        if result.outcome == "completed" and not result.replayed and result.amount:
            receipt = f"{result.payment}: {money_text(result.amount, str(result.currency))}"
            print(receipt, flush=True)
            yield receipt
        else:
            yield None


@app.agent(ledger)
async def count_entries(stream: StreamT[bytes]) -> AsyncIterator[int]:
    """Keep the number of the last entry: it only grows, so a repeat changes nothing."""
    async for value in stream:
        entry = LedgerEntry.model_validate_json(value)
        entries_of[entry.account] = max(entries_of[entry.account], entry.sequence)
        yield entries_of[entry.account]
