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


class FromBothEnds(LoadFileScheduling):  # type: ignore[misc] # xdist ships no types
    """Hands out whole files: to the first process from the front, to all others from the end."""

    def _assign_work_unit(self, node: "WorkerController") -> None:
        if node is not self.nodes[0]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


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
