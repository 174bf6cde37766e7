"""Our own system as a target of a load: a fresh installation, its workers, over HTTP a gateway."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from payments.settings import Settings
from tools.bench.loading import HttpEndpoint, Target, TopicsEndpoint
from tools.bench.restore import SLOWEST_RATE
from tools.dev.child_process import READY_LIMIT_SECONDS, Child, WorkerProcess, gateway_process
from tools.dev.installations import MeasuredBroker, installation
from tools.dev.ports import free_ports

OURS = "payments"


@contextmanager
def running_ours(
    broker: MeasuredBroker,
    folder: Path,
    *,
    partitions: int,
    flush: bool = False,
    http: bool = False,
    instance_id: str | None = None,
) -> Iterator[Target]:
    """Make an installation and start its processes; all end with it.

    ``flush``: the broker calls fsync for each append to its topics. ``instance_id``: static
    membership of the worker.
    """
    with (
        installation(
            broker.bootstrap, partitions=partitions, flush=flush, instance_id=instance_id
        ) as settings,
        running_on(settings, broker, folder, http=http) as target,
    ):
        yield target


@contextmanager
def running_on(
    settings: Settings,
    broker: MeasuredBroker,
    folder: Path,
    *,
    http: bool = False,
    workers: int = 1,
    stored: int = 0,
) -> Iterator[Target]:
    """Start the processes of an installation that is there, with logs in ``folder``."""
    children: dict[str, Child] = {}
    limit = READY_LIMIT_SECONDS + settings.partitions / 10 + stored / SLOWEST_RATE
    with ExitStack() as stack:
        for number in range(1, workers + 1):
            log = folder / f"{settings.app_id}-worker-{number}.log"
            worker = stack.enter_context(WorkerProcess(settings, log))
            worker.wait_until_ready(limit)
            children["worker" if number == 1 else f"worker {number}"] = worker
        endpoint: HttpEndpoint | TopicsEndpoint = topics_of(settings)
        if http:
            [port] = free_ports(1)
            gateway = stack.enter_context(gateway_process(settings, folder / "gateway.log", port))
            gateway.wait_until_ready()
            children, endpoint = {"gateway": gateway, **children}, HttpEndpoint(port, OURS)
        target = Target(OURS, endpoint, children, broker, children["worker"])
        try:
            yield target
        finally:
            target.must_run()  # If one has ended, its own last words say more.


def topics_of(settings: Settings) -> TopicsEndpoint:
    """Return where an installation takes commands and answers."""
    names = ("payments.commands", "payments.results", "accounts.ledger")
    return TopicsEndpoint(settings.brokers, *map(settings.topic, names))
