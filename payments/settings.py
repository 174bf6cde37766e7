"""Settings: every value that may differ between two installations, read from ``PAYMENTS_*``.

One class reads the environment, checks it, and hands out the one set of connection arguments that
every Kafka client of the process is made with, so that SASL and TLS reach all of them.
"""

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

TopicName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{0,100}$")]


class Settings(BaseSettings):
    """What ``payments`` needs to know; each field is the variable ``PAYMENTS_<FIELD>``.

    Raises ``pydantic.ValidationError`` when a value is malformed, naming the field.
    """

    model_config = SettingsConfigDict(env_prefix="PAYMENTS_", frozen=True, extra="forbid")

    brokers: str = "localhost:9092"
    app_id: TopicName = "payments"
    topic_prefix: TopicName = ""
    partitions: int = Field(default=8, ge=1, le=4096)
    replication: int = Field(default=1, ge=1, le=10)
    instance_id: str | None = None
    """Static membership (``group.instance.id``): the same for each restart of one worker."""

    opening_balance: int = Field(default=0, ge=0, le=10**15)
    default_currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    decline_policy: Literal["retry", "pin"] = "retry"
    max_waiters: int = Field(default=100, ge=1, le=10_000)
    retention_seconds: float = Field(default=86_400.0, gt=0)
    window_seconds: float = Field(default=60.0, gt=0)

    session_timeout_seconds: float = Field(default=10.0, ge=1, le=300)
    request_timeout_seconds: float = Field(default=20.0, ge=1, le=300)
    delivery_timeout_seconds: float = Field(default=60.0, ge=1, le=600)
    """How long an append is retried before the process ends."""

    renewal_seconds: float = Field(default=3600.0, ge=1, le=43_200)
    drain_timeout_seconds: float = Field(default=8.0, ge=0.1, le=300)
    health_file: Path | None = None
    """Renewed by a worker while it is ready; ``payments health`` looks at it."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_check_hostname: bool = True

    @model_validator(mode="after")
    def _credentials_match_the_protocol(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            message = "sasl_username and sasl_password are needed for a SASL security_protocol"
            raise ValueError(message)
        if self.session_timeout_seconds > self.request_timeout_seconds:
            message = "session_timeout_seconds must not exceed request_timeout_seconds"
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
