"""Ours: broker, worker, and over HTTP the gateway, each a process."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from payments.settings import Settings
from tools.bench.broker import MeasuredBroker, own_broker
from tools.bench.gateway import GATEWAY_READY
from tools.bench.installation import installation
from tools.bench.peers.targets import (
    FSYNC,
    HTTP,
    PAGE_CACHE,
    TOPICS,
    HttpEndpoint,
    Restartable,
    Running,
    System,
    Target,
    TopicsEndpoint,
)
from tools.bench.worker import PAYMENTS, READY, READY_LIMIT_SECONDS, WorkerProcess, running_worker
from tools.dev.ports import free_ports

FLUSH_EVERY_APPEND = {"log.flush.interval.messages": "1"}
"""Of the broker, so it holds for every topic: ``flush.messages=1`` on each, Kafka's own too."""

WORKER_ID = "worker-1"


def systems() -> list[System]:
    """Return ours over both transports, in 8 and 2 partitions, without and with a flush."""
    return [
        System(
            "-".join(["payments", str(partitions), *(["flush"] if flush else [])]),
            f"payments, {partitions} partitions",
            "payments",
            transport,
            FSYNC if flush else PAGE_CACHE,
            partial(_running, transport, partitions, flush),
        )
        for transport in (HTTP, TOPICS)
        for partitions in (8, 2)
        for flush in (True, False)
    ]


@contextmanager
def broker_with(*, flush: bool) -> Iterator[MeasuredBroker]:
    """Start a broker that flushes every append, or leaves that to the system."""
    with own_broker(FLUSH_EVERY_APPEND if flush else None) as broker:
        yield broker


@contextmanager
def _running(transport: str, partitions: int, flush: bool, folder: Path) -> Iterator[Target]:  # noqa: FBT001 - bound by partial
    with ExitStack() as stack:
        broker = stack.enter_context(broker_with(flush=flush))
        settings = stack.enter_context(
            installation(broker.bootstrap, partitions=partitions, flush=False)
        )
        worker = Restartable(partial(_worker, settings), folder, "worker")
        stack.callback(worker.stop)
        worker.wait_for(READY, READY_LIMIT_SECONDS)
        children: dict[str, Running] = {"worker": worker}
        if transport == HTTP:
            [port] = free_ports(1)
            command = (*PAYMENTS, "gateway", "--port", str(port))
            gateway = stack.enter_context(
                running_worker(settings, folder / "gateway.log", command, GATEWAY_READY)
            )
            gateway.wait_until_ready(READY_LIMIT_SECONDS)
            yield Target(
                HttpEndpoint(port, "payments"), {"gateway": gateway, **children}, broker.pid
            )
        else:
            yield Target(_topics(settings), children, broker.pid, worker)


def _topics(settings: Settings) -> TopicsEndpoint:
    names = ("payments.commands", "payments.results", "accounts.ledger")
    return TopicsEndpoint(settings.brokers, *map(settings.topic, names))


def _worker(settings: Settings, log: Path) -> WorkerProcess:
    # Static membership, so that a killed worker need not wait for its own session to end.
    return WorkerProcess(settings, log, more={"PAYMENTS_INSTANCE_ID": WORKER_ID})
