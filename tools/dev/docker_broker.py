"""A single-node Kafka broker in Docker: the official image, its data in a named volume."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import PurePosixPath

from tools.dev import ports
from tools.dev.errors import BrokerError
from tools.dev.server_properties import Listeners, environment, server_properties

ENGINE_LIMIT_SECONDS = 3.0
START_LIMIT_SECONDS = 120.0
COMMAND_LIMIT_SECONDS = 60.0
DATA = PurePosixPath("/var/lib/kafka/data")
CLIENT_PORT = 9092
LOG_TAIL_LINES = 15


def engine_answers() -> bool:
    """Tell whether a Docker engine answers within three seconds."""
    if shutil.which("docker") is None:
        return False
    try:
        answer = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=ENGINE_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0 and bool(answer.stdout.strip())


def image(version: str) -> str:
    """Return the name of the official image of one Kafka version."""
    return f"apache/kafka:{version}"


def container_environment(port: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables for a container whose client listener is published on ``port``."""
    listeners = Listeners(
        bind="0.0.0.0",  # noqa: S104 - inside the container; it is published on 127.0.0.1 only
        client_port=CLIENT_PORT,
        internal_port=19092,
        controller_port=9093,
        advertised_port=port,
    )
    return environment(server_properties(listeners, DATA, extra))


class DockerBroker:
    """One broker container; its volume survives the container."""

    def __init__(self, *, version: str, port: int) -> None:
        self.version = version
        self.port = port or ports.free_ports(1)[0]
        # The version is part of it: a broker of another one must not pass for this one.
        self.name = f"payments-kafka-{version}-{self.port}"
        self.volume = self.name

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"{ports.HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the container runs."""
        shown = _docker("inspect", "--format", "{{.State.Running}}", self.name, check=False)
        return shown.strip() == "true"

    def describe(self) -> str:
        """Return one phrase for the user."""
        where = f"container {self.name}, data in the volume {self.volume}"
        return f"Kafka {self.version} (Docker) on {self.bootstrap}, {where}"

    def start(self) -> bool:
        """Start it and wait until it answers; return False when it was running already."""
        if self.running:
            return False
        ports.require_free(self.port)
        self._pull()
        self._remove()
        variables = container_environment(self.port)
        options = [text for item in variables.items() for text in ("--env", "=".join(item))]
        publish = f"{ports.HOST}:{self.port}:{CLIENT_PORT}"
        options += ["--publish", publish, "--volume", f"{self.volume}:{DATA}"]
        _docker("run", "--detach", "--name", self.name, *options, image(self.version))
        try:
            ports.wait_until_it_answers(self.port, START_LIMIT_SECONDS, self._must_run)
        except BrokerError as error:
            log = _docker("logs", "--tail", str(LOG_TAIL_LINES), self.name, check=False)
            self.stop()
            message = f"Kafka did not start: {error}\nThe end of its log:\n{log}"
            raise BrokerError(message) from error
        return True

    def stop(self) -> None:
        """End the container in order and remove it; the volume stays."""
        _docker("stop", "-t", "30", self.name, check=False)
        self._remove()

    def _remove(self) -> None:
        # With its anonymous volumes, of which the image declares two; the named one stays.
        _docker("rm", "--force", "--volumes", self.name, check=False)

    def _must_run(self) -> None:
        if not self.running:
            message = "its container has ended"
            raise BrokerError(message)

    def _pull(self) -> None:
        wanted = image(self.version)
        if _docker("image", "inspect", "--format", "{{.Id}}", wanted, check=False).strip():
            return
        print(f"Pulling {wanted} (only the first time)", flush=True)
        pulled = subprocess.run(["docker", "pull", wanted], check=False)
        if pulled.returncode != 0:
            message = (
                f"docker cannot pull {wanted}: see its message above; PAYMENTS_PROVIDER=local "
                f"uses Java and Maven instead"
            )
            raise BrokerError(message)


def _docker(*arguments: str, check: bool = True) -> str:
    """Run one docker command; return what it printed, or nothing if it failed unchecked."""
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_LIMIT_SECONDS,
    )
    if done.returncode != 0:
        if check:
            message = f"docker {arguments[0]} failed: {done.stderr.strip()}"
            raise BrokerError(message)
        return ""
    # A container's log comes on both streams.
    return done.stdout + (done.stderr if arguments[0] == "logs" else "")
