"""Ports of this machine: which are free, and when something answers on one."""

import logging
import socket
import sys
import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dev.errors import BrokerError

HOST = "127.0.0.1"
SILENT = logging.Logger("dev.ports.silent")  # noqa: LOG001 - of its own, so nothing prints it
SILENT.addHandler(logging.NullHandler())


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody uses now.

    On Linux nobody else gets them while this process runs, neither for a server on any port nor for
    a connection's own end: a broker that was killed finds its port again. A server with
    SO_REUSEADDR (Java's, asyncio's) can listen on them.
    """
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        if sys.platform == "linux":
            # After the bind: with it, the kernel gives one port to several that don't listen.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.detach()  # It stays open until this process ends.
        else:
            one.close()
    return ports


def is_taken(port: int) -> bool:
    """Tell whether something listens on the port or holds it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    # On some systems a listener on all addresses does not stop the bind above.
    return connects(port)


def connects(port: int) -> bool:
    """Tell whether a connection to the port is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def require_free(port: int) -> None:
    """Raise BrokerError when the port is in use."""
    if is_taken(port):
        message = (
            f"port {port} is in use by another program: stop that program, choose another port "
            f"(PAYMENTS_PORT=9192 make run), or name a running broker in PAYMENTS_BROKERS"
        )
        raise BrokerError(message)


def wait_until_it_answers(port: int, limit_seconds: float, check: Callable[[], None]) -> None:
    """Wait until the broker on the port answers a metadata request with itself in it.

    ``check`` is called between two tries and raises when waiting longer is pointless.
    Raises BrokerError after the limit.
    """
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        check()
        if connects(port) and _has_metadata(port):
            return
        time.sleep(0.05)
    message = f"the broker on port {port} did not answer within {limit_seconds:.0f} s"
    raise BrokerError(message)


def _has_metadata(port: int) -> bool:
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": f"{HOST}:{port}",
        "log_level": 0,
    }
    admin = AdminClient(settings, logger=SILENT)
    try:
        return bool(admin.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False
