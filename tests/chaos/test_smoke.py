"""A short run on a real broker: the storm, two faults of workers, and the verdict."""

from pathlib import Path

from chaos import report
from chaos.brokers import Brokers
from chaos.faults.table import Stand, choose
from chaos.run import CLOSING_COMMANDS, Plan, run_part_on
from tests.broker_fixture import RunningBroker

FAULTS = ["worker-kill-takeover", "worker-pause"]


def test_a_short_storm_over_dying_workers_leaves_nothing_stuck_doubled_or_lost(
    broker: RunningBroker, tmp_path: Path
) -> None:
    plan = Plan(
        stand=Stand.SINGLE,
        faults=choose(FAULTS),
        seconds=120,
        seed=5,
        rate=50,
        membership="static",
        folder=tmp_path,
    )
    part = run_part_on(Brokers(broker.bootstrap, {}, replication=1, ours=False), plan)
    assert part.faults_found == []
    assert [strike.name for strike in part.strikes] == FAULTS
    assert all(strike.recovered is not None for strike in part.strikes)
    assert part.sent > CLOSING_COMMANDS
    assert part.answered == part.sent
    assert sum(part.rate) == part.results
    assert part.lag == 0
    assert part.last_hundred_ms is not None
    assert part.verified is not None
    assert part.verified["counts"]["commands"] == part.sent
    assert part.endings["killed: -9"] == 1
    assert sum(n for cause, n in part.endings.items() if "killed in takeover" in cause) == 1
    assert "| worker-pause | 1 |" in report.as_text([part], "test")
