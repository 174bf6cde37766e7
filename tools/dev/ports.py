"""Ports of this machine: which are free, and when something answers on one."""

import logging
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tools.dev.errors import BrokerError

HOST = "127.0.0.1"
_SHOWN = 130
"""Characters of a command line that are shown; of a longer one its start and its end."""
SILENT = logging.Logger("tools.dev.ports.silent")  # noqa: LOG001 - of its own, so nothing prints it
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


def holder(port: int) -> str:
    """Return which program listens on a port, where this system and user can see that."""
    listening = f":{port:04X}"
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
        except OSError:
            continue
        inodes |= {f"socket:[{row[9]}]" for row in rows if row[1].endswith(listening)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        try:
            found = str(link.readlink()) in inodes
            command = (link.parents[2] / "cmdline").read_text(errors="replace") if found else ""
        except OSError:  # It has ended meanwhile, or is another user's.
            continue
        if command:
            words = command.replace("\0", " ").strip()
            shown = words if len(words) <= _SHOWN else f"{words[:60]} ... {words[-60:]}"
            return f"another program (pid {link.parts[2]}: {shown})"
    return "another program"


def require_free(port: int) -> None:
    """Raise BrokerError when the port is in use."""
    if is_taken(port):
        message = (
            f"port {port} is in use by {holder(port)}: stop that program, choose another port "
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
