"""The table of all faults: name, what it does, and the stand that it needs."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tools.chaos.errors import ChaosError
from tools.chaos.faults import (
    brokers,
    clients,
    copies,
    machines,
    membership,
    network,
    operators,
    workers,
)
from tools.chaos.scene import Scene


class Stand(StrEnum):
    """What stands there to be struck: brokers, and the retention of payments."""

    SINGLE = "single"  # One broker, a worker behind the proxy, payments kept for a day.
    WINDOWS = "windows"  # The same, with payments kept for seconds: windows close all the time.
    THREE = "three"  # Three brokers: replication 3, two copies in sync.


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. ``strike`` returns when it is healed."""

    name: str
    group: str
    stand: Stand
    strike: Callable[[Scene], Awaitable[None]]
    quick: bool = False
    """Whether it takes some seconds only, its recovery included: chosen by ``quick``."""

    on_disk: bool = False
    """Whether it needs workers with local copies."""

    lacks: Callable[[], str | None] = lambda: None
    """Returns what it needs and this machine lacks."""

    @property
    def text(self) -> str:
        """What it does, in one line."""
        return (self.strike.__doc__ or "").strip()


FOREIGN_ROW = "foreign-row"
FAULTS = {
    fault.name: fault
    for fault in (
        Fault("worker-kill", "workers", Stand.SINGLE, workers.kill),
        Fault("worker-freeze", "workers", Stand.SINGLE, workers.freeze),
        Fault("worker-pause", "workers", Stand.SINGLE, workers.pause),
        Fault("worker-deploy", "workers", Stand.SINGLE, workers.deploy),
        Fault("worker-scale", "workers", Stand.SINGLE, workers.scale),
        Fault("worker-kill-two", "workers", Stand.SINGLE, workers.kill_two),
        Fault("worker-kill-takeover", "workers", Stand.SINGLE, workers.kill_in_takeover),
        Fault("worker-kill-closing", "workers", Stand.WINDOWS, workers.kill_in_closing),
        Fault("worker-kill-lapsing", "workers", Stand.SINGLE, workers.kill_in_lapsing),
        Fault("broker-kill", "brokers", Stand.SINGLE, brokers.kill_single),
        Fault("broker-freeze", "brokers", Stand.SINGLE, brokers.freeze_single),
        Fault("broker-restart", "brokers", Stand.SINGLE, brokers.restart_single),
        Fault("broker-disk-full", "brokers", Stand.SINGLE, brokers.fill_disk),
        Fault("leader-kill", "brokers", Stand.THREE, brokers.kill_leader),
        Fault("leader-restart", "brokers", Stand.THREE, brokers.restart_leader),
        Fault("join-restart", "membership", Stand.SINGLE, membership.restart_in_join),
        Fault("coordinator-kill", "membership", Stand.THREE, membership.kill_coordinator),
        Fault("poll-stop", "membership", Stand.SINGLE, membership.stop_poll),
        Fault("network-cut", "network", Stand.SINGLE, network.cut_off),
        Fault("network-delay", "network", Stand.SINGLE, network.delay),
        Fault("network-half-open", "network", Stand.SINGLE, network.half_open),
        Fault("codecs", "clients", Stand.SINGLE, clients.codecs, quick=True),
        Fault("transaction-commit", "clients", Stand.SINGLE, clients.commit_late, quick=True),
        Fault("transaction-abort", "clients", Stand.SINGLE, clients.abort_late, quick=True),
        Fault("transaction-kill", "clients", Stand.SINGLE, clients.abandon_transaction),
        Fault("foreign-message", "clients", Stand.SINGLE, clients.foreign_message, quick=True),
        Fault("delete-handled", "operators", Stand.SINGLE, operators.delete_handled),
        Fault(FOREIGN_ROW, "operators", Stand.SINGLE, operators.write_to_journal),
        Fault("group-reset", "operators", Stand.SINGLE, operators.reset_group),
        Fault("group-delete", "operators", Stand.SINGLE, operators.delete_group),
        Fault(
            "clock-jump",
            "machines",
            Stand.SINGLE,
            machines.jump_clock,
            lacks=machines.clock_lacks,
        ),
        Fault(
            "clock-jump-closing",
            "machines",
            Stand.WINDOWS,
            machines.jump_clock_in_closing,
            lacks=machines.clock_lacks,
        ),
        Fault("disk-full", "machines", Stand.SINGLE, machines.fill_disk, quick=True),
        Fault("few-files", "machines", Stand.SINGLE, machines.start_with_few_files, quick=True),
        Fault("no-files", "machines", Stand.SINGLE, machines.run_out_of_files, quick=True),
        Fault("same-instance", "machines", Stand.SINGLE, machines.start_twin),
        Fault("copies-deleted", "copies", Stand.SINGLE, copies.delete, on_disk=True),
        Fault("copies-damaged", "copies", Stand.SINGLE, copies.damage, on_disk=True),
        Fault("copies-swapped", "copies", Stand.SINGLE, copies.swap, on_disk=True),
        Fault("copies-old", "copies", Stand.SINGLE, copies.put_back, on_disk=True),
        Fault("copies-disk-full", "copies", Stand.SINGLE, copies.fill_disk, on_disk=True),
    )
}


def _words(fault: Fault) -> set[str]:
    found = {"all", fault.name, fault.group, fault.stand.value}
    return found | {"quick"} if fault.quick else found


def choose(names: Iterable[str], *, disk: bool = False) -> Sequence[Fault]:
    """Return the faults of these names, groups or stands; raises ``ChaosError``.

    ``disk``: workers have local copies.
    """
    chosen: dict[str, Fault] = {}
    for name in names:
        named = [f for f in FAULTS.values() if name in _words(f)]
        found = [f for f in named if disk or not f.on_disk]
        if named and not found:
            raise ChaosError(f"{name} needs workers with rows on disk: --rows disk")
        if not found:
            known = ", ".join(["all", *FAULTS])
            raise ChaosError(f"there is no fault {name!r}; these are known: {known}")
        chosen |= {fault.name: fault for fault in found}
    return list(chosen.values())
