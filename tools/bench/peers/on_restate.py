"""Restate: its server as a process, our service on its TypeScript SDK as another."""

import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

from tools.bench.http_client import Connection, request
from tools.bench.loading import HttpEndpoint, Target
from tools.bench.peers.install import PEERS, SOURCES, installed, required
from tools.bench.peers.peer_system import FSYNC, HTTP, PAGE_CACHE, System
from tools.dev.child_process import Child, output_of
from tools.dev.errors import ToolError
from tools.dev.installations import OPENING_BALANCE
from tools.dev.ports import HOST, connects, free_ports

PEER = "restate"
FOLDER = PEERS / PEER
LOCKED = ("package.json", "package-lock.json", ".npmrc")
SERVICE = "service.js"
START_LIMIT_SECONDS = 60.0
REQUEST_LIMIT_SECONDS = 30.0


def install() -> None:
    """Fetch the server and the SDK that the lock file names; no script of a package runs."""
    sources = [SOURCES / "restate" / name for name in LOCKED]
    FOLDER.mkdir(parents=True, exist_ok=True)
    # Node looks for packages from the place of the file that asks for them.
    for name in (*LOCKED, SERVICE):
        shutil.copy(SOURCES / "restate" / name, FOLDER / name)
    if installed(FOLDER, sources):
        return
    command = [required("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    output_of("installing Restate", command, folder=FOLDER)
    installed(FOLDER, sources, mark=True)


def systems() -> Iterator[System]:
    """Yield Restate at its defaults and tuned: what differs are variables of its server."""
    no_fsync = {"RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC": "true"}
    settings: dict[str, tuple[str, str, dict[str, str]]] = {
        "restate": ("Restate, defaults (24 partitions)", FSYNC, {}),
        "restate-1": ("Restate, 1 partition", FSYNC, _partitions(1)),
        "restate-2": ("Restate, 2 partitions", FSYNC, _partitions(2)),
        "restate-no-fsync": ("Restate, defaults (24 partitions)", PAGE_CACHE, no_fsync),
    }
    for key, (name, durability, variables) in settings.items():
        # With one partition none of 1,000 requests at once was answered within 15 seconds.
        most = 256 if key == "restate-1" else 1000
        start = partial(_running, variables, name)
        yield System(key, name, PEER, HTTP, durability, start, most)


def _partitions(count: int) -> dict[str, str]:
    return {"RESTATE_DEFAULT_NUM_PARTITIONS": str(count)}


@contextmanager
def _running(variables: Mapping[str, str], name: str, folder: Path) -> Iterator[Target]:
    ingress, admin, node, service_port = free_ports(4)
    service_env = {"PORT": str(service_port), "OPENING_BALANCE": str(OPENING_BALANCE)}
    command = [required("node"), SERVICE]
    log = folder / "service.log"
    with (
        Child("the service on Restate", command, log, env=service_env, folder=FOLDER) as service,
        _server(variables, folder, ingress=ingress, admin=admin, node=node) as server,
    ):
        service.wait_until(lambda: connects(service_port), START_LIMIT_SECONDS)
        server.wait_until(
            lambda: _healthy(admin, "/health") and _healthy(ingress, "/restate/health"),
            START_LIMIT_SECONDS,
        )
        _register(admin, service_port)
        yield Target(name, HttpEndpoint(ingress, PEER), {"server": server, "service": service})


def _server(
    variables: Mapping[str, str], folder: Path, *, ingress: int, admin: int, node: int
) -> Child:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower())
    package = f"restate-server-{sys.platform}-{machine or platform.machine()}"
    binary = FOLDER / "node_modules" / "@restatedev" / package / "bin" / "restate-server"
    if not binary.exists():
        raise ToolError(f"Restate has no server for this machine: {binary} is not there")
    places = {
        "RESTATE_BASE_DIR": str(folder / "restate-data"),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"{HOST}:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://{HOST}:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"{HOST}:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"{HOST}:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
    }
    # The binary itself: the command of the npm package would be one process more.
    command = [str(binary), "--no-logo"]
    return Child("Restate's server", command, folder / "server.log", env={**places, **variables})


def _healthy(port: int, path: str) -> bool:
    try:
        status, _ = Connection(port, REQUEST_LIMIT_SECONDS).exchange(request("GET", path))
    except (OSError, ToolError):
        return False
    return status == HTTPStatus.OK


def _register(admin: int, service_port: int) -> None:
    """Register the service with the server, which asks it what it offers."""
    uri = json.dumps({"uri": f"http://{HOST}:{service_port}"})
    connection = Connection(admin, REQUEST_LIMIT_SECONDS)
    status, _ = connection.exchange(request("POST", "/deployments", uri))
    if status != HTTPStatus.CREATED:
        raise ToolError(f"Restate's server did not take the service: status {status}")
