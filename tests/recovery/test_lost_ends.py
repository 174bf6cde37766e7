"""Inputs that lost records which were handled, and grew again past that place.

Without leader epochs nobody would see that: what was written anew before the position would never
be handled. Of the same kind: an end that is still short (``PositionLost`` in a worker that reads,
here too), topics deleted and made anew (``tests/engine/test_consistency.py``), and on a broker
whose disk was cut (``tests/broker/test_lost_ends.py``). What may never be refused for it: other
leaders, retention, deleted records, and journals of versions before.
"""

import asyncio
from dataclasses import replace

import pytest

from exactstage import journal
from exactstage.checkpoint import Checkpoint, encode_checkpoint
from exactstage.errors import RecordsLost
from exactstage.log import TopicPartition
from exactstage.partitioner import partition_of
from payments.recovery import skipping
from payments.recovery.errors import RecoveryRefused
from payments.recovery.fitting import misfit
from payments.recovery.inspecting import inspect
from payments.recovery.installation import stages_of

from .rig import Installation, Worker

MAKE = {"type": "make", "account": "abc", "amount": 1}
COMMANDS = TopicPartition("payments.commands", 0)
INPUTS = [TopicPartition(f"payments.{name}", 0) for name in ("commands", "transfers", "inbox")]


async def skip_lost(log: Installation, at: TopicPartition) -> skipping.Skip:
    """Do what ``payments journal skip --lost --yes`` does."""
    stages = stages_of(log.settings)
    found = await skipping.plan(log, stages, at, None)
    await skipping.carry_out(log, log.settings.app_id, stages, found, time_ms=log.time())
    return found


def commands(log: Installation, first: int, end: int) -> None:
    for number in range(first, end):
        log.command(f"p{number}", MAKE)


async def test_commands_that_were_written_anew_before_the_position_are_noticed_and_handled() -> (
    None
):
    log = Installation(partitions=1)
    commands(log, 0, 10)
    assert await log.work() is None
    log.partition(COMMANDS).truncate(6)
    commands(log, 10, 20)
    failure = await log.work()
    assert isinstance(failure, RecordsLost)
    assert f"continues at {COMMANDS}/10" in str(failure)
    assert "ends at 6 now" in str(failure)
    assert f"skip --topic {COMMANDS.topic} --partition 0 --lost" in str(failure)
    assert (await skip_lost(log, COMMANDS)).end == 6
    assert await log.work() is None
    answered = [result["payment"] for result in log.results()]
    assert sorted(answered) == sorted(f"p{n}" for n in range(20)), "each once, the lost ones too"
    assert log.entries()[-1]["balance"] == 1000 - 20
    report = await log.require_clean()
    assert sum(report.unchecked.values()) == 4, "the results of the lost ones answer nothing now"
    with pytest.raises(RecoveryRefused, match="nothing is lost"):
        await skip_lost(log, COMMANDS)


@pytest.mark.parametrize("at", INPUTS, ids=str)
@pytest.mark.parametrize("anew", [0, 2, 3, 5])
async def test_each_input_is_checked_whatever_length_it_has_grown_to(
    at: TopicPartition, anew: int
) -> None:
    log = Installation(partitions=1)
    commands(log, 0, 5)
    assert await log.work(local_delivery=False) is None
    end = log.end(at)
    log.partition(at).truncate(end - 3)
    for _ in range(anew):
        log.produce(at, b"p", b'{"type":"get"}')
    failure = await log.work(local_delivery=False)
    assert isinstance(failure, RecordsLost), failure
    assert f"continues at {at}/{end}" in str(failure)
    stages = stages_of(log.settings)
    found = await inspect(log, stages, [0])
    assert {
        each.topic: each.truncated_at for one in found for each in one.inputs if each.truncated_at
    } == {at.topic: end - 3}
    await skip_lost(log, at)
    assert await log.work(local_delivery=False) is None
    found = await inspect(log, stages, [0])
    assert not [each for one in found for each in one.inputs if each.truncated_at or each.lost]
    assert await misfit(log, log.settings.app_id, stages, 1, found) is None


