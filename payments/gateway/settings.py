"""Settings of the gateway alone, read from ``PAYMENTS_GATEWAY_*``; the others hold for it too."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from payments.settings import ADDRESS, WholeNumber

MIN_TOKEN_CHARACTERS, MAX_TOKEN_CHARACTERS = 16, 512
ROOT_PATH = r"(/[A-Za-z0-9._~-]+)*"

Listed = Annotated[tuple[str, ...], NoDecode]
"""Words separated by commas."""


class GatewaySettings(BaseSettings):
    """Settings of ``payments gateway`` in addition to ``Settings``; each field is a variable.

    Raises ``pydantic.ValidationError`` when a value is malformed, naming the field.
    """

    model_config = SettingsConfigDict(
        env_prefix="PAYMENTS_GATEWAY_",
        env_ignore_empty=True,  # As in ``Settings``.
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; by default only this machine can connect."""

    port: WholeNumber = Field(default=8080, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one, which is printed."""

    tokens: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Bearer tokens or API keys with every right, separated by commas; a token has 16 to 512
    visible ASCII characters. Without any, and without a file of tokens, no request needs one."""

    tokens_file: Path | None = None
    """File of tokens with names and scopes (TOML, see docs/http.md); it is read again when it
    changes, and at SIGHUP."""

    allowed_hosts: Listed = ()
    """Names under which clients reach the gateway, separated by commas: `pay.example.com`,
    `*.example.com`, `*` for any. Addresses, `localhost` and names without a dot always hold, and
    with tokens every name does."""

    allowed_origins: Listed = ()
    """Other origins whose pages may use the gateway, separated by commas:
    `https://shop.example.com`."""

    root_path: str = Field(default="", pattern=f"^{ROOT_PATH}$")
    """Path under which a proxy in front serves the gateway, such as `/pay`: links begin with it."""

    trusted_proxies: Listed = ()
    """Addresses or networks of proxies, separated by commas, whose `X-Forwarded-Prefix`, `-Host`
    and `-For` (or `Forwarded`) are believed."""

    access_log: bool = False
    """Write one line of JSON for each request to standard output."""

    metrics_address: str | None = Field(default=None, pattern=ADDRESS)
    """Where `payments gateway` serves its metrics (Prometheus), `host:port` or `[::1]:port`; not
    the port of its clients: metrics need no token."""

    deadline_seconds: float = Field(default=30.0, ge=0.1, le=300)
    """How long a request waits for its result, 0.1 to 300 seconds; then it is answered 504."""

    kept_seconds: float = Field(default=3600.0, ge=1, le=86_400)
    """How long the gateway waits for the result of a command that was answered 202, and keeps it in
    memory, 1 to 86,400 seconds; later its `Location` is answered from the topics."""

    receive_timeout_seconds: float = Field(default=10.0, ge=0.1, le=300)
    """How long a request may take to arrive completely, and a client to read an answer, 0.1 to 300
    seconds; then the connection ends, with 408 if no answer has begun."""

    idle_timeout_seconds: float = Field(default=75.0, ge=0.1, le=3600)
    """How long a connection may stay open without a request, 0.1 to 3,600 seconds."""

    max_streams: WholeNumber = Field(default=1000, ge=0, le=100_000)
    """Maximum number of open event streams; one more is answered 429."""

    @property
    def needs_tokens(self) -> bool:
        """Whether a request needs a token."""
        return bool(self.tokens) or self.tokens_file is not None

    @property
    def is_open_to_others(self) -> bool:
        """Whether other machines can connect, and need no token."""
        try:
            loopback = ip_address(self.host).is_loopback
        except ValueError:
            loopback = self.host == "localhost"
        return not loopback and not self.needs_tokens

    @field_validator("tokens", "allowed_hosts", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [word.strip() for word in value.split(",")] if value.strip() else []

    @field_validator("host")
    @classmethod
    def _host_is_one_address(cls, host: str) -> str:
        """Accept ``[::1]`` as in a URL. An empty host would mean all addresses of the machine."""
        bare = host.strip().removeprefix("[").removesuffix("]")
        if not bare or "\0" in bare:
            message = "a host is an address or a name of this machine, such as 127.0.0.1 or ::1"
            raise ValueError(message)
        return bare

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)
        return proxies

    @field_validator("allowed_origins")
    @classmethod
    def _origins_have_a_scheme(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, _, authority = origin.partition("://")
            if scheme not in {"http", "https"} or not authority or "/" in authority:
                message = "an origin is a scheme and a host, such as https://shop.example.com"
                raise ValueError(message)
        return origins

    @field_validator("tokens")
    @classmethod
    def _tokens_are_strong_enough(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(weak_token(token.get_secret_value()) for token in tokens):
            message = "a token must have 16 to 512 visible ASCII characters"
            raise ValueError(message)
        if len({token.get_secret_value() for token in tokens}) < len(tokens):
            message = "one token is given twice"
            raise ValueError(message)
        return tokens


def weak_token(text: str) -> bool:
    """Return whether a text is too short or too long for a token, or has other characters."""
    visible = text.isascii() and text.isprintable() and " " not in text
    return not visible or not MIN_TOKEN_CHARACTERS <= len(text) <= MAX_TOKEN_CHARACTERS
