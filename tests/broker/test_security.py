"""A broker that wants TLS, a client's certificate and a login: every connection brings them all.

The logins are PLAIN, SCRAM and OAUTHBEARER; the certificate's key is encrypted (the case P13).
``tests/test_secrets.py`` and ``tests/test_oauth.py`` have what needs no broker.
"""

import base64
import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from payments.client import AccountBalance, BrokersUnavailable, PaymentsClient
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import read_topics
from tests.broker_fixture import TOPICS, broker_folder, process_environment
from tests.command_line import run
from tests.test_oauth import Endpoint, token
from tools.dev.broker import kafka_version
from tools.dev.local_broker import LocalBroker
from tools.dev.ports import free_ports

from .client import Client, WorkerProcess

pytestmark = [pytest.mark.broker, pytest.mark.compiled]

USER, PASSWORD = "payments", "a-secret"


@pytest.fixture(scope="module")
def secure(secured: tuple[LocalBroker, Settings]) -> Settings:
    """Return settings for a broker with SASL over TLS and a certificate of its own."""
    return secured[1]


@pytest.fixture(scope="module")
def secure_broker(secured: tuple[LocalBroker, Settings]) -> LocalBroker:
    """Return that broker; it has a listener without any login too."""
    return secured[0]


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LocalBroker, Settings]]:
    """Return the broker and the settings."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key, password = (folder / name for name in ("c.pem", "key.pem", "password"))
    password.write_text(f"{PASSWORD}\n")
    openssl = (
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
    )
    subprocess.run([*openssl, "-passout", f"file:{password}"], check=True, capture_output=True)
    # The broker's Java can't open a key as OpenSSL encrypts it.
    opened = ("openssl", "pkey", "-in", str(key), "-passin", f"file:{password}")
    plain = subprocess.run(opened, check=True, capture_output=True, text=True).stdout
    keystore = folder / "keystore.pem"
    keystore.write_text(plain + certificate.read_text())
    listener = "listener.name.secure."
    modules = "org.apache.kafka.common.security"
    extra = {
        # A default of the broker: all that is written is compressed, journals too.
        "compression.type": "zstd",
        f"{listener}ssl.keystore.type": "PEM",
        f"{listener}ssl.keystore.location": str(keystore),
        f"{listener}ssl.truststore.type": "PEM",
        f"{listener}ssl.truststore.location": str(certificate),
        f"{listener}ssl.client.auth": "required",
        f"{listener}sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
        f"{listener}plain.sasl.jaas.config": (
            f"{modules}.plain.PlainLoginModule required "
            f'username="broker" password="unused" user_{USER}="{PASSWORD}";'
        ),
        f"{listener}scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        # Kafka's own module for trials: it believes tokens that nobody signed.
        f"{listener}oauthbearer.sasl.jaas.config": (
            f"{modules}.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    port = free_ports(1)[0]
    with broker_folder() as data:
        broker = LocalBroker(version=kafka_version(), folder=data, secure_port=port, extra=extra)
        broker.start()
        try:
            add_scram_user(broker.bootstrap)
            yield (
                broker,
                Settings(
                    brokers=f"127.0.0.1:{port}",
                    partitions=2,
                    opening_balance=1000,
                    security_protocol="SASL_SSL",
                    sasl_username=USER,
                    sasl_password=SecretStr(PASSWORD),
                    ssl_cafile=certificate,
                    ssl_certfile=certificate,
                    ssl_keyfile=key,
                    ssl_key_password_file=password,
                ),
            )
        finally:
            broker.stop()


def add_scram_user(bootstrap: str) -> None:
    credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    user = UserScramCredentialUpsertion(USER, credentials, PASSWORD.encode())
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.alter_user_scram_credentials([user]).values():
        done.result(timeout=60)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Return a token endpoint whose tokens the broker believes."""
    made = Endpoint()
    made.answers = [token(unsigned(int(time.time())))]
    yield made
    made.close()


def unsigned(issued: int) -> str:
    """Return a token of one hour that nobody signed."""
    claims = ({"alg": "none"}, {"sub": USER, "iat": issued, "exp": issued + 3600})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in claims]
    return ".".join([*(part.rstrip("=") for part in parts), ""])


def by_tokens(secure: Settings, endpoint: Endpoint) -> Settings:
    return secure.model_copy(
        update={
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_username": None,
            "sasl_password": None,
            "sasl_oauth_token_endpoint": endpoint.url,
            "sasl_oauth_client_id": "payments",
            "sasl_oauth_client_secret": SecretStr(PASSWORD),
        }
    )


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
            assert await library.account("abc") == AccountBalance(
                account="abc", balance=900, currency="EUR", sequence=2
            )
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
async def test_a_worker_and_a_client_log_in_by(
    mechanism: str, secure: Settings, endpoint: Endpoint
) -> None:
    login = secure.model_copy(update={"sasl_mechanism": mechanism, "app_id": mechanism.lower()})
    if mechanism == "OAUTHBEARER":
        login = by_tokens(login, endpoint)
    login = login.model_copy(update={"topic_prefix": f"{mechanism}."})
    async with cluster(login) as connected:
        wanted = read_topics(TOPICS, login)
        await connected.apply(await connected.plan(wanted), wanted)
    worker = WorkerProcess(login)
    try:
        await worker.start()
        async with PaymentsClient(settings=login) as client:
            assert (await client.make("p1", account="abc", amount=1)).outcome == "completed"
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()


