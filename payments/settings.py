"""Settings: every value that may differ between two installations, read from ``PAYMENTS_*``.

One class reads the environment, checks it, and hands out the one set of connection arguments that
every Kafka client of the process is made with, so that SASL and TLS reach all of them.
"""

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from payments.connection.certificates import why_no_authorities, why_no_certificate
from payments.domain.currencies import CURRENCIES, CURRENCY_RULE

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

MAX_WAITERS = 165
"""Commands that always fit into one row of 256 KiB, the engine's limit, beside a hundred parts and
the metadata: a queued capture may have 1.4 KiB, of which its id is 255 characters of 4 bytes."""


def _currency(code: str) -> str:
    if code in CURRENCIES:
        return code
    raise PydanticCustomError("unknown_currency", CURRENCY_RULE)


def _digits(value: object) -> object:
    """Refuse texts that Python reads as an integer and a person does not write as one.

    ``1000.00`` would open accounts with 10.00 EUR.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("whole_number", "must be a whole number, in the digits 0 to 9 alone")


_WHOLE = re.compile("-?[0-9]+")
"""With a sign it is out of the field's range, which says more."""


def require_brokers(text: str) -> str:
    """Return a list of brokers as it is given; raises ``ValueError`` for what names no address."""
    for broker in text.split(","):
        found = _BROKER.fullmatch(broker.strip())
        if found is None or not 0 < int(found["port"] or 1) < PORTS:
            message = (
                f"{broker.strip()!r} is no address of a broker: it must be host:port, or "
                f"[address]:port for IPv6, without a scheme, several separated by commas"
            )
            raise PydanticCustomError("brokers", "{reason}", {"reason": message})
    return text


_BROKER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+)(:(?P<port>[0-9]{1,5}))?")
PORTS = 65_536
"""Ports are below it."""

ADDRESS = r"^(\[[0-9A-Fa-f:.%]+\]|[^:\s\[\]]+):\d{1,5}$"
"""Of a server of this process: ``host:port``."""

Brokers = Annotated[str, AfterValidator(require_brokers)]
TopicName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{0,100}$")]
CurrencyCode = Annotated[str, AfterValidator(_currency)]
WholeNumber = Annotated[int, BeforeValidator(_digits)]


SECRETS = ("sasl_password", "sasl_oauth_client_secret", "ssl_key_password")
"""Fields that a file can hold instead: of each, ``<name>_file`` is a field too."""


class TopicNames(NamedTuple):
    """The full names of an installation's topics, without its journals."""

    commands: str
    results: str
    transfers: str
    inbox: str
    ledger: str
    payments_dead_letters: str
    accounts_dead_letters: str
    account_commands: str
    account_results: str
    fencing_check: str
    """What the proof appends to that a former owner's writes are refused (``topics check``)."""

    def dead_letters(self, stage: str) -> str:
        """Return the dead-letter topic of a stage. Raises ``KeyError`` for another name."""
        of_stages = {
            "payments": self.payments_dead_letters,
            "accounts": self.accounts_dead_letters,
        }
        return of_stages[stage]


TOPICS = TopicNames(
    commands="payments.commands",
    results="payments.results",
    transfers="payments.transfers",
    inbox="payments.inbox",
    ledger="accounts.ledger",
    payments_dead_letters="payments.dead-letters",
    accounts_dead_letters="accounts.dead-letters",
    account_commands="accounts.commands",
    account_results="accounts.results",
    fencing_check="payments.fencing-check",
)
"""The names in ``topics.yaml``, before a prefix is added."""


class SettingsError(ValueError):
    """A setting can't be used: a file of it can't be read, say. The message holds no secret."""


