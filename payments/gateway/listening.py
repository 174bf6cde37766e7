"""The listening socket, and the one-line error with the next step when it can't be opened."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

from payments.gateway.settings import GatewaySettings

BACKLOG = 2048
LISTEN = "0A"
"""The state of a socket that listens, in ``/proc/net/tcp`` (proc(5))."""


class CantListen(OSError):
    """The listening socket can't be opened; the message has address, cause and next step."""


def listen(settings: GatewaySettings) -> socket.socket:
    """Return the listening socket; raises ``CantListen``."""
    host, port = settings.host, settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except UnicodeError as error:  # For a name that no domain can have.
        message = f"can't listen on {address(host, port)}: not the name of a host{_step(port, 0)}"
        raise CantListen(message) from error
    except OSError as error:
        # The error's own text repeats the address.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else str(error.strerror).partition(" (while")[0]
        message = f"can't listen on {address(host, port)}: {why}{_step(port, number)}"
        raise CantListen(message) from error


def address(host: str, port: int) -> str:
    """Return host and port as in a URL."""
    return f"[{host}]:{port}" if host.count(":") > 1 else f"{host}:{port}"


def _step(port: int, number: int) -> str:
    """Return the likely cause of an error, by its number, and the next step."""
    if number <= 0:  # An error of getaddrinfo, which has its own numbers.
        return (
            "; --host (PAYMENTS_GATEWAY_HOST) is an address or a name of this machine, such as "
            "127.0.0.1, 0.0.0.0 or ::, without a port (--port)"
        )
    if number == errno.EADDRINUSE:
        return f", by {_holder(port)}: end it, or choose another port with --port (0: a free one)"
    if number in {errno.EADDRNOTAVAIL, errno.EINVAL}:
        return (
            "; no interface of this machine has this address: `ip address` shows those there are, "
            "and --host 0.0.0.0 (or ::) listens on all"
        )
    if number in {errno.EACCES, errno.EPERM}:
        return (
            f"; this user may not listen on port {port}: choose one from 1024 on with --port, and "
            f"let a proxy listen there, or grant the capability CAP_NET_BIND_SERVICE"
        )
    return "; --host and --port choose another address"


def _holder(port: int) -> str:
    """Return the process that listens on a port, if this user may see it (proc(5))."""
    sockets = _listening(port)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for link in (process / "fd").iterdir():
                if _points_to(link, sockets):
                    # Only its name: its arguments may have secrets.
                    name = (process / "comm").read_text(errors="replace").strip()
                    return f"process {process.name} ({name})"
    return f"another program (`ss -ltnp sport = :{port}` shows which)"


def _points_to(link: Path, names: set[str]) -> bool:
    try:
        return str(link.readlink()) in names
    except OSError:
        return False  # It has been closed since.


def _listening(port: int) -> set[str]:
    """Return the sockets that listen on a port, by the names in links of open files."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
