"""Settings: every value that may differ between two installations, read from ``PAYMENTS_*``.

One class reads the environment, checks it, and hands out the one set of connection arguments that
every Kafka client of the process is made with, so that SASL and TLS reach all of them.
"""

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from payments.domain.currencies import CURRENCIES, CURRENCY_RULE

MAX_WAITERS = 250
"""Commands whose ids always fit into one row of 256 KiB, the engine's limit: a longest id is 255
characters of 4 bytes, the rest of a waiter 21 bytes, and the request needs about 1.2 KiB."""


def _currency(code: str) -> str:
    if code in CURRENCIES:
        return code
    raise PydanticCustomError("unknown_currency", CURRENCY_RULE)


TopicName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{0,100}$")]
CurrencyCode = Annotated[str, AfterValidator(_currency)]


class Settings(BaseSettings):
    """What ``payments`` needs to know; each field is the variable ``PAYMENTS_<FIELD>``.

    A field's docstring is its meaning in the README (``python -m dev.readme`` puts it there).
    Raises ``pydantic.ValidationError`` when a value is malformed, naming the field.
    """

    model_config = SettingsConfigDict(
        env_prefix="PAYMENTS_",
        env_ignore_empty=True,  # An empty variable is one that is not set.
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    brokers: str = "localhost:9092"
    """Kafka brokers to start from: `host:port`, separated by commas."""

    app_id: TopicName = "payments"
    """Name of the installation: its consumer group, and the start of its changelogs' names."""

    topic_prefix: TopicName = ""
    """Put before the name of every topic but the changelogs."""

    partitions: int = Field(default=8, ge=1, le=4096)
    """Partitions of each topic, 1 to 4,096; never changed once the topics exist."""

    replication: int = Field(default=1, ge=1, le=10)
    """Copies of each partition, 1 to 10; 3 in production."""

    instance_id: str | None = None
    """Static membership (`group.instance.id`): the same for each restart of one worker."""

    opening_balance: int = Field(default=0, ge=0, le=10**15)
    """Given to each new account in the default currency, in minor units, 0 to 10^15: `100000` is
    1,000.00 EUR, or 100,000 JPY."""

    default_currency: CurrencyCode = "EUR"
    """Currency of a command that names none, by its ISO 4217 code."""

    decline_policy: Literal["retry", "pin"] = "retry"
    """What a declined payment becomes: forgotten, so that it can be tried again (`retry`), or
    declined for good (`pin`)."""

    max_waiters: int = Field(default=100, ge=1, le=MAX_WAITERS)
    """Commands that may wait for one payment to settle, 1 to 250; one more is rejected."""

    retention_seconds: float = Field(default=86_400.0, ge=0.01, le=315_360_000.0)
    """How long a settled payment is remembered after its last change, in seconds."""

    window_seconds: float = Field(default=60.0, ge=0.01, le=315_360_000.0)
    """Payments that changed within the same window expire together: its width in seconds, at most
    the retention."""

    session_timeout_seconds: float = Field(default=10.0, ge=1, le=300)
    """How long a worker may be silent before its partitions go to others, 1 to 300 seconds; not
    over the request timeout."""

    request_timeout_seconds: float = Field(default=20.0, ge=1, le=300)
    """How long one request to a broker may take, 1 to 300 seconds."""

    delivery_timeout_seconds: float = Field(default=60.0, ge=1, le=600)
    """How long an append is retried before the process ends, 1 to 600 seconds."""

    renewal_seconds: float = Field(default=3600.0, ge=1, le=43_200)
    """How often a worker renews its claim of each partition, 1 to 43,200 seconds; by
    default a broker forgets a writer that was idle for a day."""

    drain_timeout_seconds: float = Field(default=8.0, ge=0.1, le=300)
    """How long a worker that ends or hands partitions over may take to publish what it has
    decided, 0.1 to 300 seconds."""

    stall_seconds: float = Field(default=5.0, ge=0.1, le=300)
    """How long a partition may stand still, or a broker not answer, before a worker says so in its
    log and is not ready, 0.1 to 300 seconds."""

    client_max_calls: int = Field(default=10_000, ge=1, le=1_000_000)
    """Calls that may be under way at once in one client, 1 to 1,000,000; the next is refused."""

    client_state_dir: Path | None = None
    """Folder where a client, or a gateway, that reads accounts keeps its index, so that its next
    start goes on with it; each process needs its own. Without it the index is temporary."""

    health_file: Path | None = None
    """Where a worker writes, every second, whether it is ready and why not; `payments health` reads
    it."""

    metrics_address: str | None = Field(default=None, pattern=r"^[^:\s]+:\d{1,5}$")
    """Where `payments worker` serves its metrics (Prometheus), `host:port`."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to the brokers: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How to log in with SASL: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."""

    sasl_username: str | None = None
    """User name for SASL."""

    sasl_password: SecretStr | None = None
    """Password for SASL."""

    ssl_cafile: Path | None = None
    """Certificates of the authorities to trust (PEM); without it those of the system."""

    ssl_certfile: Path | None = None
    """The worker's own certificate (PEM), where the brokers ask for one."""

    ssl_keyfile: Path | None = None
    """The key of that certificate (PEM), if it is in a file of its own."""

    ssl_check_hostname: bool = True
    """Whether a broker's certificate must be for the name by which it is addressed."""

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            message = (
                f"PAYMENTS_SECURITY_PROTOCOL={self.security_protocol} needs PAYMENTS_SASL_USERNAME "
                f"and PAYMENTS_SASL_PASSWORD"
            )
            raise ValueError(message)
        if self.session_timeout_seconds > self.request_timeout_seconds:
            message = (
                f"PAYMENTS_SESSION_TIMEOUT_SECONDS={self.session_timeout_seconds:g} must not "
                f"exceed PAYMENTS_REQUEST_TIMEOUT_SECONDS={self.request_timeout_seconds:g}"
            )
            raise ValueError(message)
        if self.window_seconds > self.retention_seconds:
            message = (
                f"PAYMENTS_WINDOW_SECONDS={self.window_seconds:g} must not exceed "
                f"PAYMENTS_RETENTION_SECONDS={self.retention_seconds:g}"
            )
            raise ValueError(message)
        return self

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS context of every connection, or None where the protocol has no TLS."""
        if not self.security_protocol.endswith("SSL"):
            return None
        context = ssl.create_default_context(cafile=self.ssl_cafile)
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certfile is not None:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        return context

    def connection(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client here is made with."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.brokers,
            "request_timeout_ms": int(self.request_timeout_seconds * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.security_protocol.startswith("SASL") and self.sasl_password is not None:
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        return arguments

    def topic(self, name: str) -> str:
        """Return the full name of a public or internal topic: prefix and name."""
        return self.topic_prefix + name

    def changelog(self, stage: str) -> str:
        """Return the name of a stage's changelog topic (the journal)."""
        return f"{self.app_id}-{stage}-changelog"
