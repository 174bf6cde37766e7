"""The ledger that ``rebuild_time`` writes is one that the rebuild takes, entry by entry."""

from exactstage.log import TopicPartition
from payments.recovery.gathering import Source
from payments.recovery.rebuilding import plan_rebuild
from payments.recovery.scanning import show_nothing
from tests.recovery.rig import Installation
from tools.bench.rebuild_time import OLD_MS, Plan, write_ledger


async def test_every_entry_is_rebuilt_into_its_account() -> None:
    rig = Installation()
    writer = await rig.new_writer()
    plan = Plan(entries=60, accounts=12, payments=0, partitions=rig.settings.partitions)
    await write_ledger(rig, rig.settings, writer, plan, rig.clock() - OLD_MS)
    ledger = rig.settings.topic("accounts.ledger")
    at = [TopicPartition(ledger, partition) for partition in range(plan.partitions)]
    assert sum(bounds.end for bounds in (await rig.bounds(at)).values()) == plan.entries

    rebuilt = await plan_rebuild(
        rig, rig.settings, source=Source(), old_commands=None, now_ms=rig.clock(), show=show_nothing
    )
    assert (rebuilt.counts["accounts"], rebuilt.counts["payments"]) == (plan.accounts, 0)
    assert rebuilt.counts["ledger entries read"] == plan.entries
