"""The broker of the tests, one for the whole session, and topics of its own for each test.

PAYMENTS_BROKERS names a broker of yours; else Docker is used when an engine answers, else Java. The
version is PAYMENTS_KAFKA_VERSION.
"""

import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import SecretStr

from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import Topic, read_topics
from tools.chaos.proxy import Proxy
from tools.dev.broker import GivenBroker, kafka_version, use_docker
from tools.dev.docker_broker import CLIENT_PORT, container_environment, image
from tools.dev.errors import BrokerError
from tools.dev.local_broker import LocalBroker
from tools.dev.ports import HOST, free_ports, wait_until_it_answers
from tools.dev.server_properties import Proxied

TOPICS = Path(__file__).parent.parent / "topics.yaml"
START_LIMIT_SECONDS = 120.0
LOG_TAIL_CHARACTERS = 2000
PARTITIONS = 4

QUICK = {
    # As Kafka has it by default: so a test sees when one of our clients creates a topic by asking.
    "auto.create.topics.enable": "true",
    # The cleaner looks for work all the time, so that a test can wait for a compaction.
    "log.cleaner.backoff.ms": "100",
    # Deleted topics leave the disk soon.
    "log.segment.delete.delay.ms": "1000",
    # Retention is looked at every second instead of every five minutes.
    "log.retention.check.interval.ms": "1000",
}

RUN = "PYTEST_XDIST_TESTRUNUID"
"""Variable of xdist's workers: which run they belong to."""

_numbers = itertools.count(1)


class RunningBroker(Protocol):
    """What every test may use; tests of faults ask for ``local_broker`` instead."""

    @property
    def bootstrap(self) -> str:
        """The address for clients."""


class DockerTestBroker:
    """A broker container of testcontainers; it ends with the session and leaves nothing."""

    def __init__(self, version: str) -> None:
        # Imported here: the library talks to the engine, and most runs have none.
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415

        # The port must be known before the start: the broker tells it to its clients.
        self._port = free_ports(1)[0]
        self.bootstrap = f"{HOST}:{self._port}"
        self._container = DockerContainer(image(version))
        # with_bind_ports would publish it on all addresses of this machine.
        self._container.ports[str(CLIENT_PORT)] = (HOST, self._port)  # type: ignore[assignment] # the engine takes an address too
        for name, value in container_environment(self._port, QUICK).items():
            self._container = self._container.with_env(name, value)

    def start(self) -> None:
        """Start the container and wait until the broker answers."""
        self._container.start()
        try:
            wait_until_it_answers(self._port, START_LIMIT_SECONDS, self._must_run)
        except BrokerError as error:
            log = b"".join(self._container.get_logs()).decode(errors="replace")
            self.stop()
            message = f"Kafka did not start: {error}\n{log[-LOG_TAIL_CHARACTERS:]}"
            raise BrokerError(message) from error

    def stop(self) -> None:
        """End the container."""
        self._container.stop()

    def _must_run(self) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status != "running":
            message = "its container has ended"
            raise BrokerError(message)


@contextmanager
def broker_folder() -> Iterator[Path]:
    """Return a folder for a broker on this machine; it ends with the block."""
    brokers = _folder_of(os.environ.get(RUN, f"process-{os.getpid()}"))
    brokers.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=brokers) as folder:
        yield Path(folder)


def _folder_of(run: str) -> Path:
    return Path(tempfile.gettempdir(), f"payments-brokers-{run}")


