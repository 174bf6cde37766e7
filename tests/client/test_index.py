"""The index of accounts on disk: what it keeps over restarts, and when it is read again.

Of the same kind: ``test_accounts`` (what is read through it), ``tools.bench.accounts_index`` (its
size, the memory it needs and its speed).
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from exactstage.kafka import Chunk
from exactstage.log import TopicPartition
from exactstage.memory import MemoryLog
from payments.client import AccountsUnavailable, CatchingUp, LogTransport, PaymentsClient
from payments.client.index import Index
from payments.testing import PaymentsTestbed

LEDGER, JOURNAL = "accounts.ledger", "accounts-changelog"


class Counting(LogTransport):
    """Notes where reading began; waits while it is held."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.read_from: list[tuple[str, int]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int, headers: bool = True
    ) -> Chunk:
        """Return two records, once it is let go."""
        self.read_from.append((at.topic, offset))
        chunk = await super().read(at, offset, max_bytes=max_bytes)
        if len(self.read_from) > 1:
            await self.free.wait()
        if len(chunk.records) > 2:
            return Chunk(chunk.records[:2], chunk.records[2].offset)
        return chunk

    def began_at(self, topic: str) -> int:
        """Return the first offset that was read of a topic."""
        return next(offset for name, offset in self.read_from if name.endswith(topic))


@pytest.fixture
async def testbed(tmp_path: Path) -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(
        opening_balance=1000, partitions=1, client_state_dir=tmp_path
    ) as running:
        yield running


@asynccontextmanager
async def client(testbed: PaymentsTestbed) -> AsyncIterator[tuple[PaymentsClient, Counting]]:
    transport = Counting(testbed.log)
    async with PaymentsClient(settings=testbed.settings, transport=transport) as opened:
        yield opened, transport


async def sequences(client: PaymentsClient, account: str = "abc") -> Sequence[int]:
    return [entry.sequence for entry in await client.entries(account) or ()]


async def filled(testbed: PaymentsTestbed, payments: int = 5) -> None:
    """Make payments, and have an index of them."""
    async with client(testbed) as (opened, _):
        for number in range(payments):
            await opened.make(f"pay-{number}", account="abc", amount=1)
        assert await sequences(opened) == list(range(1, payments + 2))


async def test_the_next_start_goes_on_where_the_last_one_was(testbed: PaymentsTestbed) -> None:
    await filled(testbed)
    async with client(testbed) as (opened, transport):
        await opened.make("pay-later", account="abc", amount=1)
        held = await opened.account("abc")
        assert held is not None
        assert (held.balance, await sequences(opened)) == (994, [1, 2, 3, 4, 5, 6, 7])
        assert transport.began_at(LEDGER) >= 6
        assert transport.began_at(JOURNAL) > 6


