"""A long ledger is read by several processes, and comes out as if one had read it."""

import pytest

from exactstage.kafka import KafkaLog
from exactstage.log import Batch, Channel, NewRecord
from exactstage.ranges import Ranges, partitions_of, show_nothing
from payments.recovery import folding
from payments.recovery.balances import Balances
from payments.recovery.errors import RecoveryRefused
from payments.recovery.folding import Wanted, fold, fold_in_shares, shares_of
from payments.recovery.installation import open_log
from payments.settings import Settings
from tools.dev.written_ledger import Ledger

pytestmark = pytest.mark.broker
ENTRIES, ACCOUNTS = 60, 12
TIME_MS = 1_800_000_000_000


async def ledger_of(log: KafkaLog, settings: Settings) -> Ranges:
    ledger = Ledger(settings, ACCOUNTS, TIME_MS)
    await ledger.write(log, await log.new_writer(), ledger.in_turns(ENTRIES))
    return await log.bounds(partitions_of(settings.topics.ledger, settings.partitions))


def shown(balances: Balances) -> tuple[object, ...]:
    return balances.partition, balances.accounts, balances.counters, balances.entries


async def test_shares_make_the_same_balances_as_one_reader(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_log(settings) as log:
        ranges = await ledger_of(log, settings)
        assert shares_of(ranges, 3) == [ranges], "so short a ledger is read by one process"
        monkeypatch.setattr(folding, "LONG", 0)
        shares = shares_of(ranges, 3)
        assert [len(share) for share in shares] == [2, 1, 1]
        together = await fold_in_shares(log, settings, shares, Wanted(), show_nothing)
        alone = await fold(log, ranges, Wanted(), show_nothing)
    assert [shown(each) for each in together.balances] == [shown(each) for each in alone.balances]
    assert sum(each.entries for each in together.balances) == ENTRIES
    assert together.movements == alone.movements
    assert len(together.movements) == ENTRIES


async def test_a_fault_in_the_share_of_another_process_is_told_as_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends that process: its share is read again, by the one that can say so."""
    monkeypatch.setattr(folding, "LONG", 0)
    async with open_log(settings) as log:
        one, other = shares_of(await ledger_of(log, settings), 2)
        at = next(iter(other))
        entry: NewRecord = (b"nobody", b"{}", [("ce_id", b"accounts/%d/9/1" % at.partition)])
        await log.append([Batch(at, await log.new_writer(), [entry])], Channel.PUBLISH)
        broken = shares_of(await log.bounds([*one, *other]), 2)
        with pytest.raises(RecoveryRefused, match=f"contradicts itself at {at}"):
            await fold_in_shares(log, settings, broken, Wanted(), show_nothing)


def ended_at_once(*arguments: object) -> None:
    """Stand for a process that is killed."""
    del arguments


async def test_a_share_whose_process_is_killed_is_read_by_the_one_that_asks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "LONG", 0)
    monkeypatch.setattr(folding, "_send_share", ended_at_once)
    async with open_log(settings) as log:
        shares = shares_of(await ledger_of(log, settings), 2)
        folded = await fold_in_shares(log, settings, shares, Wanted(), show_nothing)
    assert sum(each.entries for each in folded.balances) == ENTRIES
