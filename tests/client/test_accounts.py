"""Accounts and ledger pages: what is read, how often, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from exactstage.kafka import Chunk
from exactstage.log import Bounds, TopicPartition
from exactstage.memory import MemoryLog
from payments.client import AccountBalance, AccountsUnavailable, LogTransport, PaymentsClient
from payments.testing import PaymentsTestbed

LEDGER = "accounts.ledger"


class CountingTransport(LogTransport):
    """Notes what is read, and reads a few records at a time."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.reads: list[tuple[str, int]] = []
        self.asked: list[str] = []
        """Requests for offsets, by what they ask for."""
        self.late = 0
        """Reads of the ledger that find nothing yet."""

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Count a request for the begin and one for the end."""
        self.asked += ["begin", "end"]
        return await super().bounds(at)

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Count a request for the end."""
        self.asked.append("end")
        return {tp: held.end for tp, held in (await super().bounds(at)).items()}

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int, headers: bool = True
    ) -> Chunk:
        """Return at most three records."""
        self.reads.append((at.topic, offset))
        if at.topic == LEDGER and self.late:
            self.late -= 1
            return Chunk([], offset)
        chunk = await super().read(at, offset, max_bytes=max_bytes)
        await asyncio.sleep(0)
        if len(chunk.records) <= 3:
            return chunk
        return Chunk(chunk.records[:3], chunk.records[3].offset)


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as running:
        yield running


@pytest.fixture
def transport(testbed: PaymentsTestbed) -> CountingTransport:
    return CountingTransport(testbed.log)


@pytest.fixture
async def client(
    testbed: PaymentsTestbed, transport: CountingTransport
) -> AsyncIterator[PaymentsClient]:
    async with PaymentsClient(settings=testbed.settings, transport=transport) as opened:
        yield opened


async def sequences(client: PaymentsClient, account: str) -> Sequence[int]:
    return [entry.sequence for entry in await client.entries(account) or ()]


async def test_many_reads_at_once_share_the_reading(
    client: PaymentsClient, transport: CountingTransport
) -> None:
    for number in range(10):
        await client.make(f"pay-{number}", account=f"a{number % 3}", amount=1)
    assert transport.reads == [], "nothing is read while nobody asks"
    held = await asyncio.gather(*(client.account(f"a{n % 3}") for n in range(30)))
    assert AccountBalance(account="a0", balance=996, currency="EUR", sequence=5) in held
    assert len(transport.reads) == len(set(transport.reads))


async def test_a_balance_that_is_known_costs_one_request_for_the_end(
    client: PaymentsClient, transport: CountingTransport
) -> None:
    await client.make("pay-1", account="abc", amount=1)
    await client.account("abc")
    transport.asked.clear()
    transport.reads.clear()
    held = await client.account("abc")
    assert held == AccountBalance(account="abc", balance=999, currency="EUR", sequence=2)
    assert (transport.asked, transport.reads) == (["end"], [])
    await client.make("pay-2", account="abc", amount=1)
    held = await client.account("abc")
    assert held == AccountBalance(account="abc", balance=998, currency="EUR", sequence=3)
    assert transport.asked == ["end"] * 2


async def test_what_was_deleted_unread_is_noticed_by_the_read_itself(
    client: PaymentsClient, testbed: PaymentsTestbed, transport: CountingTransport
) -> None:
    await client.make("pay-1", account="abc", amount=1)
    assert await sequences(client, "abc") == [1, 2]
    for number in range(2, 6):
        await client.make(f"pay-{number}", account="abc", amount=1)
    testbed.log.partition(TopicPartition(LEDGER, 0)).delete_before(4)
    assert await sequences(client, "abc") == [4, 5, 6], "and 3 is gone"


async def test_accounts_that_share_a_partition_have_pages_of_their_own(
    client: PaymentsClient,
) -> None:
    for number in range(12):
        await client.make(f"pay-{number}", account=f"a{number % 3}", amount=1)
    for account in ("a0", "a1", "a2"):
        entries = await client.entries(account) or ()
        assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
        assert {entry.account for entry in entries} == {account}
    (entry,) = await client.entries("a1", after=2, limit=1) or ()
    assert (entry.sequence, entry.account) == (3, "a1")


async def test_a_page_waits_for_the_entries_that_the_journal_already_has(
    client: PaymentsClient, transport: CountingTransport
) -> None:
    await client.make("pay-1", account="abc", amount=1)
    transport.late = 3
    assert await sequences(client, "abc") == [1, 2]
    assert transport.late == 0


async def test_entries_that_retention_removed_are_left_out(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    for number in range(4):
        await client.make(f"pay-{number}", account="abc", amount=1)
    kept = testbed.records(LEDGER)[2:]
    testbed.log.partition(TopicPartition(LEDGER, 0)).delete_before(kept[0].offset)
    assert await sequences(client, "abc") == [3, 4, 5]


async def test_a_foreign_record_on_the_ledger_is_an_error_and_no_entry(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    await client.make("pay-1", account="abc", amount=1)
    testbed.produce(LEDGER, b"abc", b"{}")
    (foreign,) = [record for record in testbed.records(LEDGER) if record.value == b"{}"]
    await client.make("pay-2", account="abc", amount=1)
    message = f"{LEDGER}/0/{foreign.offset} is no ledger entry"
    with pytest.raises(AccountsUnavailable, match=message):
        await client.entries("abc")
    assert await client.account("abc") is not None


@pytest.mark.parametrize(("after", "limit"), [(-1, 1), (0, 0), (0, 1001)])
async def test_a_page_has_bounds(client: PaymentsClient, after: int, limit: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        await client.entries("abc", after=after, limit=limit)
