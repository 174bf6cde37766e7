"""The table of all faults: name, what it does, and the stand that it needs."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chaos.errors import ChaosError
from chaos.faults import brokers, membership, network, workers
from chaos.scene import Scene


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

    @property
    def text(self) -> str:
        """What it does, in one line."""
        return (self.strike.__doc__ or "").strip()


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
        Fault("broker-kill", "brokers", Stand.SINGLE, brokers.kill_single),
        Fault("broker-freeze", "brokers", Stand.SINGLE, brokers.freeze_single),
        Fault("broker-restart", "brokers", Stand.SINGLE, brokers.restart_single),
        Fault("leader-kill", "brokers", Stand.THREE, brokers.kill_leader),
        Fault("leader-restart", "brokers", Stand.THREE, brokers.restart_leader),
        Fault("join-restart", "membership", Stand.SINGLE, membership.restart_in_join),
        Fault("coordinator-kill", "membership", Stand.THREE, membership.kill_coordinator),
        Fault("poll-stop", "membership", Stand.SINGLE, membership.stop_poll),
        Fault("network-cut", "network", Stand.SINGLE, network.cut_off),
        Fault("network-delay", "network", Stand.SINGLE, network.delay),
        Fault("network-half-open", "network", Stand.SINGLE, network.half_open),
    )
}


def choose(names: Iterable[str]) -> Sequence[Fault]:
    """Return the faults of these names, groups or stands; raises ``ChaosError``."""
    chosen: dict[str, Fault] = {}
    for name in names:
        found = [f for f in FAULTS.values() if name in {"all", f.name, f.group, f.stand.value}]
        if not found:
            known = ", ".join(["all", *FAULTS])
            raise ChaosError(f"there is no fault {name!r}; these are known: {known}")
        chosen |= {fault.name: fault for fault in found}
    return list(chosen.values())
