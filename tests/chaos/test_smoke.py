"""A short run on a real broker: the storm, faults of workers and of clients, and the verdict."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker_fixture import RunningBroker
from tools.chaos import report
from tools.chaos import run as module
from tools.chaos.brokers import Brokers
from tools.chaos.faults.clients import IN_TRANSACTION
from tools.chaos.faults.table import Stand, choose
from tools.chaos.run import CLOSING_COMMANDS, Plan, run_part_on
from tools.chaos.scene import Scene

FAULTS = ["worker-kill-takeover", "worker-pause", "codecs", "transaction-abort", "foreign-message"]


def plan(folder: Path) -> Plan:
    return Plan(
        stand=Stand.SINGLE,
        faults=choose(FAULTS),
        seconds=120,
        seed=5,
        rate=50,
        membership="static",
        folder=folder,
    )


def test_a_run_that_is_interrupted_leaves_no_worker(
    broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    async def interrupted(scene: Scene, *_: object) -> None:
        pids.extend(seat.process.pid for seat in scene.fleet.seats)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_strike_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_part_on(Brokers(broker.bootstrap, {}, replication=1, ours=False), plan(tmp_path))
    assert len(pids) == module.WORKERS
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_short_storm_over_dying_workers_leaves_nothing_stuck_doubled_or_lost(
    broker: RunningBroker, tmp_path: Path
) -> None:
    part = run_part_on(Brokers(broker.bootstrap, {}, replication=1, ours=False), plan(tmp_path))
    assert part.faults_found == []
    assert [strike.name for strike in part.strikes] == FAULTS
    assert all(strike.recovered is not None for strike in part.strikes)
    assert part.sent > CLOSING_COMMANDS
    assert part.aborted == IN_TRANSACTION
    assert part.answered == part.sent - part.aborted
    assert sum(part.rate) == part.results
    assert part.lag == 0
    assert part.last_hundred_ms is not None
    assert part.verified is not None
    assert part.verified["counts"]["commands"] == part.answered
    assert part.endings["killed: -9"] == 1
    assert sum(n for cause, n in part.endings.items() if "killed in takeover" in cause) == 1
    assert "| worker-pause | 1 |" in report.as_text([part], "test")


def test_copies_that_are_damaged_mixed_up_or_deleted_do_no_harm(
    broker: RunningBroker, tmp_path: Path
) -> None:
    pytest.importorskip("rocksdict")
    # A worker that ends in order has all of its copies in files: so there is something to damage.
    names = ["worker-deploy", "copies-damaged", "copies-swapped", "copies-deleted"]
    faults = choose(names, disk=True)
    given = replace(plan(tmp_path), faults=[f for n in names for f in faults if f.name == n])
    brokers = Brokers(broker.bootstrap, {}, replication=1, ours=False)
    part = run_part_on(brokers, replace(given, disk=True))
    assert part.faults_found == []
    assert [strike.name for strike in part.strikes] == names
    assert part.answered == part.sent
    assert part.copies["same"] >= 2 * module.PARTITIONS, "of payments and of accounts"
    assert not list(tmp_path.glob(f"*{module.STATE}")), "kept only where something was found"