async def test_an_endpoint_that_refuses_is_told_to_a_client_at_once(
    secure: Settings, endpoint: Endpoint
) -> None:
    endpoint.answers = [(401, b'{"error": "invalid_client"}')]
    client = PaymentsClient(settings=by_tokens(secure, endpoint), connect_seconds=60)
    with pytest.raises(BrokersUnavailable, match="invalid_client") as caught:
        await client.__aenter__()
    assert PASSWORD not in str(caught.value)


def test_a_token_that_the_broker_does_not_take_is_told_as_that(
    secure: Settings, endpoint: Endpoint
) -> None:
    """It has expired here; of the same kind: another audience or issuer, clocks that differ."""
    endpoint.answers = [token(unsigned(int(time.time()) - 7200))]
    told = refusal(by_tokens(secure, endpoint))
    assert "refuses the credentials of this process: the token is not taken" in told
    assert "invalid_token" in told
    assert "PAYMENTS_SASL_OAUTH_" in told


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


COMMANDS = [
    ("topics", "plan"),
    ("journal", "inspect"),
    ("dead-letters", "list"),
    ("get", "p1"),
    ("verify",),
    ("doctor",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_says_that_the_broker_refuses_the_credentials(
    secure: Settings, command: tuple[str, ...]
) -> None:
    """And not that none answers. Of the same kind, a certificate that is not trusted: below."""
    wrong = secure.model_copy(update={"sasl_password": SecretStr("wrong-password")})
    failed = run(*command, environment=process_environment(wrong))
    assert failed.exit_code == (2 if command[0] in {"verify", "doctor"} else 1), failed.output
    assert f"{secure.brokers} refuses the credentials of this process: " in failed.stderr
    assert "no Kafka broker answers" not in failed.output
    assert "wrong-password" not in failed.output


def test_a_certificate_that_is_not_trusted_is_told_by_a_command(secure: Settings) -> None:
    strange = secure.model_copy(update={"ssl_cafile": None})
    failed = run("topics", "plan", environment=process_environment(strange))
    assert failed.exit_code == 1
    assert f"the certificate of {secure.brokers} is not trusted: " in failed.stderr


def refusal(settings: Settings) -> str:
    failed = run("topics", "plan", environment=process_environment(settings))
    assert failed.exit_code == 1, failed.output
    return failed.stderr.splitlines()[-1]


def test_a_certificate_that_the_broker_refuses_is_told_by_a_command(secure: Settings) -> None:
    """With TLS 1.3 a broker says so after the handshake: ``engine/test_client_certificates.py``."""
    without = {"ssl_certfile": None, "ssl_keyfile": None, "ssl_key_password_file": None}
    told = refusal(secure.model_copy(update=without))
    assert f"{secure.brokers} refuses the certificate of this process" in told
    assert "PAYMENTS_SSL_CERTFILE" in told


def test_another_way_to_log_in_is_told_with_those_that_there_are(
    secure: Settings, secure_broker: LocalBroker
) -> None:
    told = refusal(secure.model_copy(update={"sasl_mechanism": "SCRAM-SHA-256"}))
    offered = "PAYMENTS_SASL_MECHANISM to one that it has: OAUTHBEARER, PLAIN, SCRAM-SHA-512"
    assert told.endswith(f"the listener has no login by SCRAM-SHA-256: set {offered}")
    open_one = {"brokers": secure_broker.bootstrap, "security_protocol": "SASL_PLAINTEXT"}
    told = refusal(secure.model_copy(update=open_one))
    assert told.endswith("the listener has no login: set PAYMENTS_SECURITY_PROTOCOL to PLAINTEXT")


def test_a_listener_that_wants_a_login_is_told_to_one_without(secure: Settings) -> None:
    bare = secure.model_copy(update={"security_protocol": "SSL"})
    wanted = "wants a login: set PAYMENTS_SECURITY_PROTOCOL to SASL_SSL"
    failed = run("topics", "plan", environment=process_environment(bare))
    assert failed.exit_code == 69
    assert wanted in failed.stderr


def test_a_listener_with_tls_is_told_to_a_command_without(secure: Settings) -> None:
    bare = secure.model_copy(update={"security_protocol": "SASL_PLAINTEXT"})
    failed = run("topics", "plan", environment=process_environment(bare))
    assert failed.exit_code == 69
    assert "TLS" in failed.stderr
