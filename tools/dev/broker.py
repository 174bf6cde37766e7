"""Which broker the development environment uses, and the command that starts and stops it.

    python -m tools.dev.broker up|down|status [--version 4.1.0] [--port 9092]

PAYMENTS_BROKERS, when set, names a broker of yours, unless --port is given. Else Docker is used
when an engine answers, else Java and Maven. PAYMENTS_PROVIDER=docker or =local decides between the
two.
"""

import argparse
import os
import sys
from typing import Protocol

from tools.dev.docker_broker import DockerBroker, engine_answers
from tools.dev.errors import BrokerError
from tools.dev.local_broker import KAFKA_FOLDER, LocalBroker

DEFAULT_VERSION = "4.1.0"
DEFAULT_PORT = 9092
NOT_RUNNING = 3


class Broker(Protocol):
    """What the development environment needs of a broker."""

    @property
    def bootstrap(self) -> str:
        """The address for clients."""

    @property
    def running(self) -> bool:
        """Whether it runs."""

    def describe(self) -> str:
        """Return one phrase for the user."""

    def start(self) -> bool:
        """Start it and wait until it answers; return False when it was running already."""

    def stop(self) -> None:
        """End it."""


class GivenBroker:
    """A broker that somebody else runs: never started, never stopped."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.running = True

    def describe(self) -> str:
        """Return one phrase for the user."""
        return f"the broker at {self.bootstrap} (from PAYMENTS_BROKERS)"

    def start(self) -> bool:
        """Do nothing: it is not ours."""
        return False

    def stop(self) -> None:
        """Do nothing: it is not ours."""


def kafka_version() -> str:
    """Return the Kafka version that is asked for."""
    return os.environ.get("PAYMENTS_KAFKA_VERSION", DEFAULT_VERSION)


def broker_port() -> int:
    """Return the port that is asked for."""
    text = os.environ.get("PAYMENTS_PORT", str(DEFAULT_PORT))
    if not text.isdecimal() or not 0 <= int(text) <= 65_535:  # the last port
        message = f"PAYMENTS_PORT={text} is not a port number"
        raise BrokerError(message)
    return int(text)


def use_docker() -> bool:
    """Tell whether the broker shall run in Docker rather than as a Java process."""
    provider = os.environ.get("PAYMENTS_PROVIDER", "")
    if provider not in {"", "docker", "local"}:
        message = f"PAYMENTS_PROVIDER={provider} is unknown: use docker or local"
        raise BrokerError(message)
    if provider == "docker" and not engine_answers():
        message = "PAYMENTS_PROVIDER=docker, but no Docker engine answers"
        raise BrokerError(message)
    return provider == "docker" or (provider == "" and engine_answers())


def choose_broker(version: str, port: int) -> Broker:
    """Return the broker to use; nothing is started yet."""
    given = os.environ.get("PAYMENTS_BROKERS")
    return GivenBroker(given) if given else own_broker(version, port)


def own_broker(version: str, port: int) -> Broker:
    """Return the broker of this checkout, whatever PAYMENTS_BROKERS names; nothing is started."""
    if use_docker():
        return DockerBroker(version=version, port=port)
    return local_broker(version, port)


def local_broker(version: str, port: int) -> LocalBroker:
    """Return the Java broker of this checkout for a version and port; its data stays."""
    folder = KAFKA_FOLDER / version / f"data-{port or 'any'}"
    return LocalBroker(version=version, folder=folder, port=port)


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.dev.broker", description="A development broker."
    )
    parser.add_argument("action", choices=["up", "down", "status"])
    parser.add_argument("--version", default=kafka_version(), help="Kafka version (%(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        help="the broker of this checkout on this port, 0 for any; without it the one of "
        f"PAYMENTS_BROKERS, if that is set, else on PAYMENTS_PORT ({DEFAULT_PORT})",
    )
    arguments = parser.parse_args()
    if arguments.port is None:
        broker = choose_broker(arguments.version, broker_port())
    else:
        broker = own_broker(arguments.version, arguments.port)
    if isinstance(broker, GivenBroker):
        print(
            f"Using {broker.describe()}: nothing to start or stop; --port names one of this "
            f"checkout"
        )
        return 0
    if arguments.action == "up":
        started = broker.start()
        print(f"{'Started' if started else 'Already running'}: {broker.describe()}")
        return 0
    return _down_or_status(broker, arguments.action)


def _down_or_status(broker: Broker, action: str) -> int:
    if not broker.running:
        print("The broker is not running")
        return 0 if action == "down" else NOT_RUNNING
    if action == "down":
        broker.stop()
        print("The broker is stopped; its data stays")
    else:
        print(f"Running: {broker.describe()}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokerError as error:
        sys.exit(f"Error: {error}")
