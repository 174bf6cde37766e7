"""Invariants: every record is counted once, its count is published once, whatever a worker dies at.

Faults: the worker is killed at each of its appends in turn (journal, outputs, fences, checkpoints),
with nothing, a part, or all of the append in the log; then another one takes over.
Size: every append of a run of 60 records over 3 partitions, three ways each.
"""

import pytest

from exactstage.errors import Fenced
from exactstage.limits import Limits

from .harness import (
    PARTITIONS,
    CrashMode,
    Killed,
    Worker,
    counted,
    new_log,
    produce,
    until_counted,
)

RECORDS = 60
WORDS = 5
EXACT = {b"w%d" % word: list(range(1, RECORDS // WORDS + 1)) for word in range(WORDS)}

SMALL_GROUPS = Limits(commit_bytes=800, batch_bytes=600, tick_seconds=0.01, idle_seconds=0.02)


async def test_without_faults_every_record_is_counted_once() -> None:
    log, stage = new_log()
    worker = await Worker(log, stage).start()
    produce(log, RECORDS)
    await until_counted(log, RECORDS, worker)
    await worker.stop()
    assert counted(log) == EXACT
    assert worker.failure is None


@pytest.mark.parametrize("local_delivery", [True, False])
@pytest.mark.parametrize("mode", ["before", "half", "after"])
async def test_a_worker_killed_at_any_append_loses_and_doubles_nothing(
    mode: CrashMode, local_delivery: bool
) -> None:
    crash_at, crashed = 0, True
    while crashed:
        crash_at += 1
        log, stage = new_log()
        log.crash_at, log.crash_mode = crash_at, mode
        produce(log, RECORDS)
        worker = Worker(log, stage, SMALL_GROUPS, local_delivery=local_delivery)
        try:
            await worker.start()
            await until_counted(log, RECORDS, worker)
            crashed = worker.failure is not None
        except Killed:  # during the takeover itself
            crashed = True
        await worker.kill()
        log.crash_at = None
        next_owner = await Worker(log, stage, SMALL_GROUPS).start()
        await until_counted(log, RECORDS, next_owner)
        await next_owner.stop()
        assert counted(log) == EXACT, f"killed {mode} append {crash_at}"
    assert crash_at > 10, "the run is too short to mean anything"


async def test_positions_of_outputs_are_never_used_twice() -> None:
    log, stage = new_log()
    for round_number in range(4):
        produce(log, RECORDS)
        worker = await Worker(log, stage, SMALL_GROUPS).start()
        await until_counted(log, RECORDS * (round_number + 1), worker)
        await worker.kill()
    positions = [dict(record.headers)["ce_id"] for record in log.records("counts")]
    assert len(positions) == 4 * RECORDS
    assert len(set(positions)) == len(positions)


async def test_a_former_owner_is_refused_and_ends() -> None:
    log, stage = new_log()
    old = await Worker(log, stage).start()
    produce(log, RECORDS)
    await until_counted(log, RECORDS, old)
    new = await Worker(log, stage).start()
    produce(log, RECORDS)
    await until_counted(log, 2 * RECORDS, new)
    await old.ended.wait()
    assert isinstance(old.failure, Fenced)
    assert new.failure is None
    await old.kill()
    await new.stop()
    assert {word: counts[-1] for word, counts in counted(log).items()} == dict.fromkeys(EXACT, 24)


async def test_partitions_move_between_two_workers_without_loss() -> None:
    log, stage = new_log()
    first = await Worker(log, stage, SMALL_GROUPS).start()
    second = Worker(log, stage, SMALL_GROUPS)
    await second.open()
    total = 0
    for share in (1, 2, 0, 3, 1):
        produce(log, RECORDS)
        total += RECORDS
        await first.engine.drain()
        await second.engine.drain()
        await first.assign(range(share))
        await second.assign(range(share, PARTITIONS))
        await until_counted(log, total, first if share else second)
        assert first.failure is None
        assert second.failure is None
    await first.stop()
    await second.stop()
    assert {w: c == list(range(1, 61)) for w, c in counted(log).items()} == dict.fromkeys(
        EXACT, True
    )