@pytest.mark.parametrize("topic", [LEDGER, "payments-accounts-changelog"])
async def test_what_belongs_to_another_topic_is_read_anew(
    testbed: PaymentsTestbed, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(testbed)
    names = [name for name in testbed.log.topic_ids if name.endswith(topic)]
    testbed.log.topic_ids[names[0]] = "another"
    async with client(testbed) as (opened, transport):
        assert await sequences(opened) == [1, 2, 3, 4, 5, 6]
        assert transport.began_at(topic) == 0
    assert "read again" in caplog.text


async def test_an_index_whose_next_records_were_deleted_is_read_anew(
    testbed: PaymentsTestbed,
) -> None:
    await filled(testbed)
    async with testbed.client() as other:
        for number in range(3):
            await other.make(f"more-{number}", account="abc", amount=1)
    testbed.log.partition(TopicPartition(LEDGER, 0)).delete_before(8)
    async with client(testbed) as (opened, _):
        assert await sequences(opened) == [8, 9]


def put(file: Path, damage: bytes) -> None:
    file.write_bytes(damage)


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_torn_index_is_read_anew(
    testbed: PaymentsTestbed, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(testbed)
    put(next(tmp_path.glob("*.sqlite")), damage)  # noqa: ASYNC240 - a folder of the test
    async with client(testbed) as (opened, _):
        with pytest.raises(AccountsUnavailable, match="is being read again: ask again"):
            await opened.account("abc")
        assert await sequences(opened) == [1, 2, 3, 4, 5, 6]
    assert "is corrupt" in caplog.text


FORMER = """
CREATE TABLE positions (topic TEXT, partition INTEGER, source TEXT, position INTEGER,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE entries (id INTEGER PRIMARY KEY, value BLOB);
CREATE TABLE places (partition INTEGER, account BLOB, sequence INTEGER, id INTEGER,
    PRIMARY KEY (partition, account, sequence)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
LATER = "CREATE TABLE entries (something TEXT); PRAGMA user_version = 999;"
FOREIGN = "CREATE TABLE entries (something TEXT);"


@pytest.mark.parametrize("tables", [FORMER, LATER, FOREIGN])
async def test_an_index_of_another_format_is_read_anew(
    testbed: PaymentsTestbed, tmp_path: Path, tables: str, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(testbed)
    (file,) = tmp_path.glob("*.sqlite")  # noqa: ASYNC240 - a folder of the test
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.executescript(tables)
    async with client(testbed) as (opened, transport):
        assert await sequences(opened) == [1, 2, 3, 4, 5, 6]
        assert transport.began_at(LEDGER) == 0
    assert "the accounts are read again" in caplog.text
    async with client(testbed) as (opened, transport):
        assert await sequences(opened) == [1, 2, 3, 4, 5, 6]
        assert not transport.read_from, "it is of this format now"


async def test_a_second_client_of_a_folder_has_a_temporary_index(
    testbed: PaymentsTestbed, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(testbed) as (first, _), client(testbed) as (second, _):
        await first.make("pay-1", account="abc", amount=1)
        assert await sequences(first) == [1, 2]
        assert caplog.text == ""
        assert await sequences(second) == [1, 2]
    assert "another process keeps its index in PAYMENTS_CLIENT_STATE_DIR" in caplog.text
    async with client(testbed) as (third, transport):
        assert await sequences(third) == [1, 2]
        assert all(offset > 0 for _, offset in transport.read_from)


async def test_a_folder_that_can_not_be_used_is_said_and_payments_go_on(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    async with (
        PaymentsTestbed(opening_balance=9, partitions=1, client_state_dir=taken) as testbed,
        testbed.client() as client,
    ):
        with pytest.raises(AccountsUnavailable, match="PAYMENTS_CLIENT_STATE_DIR"):
            await client.account("abc")
        assert (await client.make("pay-1", account="abc", amount=1)).outcome == "completed"


async def test_a_full_disk_is_said_once_in_the_log_and_by_trouble_until_there_is_room(
    testbed: PaymentsTestbed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Payments go on. A folder that can't be used, or none for temporary files, are alike."""
    connect, pages = sqlite3.connect, 7

    def connected(*given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **named)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connected)
    async with client(testbed) as (opened, _):
        for number in range(100):
            await opened.make(f"pay-{number}", account="abc", amount=1)
        assert opened.trouble() is None
        for _ in range(3):
            with pytest.raises(AccountsUnavailable, match="disk is full; free space there"):
                await opened.entries("abc")
        told = opened.trouble()
        assert told is not None
        assert "disk is full" in told
        assert opened.healthy(), "payments can be made"
        assert [r.message for r in caplog.records if "disk is full" in r.message] == [told]
        pages = 1_000_000
        assert len(await opened.entries("abc") or ()) == 100
        assert opened.trouble() is None


async def test_no_folder_for_temporary_files_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    async with (
        PaymentsTestbed(opening_balance=9, partitions=1) as testbed,
        testbed.client() as client,
    ):
        for _ in range(3):
            with pytest.raises(AccountsUnavailable, match="PAYMENTS_CLIENT_STATE_DIR"):
                await client.account("abc")
        assert "PAYMENTS_CLIENT_STATE_DIR" in (client.trouble() or "")
        assert caplog.text.count("accounts can't be read") == 1
        (tmp_path / "missing").mkdir()
        assert await client.account("abc") is None
        assert client.trouble() is None


async def test_who_asks_while_it_catches_up_is_told_how_far_it_is_and_it_goes_on(
    testbed: PaymentsTestbed,
) -> None:
    async with client(testbed) as (opened, transport):
        for number in range(10):
            await opened.make(f"pay-{number}", account="abc", amount=1)
        transport.free.clear()
        with pytest.raises(CatchingUp, match=r"changelog/0 is read up to offset \d+ of \d+; ask"):
            await opened.account("abc", deadline_seconds=2)
        transport.free.set()
        held = await opened.account("abc")
        assert held is not None
        assert held.balance == 990
        assert len(transport.read_from) == len(set(transport.read_from)), "nothing is read twice"


async def test_without_a_folder_nothing_is_left_behind(tmp_path: Path) -> None:
    index = Index(None, "accounts", JOURNAL)
    at = TopicPartition(JOURNAL, 0)
    index.restart(at, "cluster/topic", 0)
    index.take_rows(at, "cluster/topic", [(b"abc", b"{}")], 0, 7)
    assert (index.row(0, b"abc"), index.position(at, "cluster/topic")) == (b"{}", 7)
    folder = index.file.parent
    assert folder.exists()
    index.close()
    assert not folder.exists()


async def test_balances_are_not_taken_away_by_entries_that_are_none(
    testbed: PaymentsTestbed,
) -> None:
    async with client(testbed) as (opened, _):
        await opened.make("pay-1", account="abc", amount=1)
        for value in (b"{}", b'{"account":"abc","sequence":1}', b"\xff", b"[" * 20_000):
            testbed.produce(LEDGER, b"abc", value)
        testbed.produce(LEDGER, None, None)
        await opened.make("pay-2", account="other", amount=1)
        assert await sequences(opened, "other") == [1, 2]
        assert await opened.account("abc") is not None
        await opened.make("pay-3", account="abc", amount=1)
        with pytest.raises(AccountsUnavailable, match="is no ledger entry, or repeats one"):
            await opened.entries("abc")
