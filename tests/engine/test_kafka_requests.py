"""What is asked of brokers: claims name their partitions, and aborted commands stay unread."""

from types import SimpleNamespace
from typing import Any

from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from exactstage.kafka.claims import Claims
from exactstage.kafka.fetched import Budget
from exactstage.kafka.reader import KafkaReader
from exactstage.kafka.wire import FetchedBytes
from exactstage.log import TopicPartition

from .test_kafka_errors import AT, NEXT, Brokers

OTHER = TopicPartition("results", 0)


async def test_a_claim_leaves_its_epoch_twice_in_every_partition_and_aborts() -> None:
    done = SimpleNamespace(error_code=0, producer_id=7, producer_epoch=3)
    added = SimpleNamespace(errors=[("inbox", [(0, 0), (1, 0)]), ("results", [(0, 0)])])
    brokers = Brokers([done, added, done, added, done])
    await Claims(brokers).claim("words-0", [AT, OTHER, NEXT])  # type: ignore[arg-type]
    adding = [r for r in brokers.requests if isinstance(r, AddPartitionsToTxnRequest)]
    ending = [r for r in brokers.requests if isinstance(r, EndTxnRequest)]
    assert [fields(request) for request in adding] == [
        ("words-0", 7, 3, [("inbox", [0, 1]), ("results", [0])])
    ] * 2
    assert [fields(request) for request in ending] == [("words-0", 7, 3, False)] * 2


def fields(request: Any) -> tuple[Any, ...]:
    return tuple(vars(request).values())


async def test_records_of_an_aborted_transaction_are_not_given_out() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 5, 0, 0, 1 << 20)
    builder.append(0, 1000, b"k", b"aborted", [])
    part = FetchedBytes(*AT, 0, [(5, 0)], bytes(builder.build()))
    for committed_only, expected in ((True, []), (False, [b"aborted"])):
        reading = KafkaReader(Brokers([(0, [part])]), committed_only=committed_only)  # type: ignore[arg-type]
        reading.assign({AT: 0})
        found = await reading._fetch(1, {AT: 0})
        assert [record.value for record in found[AT].take(Budget(1 << 20, 100))] == expected
        assert found[AT].position == 1
        await reading.close()
