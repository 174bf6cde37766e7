"""Reading: up to the ends at the start, with progress, and past what a transaction holds back."""

from collections.abc import Mapping, Sequence

import pytest

from exactstage import ranges
from exactstage.errors import UNDECODABLE_BATCH, FailStop
from exactstage.log import Bounds, Record, TopicPartition
from exactstage.memory import MemoryLog, MemoryReader
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from payments.verify import reading
from payments.verify.auditor import Auditor
from payments.verify.findings import Kind, Report
from payments.verify.reading import audit

from .recording import CANCEL, MAKE, settled


class HeldBack(MemoryLog):
    """Has records of an open transaction at the end of one partition, which nobody may see."""

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Count them too, as a broker does."""
        found = dict(await super().bounds(at))
        held = TopicPartition("payments.commands", 1)
        if held in found:
            found[held] = found[held]._replace(end=found[held].end + 5)
        return found


async def test_what_an_open_transaction_holds_back_is_said_and_no_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "LIMIT_SECONDS", 0.05)
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        end = payments.log.end(TopicPartition("payments.commands", 1))
        payments.log.__class__ = HeldBack
        report = await audit(payments.log, Auditor(payments.settings), show=lambda _: None)
    told = f"offsets of payments.commands/1 from {end} on, held back by an open transaction"
    assert report.ok
    assert report.unchecked == {told: 5}


async def test_it_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_PROGRESS_SECONDS", 0)
    shown: list[str] = []
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for number in range(20):
            await payments.send(f"p{number}", MAKE)
        await audit(payments.log, Auditor(payments.settings), show=shown.append)
    assert shown[0].startswith("reading payments-payments-changelog: ")
    assert any(line.startswith("reading payments.results: ") for line in shown)
    assert shown[-1] == "everything is read: checking the guarantees"


async def test_records_after_the_ends_are_not_read() -> None:
    opened: list[int] = []

    class Growing(MemoryLog):
        """Gets more commands after the ends were told: the first two readers are the journals'."""

        async def open_reader(
            self, *, committed_only: bool, closing: bytes | None = None
        ) -> MemoryReader:
            opened.append(len(opened))
            for partition in range(4 if len(opened) > 2 else 0):
                self.produce(TopicPartition("payments.commands", partition), b"late", b"{}")
            return await super().open_reader(committed_only=committed_only)

    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        await settled(payments)
        payments.log.__class__ = Growing
        report = await audit(payments.log, Auditor(payments.settings), show=lambda _: None)
        assert len(payments.records("payments.commands")) > 1
    assert report.ok
    assert report.counts["commands"] == 1
    assert report.in_flight == 0


async def test_a_journal_is_followed_until_its_end_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading took long, compaction may have removed what later rows replace."""
    opened: list[int] = []

    class Compacting(MemoryLog):
        """Changes a row and removes the old one, as if that had been long ago."""

        async def open_reader(
            self, *, committed_only: bool, closing: bytes | None = None
        ) -> MemoryReader:
            opened.append(len(opened))
            if len(opened) == 1:
                await payments.send("p1", CANCEL)
                journal = self._partitions[TopicPartition("payments-payments-changelog", at)]
                assert journal.compact(journal.end, tombstones_before_ms=0)
                monkeypatch.setattr(reading, "CATCH_UP_SECONDS", 0)
            else:
                monkeypatch.setattr(reading, "CATCH_UP_SECONDS", 20)
            return await super().open_reader(committed_only=committed_only)

    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        at = payments.records("payments.results")[0].partition
        payments.log.__class__ = Compacting
        report = await audit(payments.log, Auditor(payments.settings), show=lambda _: None)
    assert report.violations == []
    assert report.counts["results"] == 2


async def test_only_the_end_of_the_inbox_is_read() -> None:
    class Counting(Auditor):
        """Counts the records that it is given of the inbox."""

        def _read_inbox(self, record: Record) -> None:
            inbox.append(record)

    inbox: list[Record] = []
    async with PaymentsTestbed(opening_balance=1000) as payments:
        payments.app.engine._local_delivery._enabled = False  # As between two workers.
        for number in range(20):
            await payments.send(f"p{number}", MAKE)
        await settled(payments)
        await audit(payments.log, Counting(payments.settings), show=lambda _: None)
    assert len(payments.records("payments.inbox")) >= 20
    assert inbox == []


async def test_journals_that_lost_everything_are_reported_whatever_the_rows_would_say() -> None:
    """As with deleted journals, and with the PAYMENTS_APP_ID of another installation."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for number in range(8):
            await payments.send(f"p{number}", MAKE)
        await settled(payments)
        log = payments.log
        for journal in ("payments-payments-changelog", "payments-accounts-changelog"):
            for partition in range(payments.settings.partitions):
                emptied = TopicPartition(journal, partition)
                log.partition(emptied).delete_before(log.end(emptied))
        report = await audit(log, Auditor(payments.settings), show=lambda _: None)
    written = {
        (record.topic, record.partition)
        for topic in ("payments.results", "accounts.ledger")
        for record in payments.records(topic)
    }
    found = [each for each in report.violations if each.kind is Kind.JOURNAL_BROKEN]
    assert {(each.place.topic, each.place.partition) for each in found} == written
    assert len(found) == len(written), "once for each partition"


