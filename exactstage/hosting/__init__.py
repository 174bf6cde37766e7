"""Run stages: this module is for deploying them, or for a host of your own.

``EngineApp`` is a Faust app (extra ``faust``): Faust provides app, worker, group membership and
co-partitioned assignment, agents, channels, read-only tables, command line, web. ``PlainHost`` runs
in any event loop, on partitions that are given. Both carry deliveries to an ``Engine``, which does
what must be exact and fast: reading, writing, their order, and restoring (docs/design.md 3).
"""

from typing import TYPE_CHECKING

from exactstage._doors import exports

if TYPE_CHECKING:
    from exactstage.advice import name_program
    from exactstage.counts import JOINING, TAKING_OVER, AppendCounts, Counts, Histogram, Lag
    from exactstage.engine import Engine
    from exactstage.errors import EXIT_FAIL_STOP
    from exactstage.gc_tuning import freeze_and_relax
    from exactstage.local_copy import StateDirectory
    from exactstage.plain_host import PlainHost
    from exactstage.reading import Delivery
    from exactstage.takeover import TakeoverReport

    from .app import EngineApp

__all__ = [
    "EXIT_FAIL_STOP",
    "JOINING",
    "TAKING_OVER",
    "AppendCounts",
    "Counts",
    "Delivery",
    "Engine",
    "EngineApp",
    "Histogram",
    "Lag",
    "PlainHost",
    "StateDirectory",
    "TakeoverReport",
    "freeze_and_relax",
    "name_program",
]

__getattr__ = exports(
    __name__,
    {
        "advice": ("name_program",),
        "counts": ("JOINING", "TAKING_OVER", "AppendCounts", "Counts", "Histogram", "Lag"),
        "engine": ("Engine",),
        "errors": ("EXIT_FAIL_STOP",),
        "gc_tuning": ("freeze_and_relax",),
        "hosting.app": ("EngineApp",),
        "local_copy": ("StateDirectory",),
        "plain_host": ("PlainHost",),
        "reading": ("Delivery",),
        "takeover": ("TakeoverReport",),
    },
)