class Settings(BaseSettings):
    """The settings of ``payments``; each field is the variable ``PAYMENTS_<FIELD>``.

    A field's docstring is its meaning in the README (``python -m tools.dev.readme`` puts it there).
    Raises ``pydantic.ValidationError`` when a value is malformed, naming the field.
    """

    model_config = SettingsConfigDict(
        env_prefix="PAYMENTS_",
        env_ignore_empty=True,  # An empty variable is one that is not set.
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    brokers: Brokers = "localhost:9092"
    """Kafka brokers to start from: `host:port`, separated by commas."""

    app_id: TopicName = "payments"
    """Name of the installation: its consumer group, and the start of its changelogs' names."""

    topic_prefix: TopicName = ""
    """Put before the name of every topic but the changelogs."""

    partitions: WholeNumber = Field(default=8, ge=1, le=4096)
    """Partitions of each topic, 1 to 4,096; never changed once the topics exist."""

    replication: WholeNumber = Field(default=1, ge=1, le=10)
    """Copies of each partition, 1 to 10; 3 in production."""

    state_dir: Path | None = None
    """Directory for local copies of the journals: rows are on this disk instead of in memory, and a
    restart reads only what is new. Each worker needs its own; needs the extra `disk`. Unset: in
    memory."""

    state_memory_mb: WholeNumber = Field(default=512, ge=32, le=65_536)
    """Memory for all local copies of a worker, in MiB, 32 to 65536."""

    standbys: WholeNumber = Field(default=0, ge=0, le=3)
    """Other workers that follow the journals of each partition on their disks, 0 to 3, and take it
    over without reading all of them. The same for all workers; only with `PAYMENTS_STATE_DIR`."""

    instance_id: str | None = None
    """Static membership (`group.instance.id`): the same for each restart of one worker."""

    opening_balance: WholeNumber = Field(default=0, ge=0, le=10**15)
    """Given to each new account in the default currency, in minor units, 0 to 10^15: `100000` is
    1,000.00 EUR, or 100,000 JPY."""

    default_currency: CurrencyCode = "EUR"
    """Currency of a command that names none, by its ISO 4217 code."""

    decline_policy: Literal["retry", "pin"] = "retry"
    """What a declined payment becomes: forgotten, so that it can be tried again (`retry`), or
    declined for good (`pin`)."""

    max_waiters: WholeNumber = Field(default=100, ge=1, le=MAX_WAITERS)
    """Commands that may wait for one payment to settle, 1 to 165; one more is rejected."""

    hold_seconds: WholeNumber = Field(default=604_800, ge=1, le=31_536_000)
    """How long an authorize without `hold_seconds` holds money, in seconds, 1 to 31,536,000. It is
    no limit: `hold_seconds` may be up to a year."""

    hold_notice_seconds: WholeNumber = Field(default=0, ge=0, le=31_536_000)
    """How long before a hold ends a notice on the results says so, in seconds, up to 31,536,000
    (`hold_ends_soon`); 0 for no notices. Shorter holds have none. A change counts for new holds."""

    retention_seconds: float = Field(default=86_400.0, ge=0.01, le=315_360_000.0)
    """How long a settled payment is remembered after its last change, in seconds."""

    refund_seconds: float | None = Field(default=None, ge=0.01, le=315_360_000.0)
    """How long a payment can be refunded after its last change, in seconds; not below the
    retention, which is the default. A payment that was refunded whole is remembered for the
    retention only."""

    window_seconds: float = Field(default=60.0, ge=0.01, le=315_360_000.0)
    """Payments that changed within the same window expire together: its width in seconds, at most
    the retention."""

    session_timeout_seconds: float = Field(default=10.0, ge=1, le=300)
    """How long a worker may be silent before its partitions go to others, 1 to 300 seconds; not
    over the request timeout."""

    request_timeout_seconds: float = Field(default=20.0, ge=1, le=300)
    """How long one request to a broker may take, 1 to 300 seconds."""

    delivery_timeout_seconds: float = Field(default=60.0, ge=1, le=600)
    """How long an append, read or connection is tried before the process ends, 1 to 600 seconds."""

    renewal_seconds: float = Field(default=3600.0, ge=1, le=43_200)
    """How often a worker renews its claim of each partition, 1 to 43,200 seconds; by
    default a broker forgets a writer that was idle for a day."""

    drain_timeout_seconds: float = Field(default=8.0, ge=0.1, le=300)
    """How long a worker that ends or hands partitions over may take to publish what it has
    decided, 0.1 to 300 seconds."""

    stall_seconds: float = Field(default=5.0, ge=0.1, le=300)
    """How long a partition may stand still, or a broker not answer, before a worker says so in its
    log and is not ready, 0.1 to 300 seconds."""

    client_max_calls: WholeNumber = Field(default=10_000, ge=1, le=1_000_000)
    """Calls that may be in flight at once in one client, 1 to 1,000,000; the next is refused."""

    client_state_dir: Path | None = None
    """Folder where a client, or a gateway, that reads accounts keeps its index, so that its next
    start continues with it; each process needs its own. Without it the index is temporary."""

    health_file: Path | None = None
    """Where a worker writes, every second, whether it is ready and why not; `payments health` reads
    it."""

    log_format: Literal["text", "json"] = "text"
    """Form of the lines that a worker or gateway logs on standard error: `text`, or `json` with one
    object for each."""

    metrics_address: str | None = Field(default=None, pattern=ADDRESS)
    """Where `payments worker` serves its metrics (Prometheus), `host:port` or `[::1]:port`."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to the brokers: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """How to log in with SASL: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`."""

    sasl_username: str | None = None
    """User name for SASL."""

    sasl_password: SecretStr | None = None
    """Password for SASL."""

    sasl_password_file: Path | None = None
    """File that holds that password instead, without a line break or with one at its end."""

    sasl_oauth_token_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$")
    """Where tokens for `OAUTHBEARER` come from (OAuth 2 client credentials): its URL."""

    sasl_oauth_client_id: str | None = None
    """Client id for the token endpoint."""

    sasl_oauth_client_secret: SecretStr | None = None
    """Client secret for the token endpoint."""

    sasl_oauth_client_secret_file: Path | None = None
    """File that holds that secret instead."""

    sasl_oauth_scope: str | None = None
    """Scope that the token endpoint is asked for."""

    sasl_oauth_cafile: Path | None = None
    """Certificates of the authorities that the token endpoint is trusted by (PEM); without it
    those of the system."""

    sasl_oauth_provider: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    """Your own source of tokens instead, `module:name`: an `AbstractTokenProvider` of
    `aiokafka.abc`, or what returns one."""

    ssl_cafile: Path | None = None
    """Certificates of the authorities to trust (PEM); without it those of the system."""

    ssl_certfile: Path | None = None
    """The worker's own certificate (PEM), where the brokers ask for one."""

    ssl_keyfile: Path | None = None
    """The key of that certificate (PEM), if it is in a file of its own."""

    ssl_key_password: SecretStr | None = None
    """Password of that key, if it is encrypted."""

    ssl_key_password_file: Path | None = None
    """File that holds that password instead."""

    ssl_check_hostname: bool = True
    """Whether a broker's certificate must be for the name by which it is addressed."""

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> Self:
        for name in SECRETS:
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                variable = f"PAYMENTS_{name.upper()}"
                message = f"{variable} and {variable}_FILE are both set: give one of them"
                raise ValueError(message)
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            message = (
                "PAYMENTS_SSL_KEYFILE needs PAYMENTS_SSL_CERTFILE, the certificate of that key"
            )
            raise ValueError(message)
        self._require_login()
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
        if self.refund_seconds is not None and self.refund_seconds < self.retention_seconds:
            message = (
                f"PAYMENTS_REFUND_SECONDS={self.refund_seconds:g} must not be below "
                f"PAYMENTS_RETENTION_SECONDS={self.retention_seconds:g}"
            )
            raise ValueError(message)
        return self

    @property
    def longest_retention_seconds(self) -> float:
        """How long the payments are remembered that are remembered longest."""
        return self.retention_seconds if self.refund_seconds is None else self.refund_seconds

    @property
    def longest_life_seconds(self) -> float:
        """How long a payment may be there after its first command, where nobody touches it again.

        It is held for ``hold_seconds``, remembered after that, and deleted with its window. One
        whose client asked for a longer hold lives longer.
        """
        return self.hold_seconds + self.longest_retention_seconds + self.window_seconds

    def _require_login(self) -> None:
        if not self.security_protocol.startswith("SASL"):
            return
        if self.sasl_mechanism != "OAUTHBEARER":
            if not self.sasl_username or not (self.sasl_password or self.sasl_password_file):
                message = (
                    f"PAYMENTS_SECURITY_PROTOCOL={self.security_protocol} needs "
                    f"PAYMENTS_SASL_USERNAME and PAYMENTS_SASL_PASSWORD (or its _FILE)"
                )
                raise ValueError(message)
            return
        secret = self.sasl_oauth_client_secret or self.sasl_oauth_client_secret_file
        by_endpoint = self.sasl_oauth_token_endpoint and self.sasl_oauth_client_id and secret
        if bool(by_endpoint) == bool(self.sasl_oauth_provider):
            message = (
                "OAUTHBEARER needs either PAYMENTS_SASL_OAUTH_PROVIDER, or "
                "PAYMENTS_SASL_OAUTH_TOKEN_ENDPOINT with PAYMENTS_SASL_OAUTH_CLIENT_ID and "
                "PAYMENTS_SASL_OAUTH_CLIENT_SECRET (or its _FILE)"
            )
            raise ValueError(message)

    def of(self, *names: str) -> dict[str, str]:
        """Return the values of settings as text, by the names of their variables."""
        return {
            f"PAYMENTS_{name.upper()}": str(getattr(self, name)).removesuffix(".0")
            for name in names
        }

    def secret(self, name: str) -> str | None:
        """Return one of ``SECRETS``, from its file where that is set; None where neither is.

        Raises ``SettingsError`` when the file can't be read or is empty.
        """
        file: Path | None = getattr(self, f"{name}_file")
        if file is None:
            given: SecretStr | None = getattr(self, name)
            return None if given is None else given.get_secret_value()
        variable = f"PAYMENTS_{name.upper()}_FILE"
        try:
            # Some editors begin a file with a byte order mark; no secret does.
            text = file.read_text(encoding="utf-8-sig").rstrip("\r\n")
        except OSError as error:
            message = f"{variable}: {file} can't be read: {error.strerror}"
            raise SettingsError(message) from error
        except UnicodeDecodeError:
            message = f"{variable}: {file} is not UTF-8 text"
            raise SettingsError(message) from None  # Its error holds what was read.
        if not text:
            message = f"{variable}: {file} is empty"
            raise SettingsError(message)
        return text

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS context of every connection, or None where the protocol has no TLS.

        Raises ``SettingsError`` when a file can't be read, or the key not be opened.
        """
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
        except OSError as error:  # An ssl.SSLError is one too.
            why = why_no_authorities(error, self.ssl_cafile)
            message = f"PAYMENTS_SSL_CAFILE: {self.ssl_cafile} can't be read: {why}"
            raise SettingsError(message) from error
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certfile is not None:
            self._load_certificate(context)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        """Load our own certificate and key; OpenSSL must never ask for a password by itself."""
        asked = False

        def password() -> str:
            nonlocal asked
            asked = True
            return self.secret("ssl_key_password") or ""

        assert self.ssl_certfile is not None
        try:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password=password)
        except SettingsError:
            raise
        except (OSError, ValueError) as error:
            files = f"PAYMENTS_SSL_CERTFILE={self.ssl_certfile}"
            if self.ssl_keyfile is not None:
                files += f", PAYMENTS_SSL_KEYFILE={self.ssl_keyfile}"
            why = why_no_certificate(error, self.ssl_certfile, self.ssl_keyfile)
            if asked:
                why = "the key is encrypted, and no password is set"
                if self.ssl_key_password or self.ssl_key_password_file:
                    why = "the key is encrypted, and its password is another one"
                why += " (PAYMENTS_SSL_KEY_PASSWORD, PAYMENTS_SSL_KEY_PASSWORD_FILE)"
            message = f"{files}: can't be used: {why}"
            raise SettingsError(message) from error

    def connection(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client here is made with.

        Raises ``SettingsError`` when a secret, a certificate or a provider can't be loaded.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.brokers,
            "request_timeout_ms": int(self.request_timeout_seconds * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if not self.security_protocol.startswith("SASL"):
            return arguments
        arguments["sasl_mechanism"] = self.sasl_mechanism
        if self.sasl_mechanism == "OAUTHBEARER":
            return arguments | {"sasl_oauth_token_provider": self._token_provider()}
        return arguments | {
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.secret("sasl_password"),
        }

    def _token_provider(self) -> "AbstractTokenProvider":
        # Only where it is used: --help and the settings themselves do without aiokafka.
        from payments.connection.oauth import ClientCredentials, load_provider  # noqa: PLC0415

        if self.sasl_oauth_provider is not None:
            try:
                return load_provider(self.sasl_oauth_provider)
            except ValueError as error:
                message = f"PAYMENTS_SASL_OAUTH_PROVIDER: {error}"
                raise SettingsError(message) from error
        assert self.sasl_oauth_token_endpoint is not None
        assert self.sasl_oauth_client_id is not None
        try:
            return ClientCredentials(
                self.sasl_oauth_token_endpoint,
                self.sasl_oauth_client_id,
                self.secret("sasl_oauth_client_secret") or "",
                scope=self.sasl_oauth_scope,
                cafile=self.sasl_oauth_cafile,
            )
        except OSError as error:
            file = self.sasl_oauth_cafile
            why = why_no_authorities(error, file)
            message = f"PAYMENTS_SASL_OAUTH_CAFILE: {file} can't be read: {why}"
            raise SettingsError(message) from error

    @property
    def topics(self) -> TopicNames:
        """The full names of the topics, such as ``settings.topics.commands``."""
        return TopicNames(*map(self.topic, TOPICS))

    def topic(self, name: str) -> str:
        """Return the full name of a public or internal topic: prefix and name."""
        return self.topic_prefix + name

    def changelog(self, stage: str) -> str:
        """Return the name of a stage's changelog topic (the journal)."""
        return f"{self.app_id}-{stage}-changelog"