def stop_brokers_of(run: str) -> None:
    """End the brokers that a run has left, whose processes were killed, and remove its folder."""
    for record in _folder_of(run).glob("*/broker.pid"):
        LocalBroker(version=kafka_version(), folder=record.parent).kill()
    shutil.rmtree(_folder_of(run), ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Remove the folder of a run in one process; xdist's are seen to in ``distribution``."""
    stop_brokers_of(f"process-{os.getpid()}")


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    """Return the running broker of this session."""
    with broker_folder() as folder:
        chosen = _choose(folder)
        # The first start may fetch Kafka: its progress is shown, not captured.
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            chosen.start()
        try:
            yield chosen
        finally:
            chosen.stop()


def _choose(folder: Path) -> GivenBroker | DockerTestBroker | LocalBroker:
    given = os.environ.get("PAYMENTS_BROKERS")
    if given:
        return GivenBroker(given)
    if use_docker():
        return DockerTestBroker(kafka_version())
    behind, in_front = free_ports(2)
    proxied = Proxied(port=behind, proxy_port=in_front)
    return LocalBroker(version=kafka_version(), folder=folder, extra=QUICK, proxied=proxied)


@pytest.fixture
def local_broker(broker: RunningBroker) -> Iterator[LocalBroker]:
    """Return the broker as a process that may be killed, stopped or paused; it runs again after."""
    if not isinstance(broker, LocalBroker):
        pytest.skip("the broker is not a local process, so it cannot be killed")
    yield broker
    broker.resume()
    broker.start()


@pytest.fixture
async def proxy(local_broker: LocalBroker) -> AsyncIterator[Proxy]:
    """Return a proxy in front of the broker: who starts from its address comes through it only."""
    assert local_broker.proxied is not None
    ports = local_broker.proxied
    running = Proxy(port=ports.proxy_port, target_port=ports.port)
    await running.start()
    yield running
    await running.stop()


class Installations:
    """Makes installations (settings with topics) on the broker, each apart from all others."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._made: list[Settings] = []

    async def make(
        self, *, configs: Mapping[str, Mapping[str, str]] | None = None, **values: object
    ) -> Settings:
        """Return settings with a new topic prefix and app id, whose topics exist.

        ``values`` are fields of Settings. ``configs`` adds to the configuration of topics, by the
        name that topics.yaml gives them: ``{"{app}-payments-changelog": {"segment.ms": "100"}}``.
        """
        name = f"t{next(_numbers)}-{uuid.uuid4().hex[:6]}"
        given: dict[str, Any] = {
            "partitions": PARTITIONS,
            "topic_prefix": f"{name}.",
            "app_id": name,
        } | values
        settings = Settings(brokers=self.bootstrap, **given)
        changes = {
            _full_name(topic, settings): changed for topic, changed in (configs or {}).items()
        }
        wanted = tuple(
            Topic(t.name, t.partitions, t.replication, {**t.configs, **changes.pop(t.name, {})})
            for t in read_topics(TOPICS, settings)
        )
        assert not changes, f"not in topics.yaml: {changes}"
        self.adopt(settings)
        async with cluster(settings) as connected:
            await connected.apply(await connected.plan(wanted), wanted)
        return settings

    def adopt(self, settings: Settings) -> None:
        """Let the topics of these settings be deleted too; they must exist by then."""
        self._made.append(settings)

    async def remove_all(self) -> None:
        """Delete the topics of all that was made or adopted."""
        names = {topic.name for made in self._made for topic in read_topics(TOPICS, made)}
        if self._made:
            async with cluster(self._made[0]) as connected:
                await connected.delete(sorted(names))


@pytest.fixture
async def installations(broker: RunningBroker) -> AsyncIterator[Installations]:
    """Return the maker of installations; what it made is deleted after the test."""
    made = Installations(broker.bootstrap)
    yield made
    await made.remove_all()


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    """Return settings with topics of their own, 4 partitions each."""
    return await installations.make()


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a process of the test, so that it has the same settings."""
    given = {
        f"PAYMENTS_{field.upper()}": _text(getattr(settings, field))
        for field in settings.model_fields_set
        if getattr(settings, field) is not None
    }
    others = {k: v for k, v in os.environ.items() if not k.startswith("PAYMENTS_")}
    return others | given


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _full_name(topic: str, settings: Settings) -> str:
    placed = topic.replace("{app}", settings.app_id)
    return placed if placed != topic else settings.topic(topic)