async def test_what_a_repair_has_undone_in_a_journal_is_no_violation() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        await settled(payments)
        at = TopicPartition("payments-payments-changelog", 0)
        for key in (b"foo", b"\0foo"):
            payments.log.produce(at, key, b"bar")
        report = await audit(payments.log, Auditor(payments.settings), show=lambda _: None)
        assert report.by_kind == {Kind.MALFORMED_RECORD: 2}
        for key in (b"foo", b"\0foo"):
            payments.log.produce(at, key, None)
        report = await audit(payments.log, Auditor(payments.settings), show=lambda _: None)
    assert report.ok


def test_another_number_of_partitions_ends_it() -> None:
    auditor = Auditor(Settings(partitions=8))
    whole = {"payments.commands": 8, "payments.results": 8}
    assert auditor.added_partitions(whole) == {}
    assert auditor.added_partitions({**whole, "payments.results": 9}) == {
        "payments.results": range(8, 9)
    }
    for counts in (dict.fromkeys(whole, 16), {**whole, "payments.commands": 4}):
        with pytest.raises(FailStop, match="partitions, PAYMENTS_PARTITIONS is 8"):
            auditor.added_partitions(counts)


COMMANDS = TopicPartition("payments.commands", 1)


async def audited(payments: PaymentsTestbed) -> Report:
    return await audit(payments.log, Auditor(payments.settings), show=lambda _: None)


async def test_a_batch_that_was_put_aside_is_no_violation() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        payments.log.produce_unreadable(COMMANDS, 3, UNDECODABLE_BATCH)
        assert (await audited(payments)).ok, "it may be on its way to the dead letters"
        await payments.quiet()
        await payments.send("p1", CANCEL)
        report = await audited(payments)
        assert (report.ok, report.unchecked) == (True, {})
        assert report.dead_letters == {UNDECODABLE_BATCH: 1}
        # Another replica may have it sound: the commands that are read then have no results.
        partition = payments.log.partition(COMMANDS)
        batch = partition.unreadable.pop(partition.end - 3)
        payments.log.produce(COMMANDS, b"p9", b'{"type":"get"}')
        found = partition.records.pop()
        partition._offsets.pop()
        partition.end = batch.last_offset + 1
        partition._offsets.append(batch.offset)
        partition.records.append(found._replace(offset=batch.offset))
        report = await audited(payments)
        assert report.ok
        assert report.unchecked == {"dead letters of batches that can be read": 1}


async def test_a_batch_that_was_passed_over_in_silence_is_a_violation() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        payments.log.produce_unreadable(COMMANDS, 3, UNDECODABLE_BATCH)
        for _ in range(2):  # The second commit's checkpoint says that the first one is published.
            payments.produce(COMMANDS.topic, b"p2", b'{"type":"get"}', partition=1)
            await payments.quiet()
        letters = TopicPartition("payments.dead-letters", 1)
        payments.log.partition(letters).records.clear()
        payments.log.partition(letters)._offsets.clear()
        [violation] = (await audited(payments)).violations
        assert violation.kind is Kind.MISSING_DEAD_LETTER
        assert violation.place[:2] == COMMANDS


@pytest.mark.parametrize(
    "topic", ["payments.results", "accounts.ledger", "payments-payments-changelog"]
)
async def test_what_only_workers_write_and_can_not_be_read_is_named(topic: str) -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", MAKE)
        at = TopicPartition(topic, 2)
        batch = payments.log.produce_unreadable(at, 2, UNDECODABLE_BATCH)
        await payments.send("p2", MAKE)
        [violation] = (await audited(payments)).violations
        assert violation.kind is Kind.MALFORMED_RECORD
        assert violation.place == (topic, 2, batch.offset)
        assert "can't be read" in violation.message
