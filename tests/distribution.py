"""How ``make test`` spreads the test files over processes: one begins with those of the broker.

Broker tests mostly wait, the others compute. So one process more than there are cores works, the
first through the files in their order, broker tests foremost, the others from the end. Where they
meet, each takes what is left: a process that comes to a broker test starts a broker of its own.
"""

import os
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.broker_fixture import stop_brokers_of

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController


RUN = pytest.StashKey[str]()
MORE_THAN_LAST = 2


class FromBothEnds(LoadFileScheduling):  # type: ignore[misc] # xdist ships no types
    """Hands out whole files: to the first process from the front, to all others from the end."""

    def _assign_work_unit(self, node: "WorkerController") -> None:
        if node is not self.nodes[0]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def remove_node(self, node: "WorkerController") -> str | None:
        """Take back what an ended process had to run; return the test that ended it.

        That test is not run again: xdist would hand it to one process after the other.
        """
        left = [
            (unit, test)
            for unit in self.assigned_work[node].values()
            for test, is_done in unit.items()
            if not is_done
        ]
        crashed = None
        if left:
            unit, crashed = left[0]
            unit[crashed] = True
        super().remove_node(node)
        return crashed

    def _reschedule(self, node: "WorkerController") -> None:
        """Hand out more, until the process has two tests to run or knows that nothing comes after.

        A process runs its last test only then. xdist forgets that for one that takes the place of
        one that ended, and for files of which all tests have been run.
        """
        assigned = self.assigned_work[node]
        super()._reschedule(node)
        while not node.shutting_down and self._pending_of(assigned) < MORE_THAN_LAST:
            super()._reschedule(node)


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: "Producer"
) -> LoadFileScheduling | None:
    """Take the place of xdist's ``--dist loadfile``."""
    if config.getoption("dist") != "loadfile":
        return None
    # Files stay in the order in which they were collected.
    config.option.loadscopereorder = False
    return FromBothEnds(config, log)


def pytest_xdist_auto_num_workers() -> int | None:
    """Return one process more than there are cores, unless xdist's own variable says how many."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 1


def pytest_configure_node(node: "WorkerController") -> None:
    """Note which run the processes belong to."""
    node.config.stash[RUN] = node.workerinput["testrunuid"]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the brokers of processes that did not end in time after Ctrl-C, or crashed."""
    if RUN in config.stash:
        stop_brokers_of(config.stash[RUN])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files with broker tests first where several processes share them."""
    if hasattr(config, "workerinput"):
        first = {item.path for item in items if item.get_closest_marker("broker")}
        items.sort(key=lambda item: item.path not in first)
