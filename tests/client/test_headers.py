"""Headers of a command that no record can have are refused for that command alone, at once.

Of the same kind: what the client can't foresee, such as a topic that allows less than ours, and a
record that can't be written at all. Other arguments are in ``test_misuse.py``.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from exactstage.kafka import AppendFailure, encode_batch
from exactstage.log import Batch, TopicPartition, Writer
from payments.client import InvalidCommand, LogTransport, PaymentsClient
from payments.client.commands import MAX_MESSAGE_BYTES, size_of
from payments.client.transport import CommandRecord
from payments.domain.results import Outcome, Reason
from payments.testing import PaymentsTestbed

from .faults import FaultyTransport

COMMANDS = "payments.commands"
MAKE = {"type": "make", "account": "abc", "amount": 1}


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as running:
        yield running


@pytest.fixture
async def client(testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    async with testbed.client() as opened:
        yield opened


async def together(
    client: PaymentsClient, good: int, **bad: Any
) -> tuple[list[str], BaseException]:
    """Send good commands and a bad one in the middle at once; return what became of them."""
    calls = [client.send(f"p{number}", MAKE, deadline_seconds=10) for number in range(good)]
    calls.insert(good // 2, client.send("bad", MAKE, deadline_seconds=10, **bad))
    ended = await asyncio.gather(*calls, return_exceptions=True)
    (error,) = [it for it in ended if isinstance(it, BaseException)]
    return [it.outcome for it in ended if not isinstance(it, BaseException)], error


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ([("x", "text")], r"value of headers\[0\] \('x'\) must be bytes, not str"),
        ([("a", 5)], "must be bytes, not int"),
        ([("a", bytearray(b"b"))], "must be bytes, not bytearray"),
        ([(b"a", b"b")], r"name of headers\[0\] must be text \(str\), not bytes"),
        ([("a", b"b"), ("c",)], r"headers\[1\] must be a pair"),
        (["ab"], r"headers\[0\] must be a pair"),
        ({"a": b"b"}, "headers must be a list of pairs"),
        ("ab", "headers must be a list of pairs"),
        (iter([("a", b"b")]), "headers must be a list of pairs"),
        (None, "headers must be a list of pairs"),
        (5, "headers must be a list of pairs"),
    ],
)
async def test_headers_of_a_wrong_type_are_a_type_error_of_their_call_alone(
    client: PaymentsClient, testbed: PaymentsTestbed, headers: Any, told: str
) -> None:
    outcomes, error = await together(client, 4, headers=headers)
    assert outcomes == [Outcome.COMPLETED] * 4
    with pytest.raises(TypeError, match=told):
        raise error
    assert len(testbed.records(COMMANDS)) == 4


@pytest.mark.parametrize(
    ("headers", "reason", "told"),
    [
        ([("\ud800", b"b")], Reason.NOT_UTF8, "not Unicode text"),
        ([("a", b"x" * 2_000_000)], Reason.TOO_LARGE, "max.message.bytes"),
        ([("a", b"x" * 9_000_000)], Reason.TOO_LARGE, "max.message.bytes"),
        ([("a" * 2_000_000, b"")], Reason.TOO_LARGE, "max.message.bytes"),
        ([("a", b"")] * 100_000, Reason.TOO_LARGE, "max.message.bytes"),
    ],
)
async def test_headers_that_no_record_can_have_are_invalid(
    client: PaymentsClient, testbed: PaymentsTestbed, headers: Any, reason: Reason, told: str
) -> None:
    outcomes, error = await together(client, 4, headers=headers)
    assert outcomes == [Outcome.COMPLETED] * 4
    assert isinstance(error, InvalidCommand)
    assert (error.field, error.reason) == ("headers", reason)
    assert told in error.message
    with pytest.raises(InvalidCommand):
        await client.submit("p", MAKE, headers=headers)
    assert len(testbed.records(COMMANDS)) == 4


async def test_headers_arrive_as_they_were_given_and_count_for_the_size_of_a_batch(
    testbed: PaymentsTestbed,
) -> None:
    transport = FaultyTransport(testbed.log)
    large: Any = [("a", b"x" * 300_000), ("b", None), ("ü", b"")]
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        sent: Any = [client.send(f"p{n}", MAKE, headers=large) for n in range(4)]
        results = await asyncio.gather(*sent)
    assert {result.outcome for result in results} == {Outcome.COMPLETED}
    assert [list(record.headers) for record in testbed.records(COMMANDS)] == [large] * 4
    assert transport.sizes == [1] * 4, "two would be over half of a batch"


class TightTransport(FaultyTransport):
    """A topic whose ``max.message.bytes`` was lowered."""

    async def append(self, node: int, batches: Any) -> Any:
        """Refuse what is over 10,000 bytes."""
        for at, batch in batches.items():
            if sum(len(v) + sum(len(c) for _, c in h) for _, v, h in batch.records) > 10_000:
                error = MessageSizeTooLargeError(str(at))
                return {at: AppendFailure(error, arrived=False, retriable=False)}
        return await super().append(node, batches)


async def test_a_topic_that_allows_less_refuses_the_command_that_is_too_large_alone(
    testbed: PaymentsTestbed,
) -> None:
    transport = TightTransport(testbed.log)
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        outcomes, error = await together(client, 300, headers=[("a", b"x" * 10_001)])
    assert outcomes == [Outcome.COMPLETED] * 300
    assert isinstance(error, InvalidCommand)
    assert error.reason == Reason.TOO_LARGE
    assert "max.message.bytes of payments.commands" in error.message


class BrittleTransport(LogTransport):
    """One that can't write a header, as none of today's."""

    def seal(self, at: TopicPartition, writer: Writer, commands: Sequence[CommandRecord]) -> Batch:
        """Fail for any batch that has the header."""
        records = list(commands)
        if any(headers for _, _, headers in records):
            raise ZeroDivisionError
        return super().seal(at, writer, records)


async def test_a_command_that_can_not_be_written_fails_alone_and_was_not_sent(
    testbed: PaymentsTestbed,
) -> None:
    transport = BrittleTransport(testbed.log)
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        outcomes, error = await together(client, 20, headers=[("a", b"b")])
        with pytest.raises(InvalidCommand, match="nothing was sent"):
            await client.send("p", MAKE, headers=[("a", b"b")])
        assert (await client.make("p", account="abc", amount=1)).outcome is Outcome.COMPLETED
    assert outcomes == [Outcome.COMPLETED] * 20
    assert isinstance(error, InvalidCommand)
    assert "nothing was sent" in str(error)


async def test_the_transport_in_memory_refuses_what_a_broker_can_not_have(
    testbed: PaymentsTestbed,
) -> None:
    transport = LogTransport(testbed.log)
    headers: Any = [("x", "text")]
    with pytest.raises((TypeError, AttributeError)):
        transport.seal(TopicPartition(COMMANDS, 0), Writer(1, 0), [(b"k", b"v", headers)])


async def test_the_largest_command_fits_a_batch(testbed: PaymentsTestbed) -> None:
    """The broker's own count is that of the encoded batch."""
    key, value = b"k" * 255, b"v" * 65_536
    names = [(f"n{number}", b"x" * 100) for number in range(1000)]
    rest = MAX_MESSAGE_BYTES - 100 - size_of(key, value, [*names, ("last", b"")])
    full: Any = [*names, ("last", b"x" * rest)]
    assert size_of(key, value, full) == MAX_MESSAGE_BYTES - 100
    batch = encode_batch(Batch(TopicPartition(COMMANDS, 0), Writer(1, 0), [(key, value, full)]))
    assert len(batch) <= MAX_MESSAGE_BYTES
    with pytest.raises(InvalidCommand):
        size_of(key, value, [*full, ("", b"")])