async def test_two_inputs_of_one_partition_are_given_back_one_after_the_other() -> None:
    log = Installation(partitions=1)
    commands(log, 0, 5)
    assert await log.work(local_delivery=False) is None
    for at in INPUTS:
        log.partition(at).truncate(log.end(at) - 1)
    for at in INPUTS:
        assert isinstance(await log.work(local_delivery=False), RecordsLost)
        await skip_lost(log, at)
    commands(log, 5, 6)
    assert await log.work(local_delivery=False) is None
    assert len(log.results()) == 6


async def test_what_was_read_and_not_handled_is_handled_from_where_the_log_was_cut() -> None:
    """A worker that reads ends at the first batch of another leader, and begins again."""
    log = Installation(partitions=1)
    commands(log, 0, 4)
    assert await log.work() is None
    worker = Worker(log)
    running = asyncio.create_task(worker.run())
    commands(log, 4, 6)
    async with asyncio.timeout(20):
        while len(log.results()) < 6:
            await log.grown(0.01)
    log.partition(COMMANDS).truncate(3)
    commands(log, 6, 12)
    failure = await running
    if failure is None:  # It was done before anything came that it could have seen.
        failure = await log.work()
    assert isinstance(failure, RecordsLost)
    assert isinstance(await log.work(), RecordsLost)
    assert (await skip_lost(log, COMMANDS)).end == 3
    assert await log.work() is None
    assert len(log.results()) == 12


async def test_a_range_that_is_given_up_begins_where_nothing_was_handled() -> None:
    log = Installation(partitions=1)
    commands(log, 0, 10)
    assert await log.work() is None
    log.partition(COMMANDS).truncate(6)
    commands(log, 10, 20)
    stages = stages_of(log.settings)
    found = await skipping.plan(log, stages, COMMANDS, 12)
    assert (found.first, found.end, found.readable) == (6, 12, 6)


@pytest.mark.parametrize("local_delivery", [True, False])
async def test_other_leaders_and_deleted_records_are_no_loss(*, local_delivery: bool) -> None:
    log = Installation(partitions=2)
    for round_ in range(5):
        commands(log, 10 * round_, 10 * round_ + 10)
        assert await log.work(local_delivery=local_delivery) is None
        for topic in ("payments.commands", "payments.transfers", "payments.inbox"):
            for number in range(2):
                partition = log.partition(TopicPartition(topic, number))
                partition.elect()
                if round_ > 2:
                    partition.delete_before(partition.end)
                    partition.elect()
                if round_ % 2:
                    partition.mark(99, 0, commit=False)
    assert await log.work(local_delivery=local_delivery) is None
    await log.require_clean()


async def test_a_loss_of_what_nobody_has_read_is_no_reason_to_refuse() -> None:
    log = Installation(partitions=1)
    commands(log, 0, 5)
    assert await log.work() is None
    commands(log, 5, 9)
    log.partition(COMMANDS).truncate(5)
    commands(log, 20, 22)
    assert await log.work() is None
    assert len(log.results()) == 7


async def test_a_journal_of_a_version_before_is_gone_on_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It tells no epochs; and one that is gone back to for a while is none for the next either."""

    def encode_as_before(checkpoint: Checkpoint) -> bytes:
        return encode_checkpoint(replace(checkpoint, epochs={}))

    log = Installation(partitions=1)
    commands(log, 0, 5)
    assert await log.work() is None
    log.partition(COMMANDS).elect()
    monkeypatch.setattr(journal, "encode_checkpoint", encode_as_before)
    commands(log, 5, 10)
    assert await log.work() is None
    log.partition(COMMANDS).elect()
    monkeypatch.undo()
    commands(log, 10, 12)
    assert await log.work() is None
    log.partition(COMMANDS).truncate(11)
    assert isinstance(await log.work(), RecordsLost)


async def test_positions_of_other_partitions_are_not_touched() -> None:
    log = Installation(partitions=2)
    commands(log, 0, 20)
    assert await log.work() is None
    at = TopicPartition("payments.commands", partition_of(b"p0", 2))
    log.partition(at).truncate(log.end(at) - 1)
    assert f"continues at {at}/" in str(await log.work())
    await skip_lost(log, at)
    assert await log.work() is None
