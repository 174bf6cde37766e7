"""The ledger that benchmarks write is one that the rebuild takes, entry by entry."""

from exactstage.log import TopicPartition
from exactstage.ranges import show_nothing
from payments.recovery.gathering import Source
from payments.recovery.rebuilding import plan_rebuild
from tests.recovery.rig import Installation
from tools.bench.command_time import OLD_MS
from tools.dev.written_ledger import Ledger

ENTRIES, ACCOUNTS = 60, 12


async def test_every_entry_is_rebuilt_into_its_account() -> None:
    rig = Installation()
    written = Ledger(rig.settings, ACCOUNTS, rig.clock() - OLD_MS)
    await written.write(rig, await rig.new_writer(), written.in_turns(ENTRIES))
    ledger = rig.settings.topics.ledger
    at = [TopicPartition(ledger, partition) for partition in range(rig.settings.partitions)]
    assert sum(bounds.end for bounds in (await rig.bounds(at)).values()) == ENTRIES

    rebuilt = await plan_rebuild(
        rig, rig.settings, source=Source(), old_commands=None, now_ms=rig.clock(), show=show_nothing
    )
    assert (rebuilt.counts["accounts"], rebuilt.counts["payments"]) == (ACCOUNTS, 0)
    assert rebuilt.counts["ledger entries read"] == ENTRIES
