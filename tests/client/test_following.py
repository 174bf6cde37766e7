"""Following results: over lost connections, removed results and records of others."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from exactstage.errors import FailStop, PositionLost
from exactstage.log import Reader, Record, TopicPartition
from exactstage.memory import MemoryLog
from payments.client import DeadlineExceeded, PaymentsClient, WatchBroken
from payments.domain.results import Outcome
from payments.testing import PaymentsTestbed

from .faults import FaultyTransport

RESULTS = "payments.results"


class FaultyReader:
    """A reader that raises what its transport's ``error`` says, once, before it has read on."""

    def __init__(self, reader: Reader, transport: "FaultyReads") -> None:
        self._reader = reader
        self._transport = transport
        self.assign = reader.assign
        self.positions = reader.positions
        self.epochs = reader.epochs
        self.end_asked = reader.end_asked
        self.claimants = reader.claimants
        self.seen_ends = reader.seen_ends
        self.skip = reader.skip
        self.close = reader.close
        self.troubles = reader.troubles

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Fetch, or fail."""
        error, self._transport.error = self._transport.error, None
        if error is not None:
            self._transport.failed.set()
            raise error
        return await self._reader.fetch(timeout_seconds=min(timeout_seconds, 0.01))


class FaultyReads(FaultyTransport):
    """A transport whose reader can be made to fail."""

    error: Exception | None = None

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.reading, self.failed = asyncio.Event(), asyncio.Event()

    async def open_reader(self) -> Reader:
        """Return the reader."""
        self.reading.set()
        return FaultyReader(await super().open_reader(), self)


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000) as running:
        yield running


@pytest.fixture
def transport(testbed: PaymentsTestbed) -> FaultyReads:
    return FaultyReads(testbed.log)


@pytest.fixture
async def client(testbed: PaymentsTestbed, transport: FaultyReads) -> AsyncIterator[PaymentsClient]:
    async with PaymentsClient(settings=testbed.settings, transport=transport) as opened:
        yield opened


@pytest.mark.parametrize("error", [FailStop("gone"), RuntimeError("a bug")])
async def test_results_that_came_while_the_connection_was_lost_are_read_afterwards(
    client: PaymentsClient, transport: FaultyReads, testbed: PaymentsTestbed, error: Exception
) -> None:
    watch = client.watch("pay-1")
    transport.error = error
    await transport.failed.wait()
    await testbed.send("pay-1", {"type": "get"})
    assert (await anext(watch)).outcome is Outcome.NOT_FOUND
    assert transport.opened == 2
    assert (await client.make("pay-1", account="abc", amount=1)).outcome is Outcome.COMPLETED


async def test_results_removed_unread_break_watches_and_calls_go_on_from_the_end(
    client: PaymentsClient, transport: FaultyReads
) -> None:
    watch = client.watch("pay-1")
    transport.reading.clear()
    transport.error = PositionLost("0 is not in the log any more")
    with pytest.raises(WatchBroken, match="removed"):
        await anext(watch)
    await transport.reading.wait()
    assert (await client.get("pay-1")).outcome is Outcome.NOT_FOUND


async def test_a_record_that_is_no_result_is_passed_over_and_not_shown_in_the_log(
    client: PaymentsClient, testbed: PaymentsTestbed, caplog: pytest.LogCaptureFixture
) -> None:
    watch = client.watch("pay-1")
    testbed.produce(RESULTS, b"pay-1", b"a-secret")
    with caplog.at_level(logging.DEBUG):
        assert (await client.get("pay-1")).outcome is Outcome.NOT_FOUND
    assert (await anext(watch)).outcome is Outcome.NOT_FOUND
    (record,) = [record for record in testbed.records(RESULTS) if record.value == b"a-secret"]
    assert f"{RESULTS}/{record.partition}/{record.offset} is no result" in caplog.text
    assert "a-secret" not in caplog.text


async def test_a_result_with_a_field_of_a_later_version_is_understood(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    watch = client.watch("pay-1")
    result = await client.get("pay-1")
    later = {**result.model_dump(mode="json"), "later": 1}
    testbed.produce(RESULTS, b"pay-1", json.dumps(later).encode())
    assert [await anext(watch), await anext(watch)] == [result, result]


async def test_the_result_of_another_command_of_the_payment_is_no_answer(
    client: PaymentsClient, testbed: PaymentsTestbed, transport: FaultyReads
) -> None:
    transport.held = asyncio.Event()
    call = asyncio.create_task(client.get("pay-1", command_id="mine", deadline_seconds=0.2))
    await transport.trying.wait()
    await testbed.send("pay-1", {"type": "get", "id": "of-another"})
    with pytest.raises(DeadlineExceeded):
        await call
