"""A broker that wants TLS and a password: every connection of a worker brings both."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from dev.broker import kafka_version
from dev.local_broker import LocalBroker
from dev.ports import free_ports
from payments.client import AccountBalance, BrokersUnavailable, PaymentsClient
from payments.settings import Settings
from payments.topics import cluster
from payments.topics_file import read_topics
from tests.broker_fixture import TOPICS

from .client import Client, WorkerProcess

USER, PASSWORD = "payments", "a-secret"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return settings for a broker with SASL over TLS and a certificate of its own."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    keystore = folder / "keystore.pem"
    keystore.write_text(key.read_text() + certificate.read_text())
    login = (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="broker" password="unused" user_{USER}="{PASSWORD}";'
    )
    listener = "listener.name.secure."
    extra = {
        f"{listener}ssl.keystore.type": "PEM",
        f"{listener}ssl.keystore.location": str(keystore),
        f"{listener}sasl.enabled.mechanisms": "PLAIN",
        f"{listener}plain.sasl.jaas.config": login,
    }
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="payments-broker-") as data:
        broker = LocalBroker(
            version=kafka_version(), folder=Path(data), secure_port=port, extra=extra
        )
        broker.start()
        try:
            yield Settings(
                brokers=f"127.0.0.1:{port}",
                partitions=2,
                opening_balance=1000,
                security_protocol="SASL_SSL",
                sasl_username=USER,
                sasl_password=SecretStr(PASSWORD),
                ssl_cafile=certificate,
            )
        finally:
            broker.stop()


async def test_every_connection_of_a_worker_is_secured(secure: Settings) -> None:
    async with cluster(secure) as connected:
        wanted = read_topics(TOPICS, secure)
        await connected.apply(await connected.plan(wanted), wanted)
    worker = WorkerProcess(secure)
    try:
        await worker.start()
        async with Client(secure) as client:
            make = {"type": "make", "account": "abc", "amount": 100}
            assert (await client.send("p1", make))["outcome"] == "completed"
            await worker.kill()
            await worker.start()
            assert (await client.send("p1", make))["replayed"] is True
        async with PaymentsClient(settings=secure) as library:
            assert (await library.get("p1")).state == "completed"
            assert await library.account("abc") == AccountBalance("abc", 900, "EUR", 2)
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()


async def test_a_wrong_password_ends_the_worker_with_a_line_that_says_so(secure: Settings) -> None:
    wrong = secure.model_copy(update={"sasl_password": SecretStr("wrong")})
    worker = WorkerProcess(wrong)
    try:
        worker.spawn()
        assert await worker.ended() == 70
        [line] = [line for line in worker.log.read_text().splitlines() if "fail-stop" in line]
        assert "refuses the credentials of this process" in line
    finally:
        await worker.kill()
        worker.log.unlink()


async def test_a_wrong_password_is_told_to_a_client_at_once(
    secure: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = secure.model_copy(update={"sasl_password": SecretStr("wrong-password")})
    client = PaymentsClient(settings=wrong, connect_seconds=60)
    with pytest.raises(BrokersUnavailable, match="refuses the credentials") as caught:
        await client.__aenter__()
    assert "wrong-password" not in f"{caught.value}{caplog.text}"
