"""The local broker: it keeps its data through every kind of end, and tells why it cannot start."""

import socket
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from payments.settings import Settings
from tools.dev import jars, ports
from tools.dev.errors import BrokerError
from tools.dev.local_broker import LocalBroker
from tools.dev.server_properties import Listeners, environment, server_properties


async def test_data_survives_a_kill_and_the_address_stays(
    local_broker: LocalBroker, settings: Settings
) -> None:
    place = TopicPartition(settings.topics.commands, 0)
    async with AIOKafkaProducer(**settings.connection(), acks="all") as producer:
        await producer.send_and_wait(place.topic, b"kept", partition=place.partition)
    bootstrap = local_broker.bootstrap
    local_broker.kill()
    assert not local_broker.running
    assert local_broker.start()
    assert local_broker.bootstrap == bootstrap
    async with AIOKafkaConsumer(**settings.connection()) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        assert (await consumer.getone()).value == b"kept"


def test_a_running_broker_is_not_started_twice_and_is_found_by_its_folder(
    local_broker: LocalBroker,
) -> None:
    assert not local_broker.start()
    other = LocalBroker(version=local_broker.version, folder=local_broker.folder)
    assert other.pid == local_broker.pid
    assert not other.start()
    assert other.bootstrap == local_broker.bootstrap


def test_a_paused_broker_answers_again_when_it_is_resumed(local_broker: LocalBroker) -> None:
    local_broker.pause()
    with pytest.raises(BrokerError, match="did not answer"):
        ports.wait_until_it_answers(local_broker.port, 0.1, lambda: None)
    local_broker.resume()
    ports.wait_until_it_answers(local_broker.port, 120.0, lambda: None)


def test_a_port_in_use_is_told_before_anything_is_started(
    local_broker: LocalBroker, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = LocalBroker(version=local_broker.version, folder=tmp_path, port=port)
        with pytest.raises(BrokerError, match=f"port {port} is in use"):
            broker.start()
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_fails_shows_the_end_of_the_brokers_log(
    local_broker: LocalBroker, tmp_path: Path
) -> None:
    broken = LocalBroker(
        version=local_broker.version, folder=tmp_path, extra={"num.network.threads": "none"}
    )
    with pytest.raises(BrokerError, match=r"num\.network\.threads"):
        broken.start()
    assert not broken.running


def test_a_missing_java_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="Java is not installed: install Java 17"):
        jars.java()


@pytest.mark.parametrize(
    ("printed", "fine"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21" 2023-09-19', True),
        ('java version "1.8.0_401"', False),
        ('openjdk version "11.0.2" 2019-01-15', False),
        ("no version", False),
    ],
)
def test_java_17_or_later_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str, fine: bool
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    command = tmp_path / "bin" / "java"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nimport sys\nprint({printed!r}, file=sys.stderr)\n")
    command.chmod(0o755)
    if fine:
        assert jars.java() == str(command)
    else:
        with pytest.raises(BrokerError, match="17"):
            jars.java()


def test_missing_maven_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="Maven is not installed"):
        jars.broker_jars("4.1.0", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_in_docker_the_broker_talks_to_itself_over_a_listener_that_is_not_published() -> None:
    listeners = Listeners("0.0.0.0", 9092, 19092, 9093, advertised_port=5555)  # noqa: S104 - not bound
    variables = environment(server_properties(listeners, Path("/data"), {"log.dirs": "/other"}))
    assert variables["KAFKA_ADVERTISED_LISTENERS"] == (
        "CLIENT://127.0.0.1:5555,INTERNAL://127.0.0.1:19092"
    )
    assert variables["KAFKA_INTER_BROKER_LISTENER_NAME"] == "INTERNAL"
    assert variables["KAFKA_LOG_DIRS"] == "/other"
