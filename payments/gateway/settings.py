"""Settings of the gateway alone, read from ``PAYMENTS_GATEWAY_*``; the others hold for it too."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIN_TOKEN_CHARACTERS, MAX_TOKEN_CHARACTERS = 16, 512


class GatewaySettings(BaseSettings):
    """What ``payments gateway`` needs beside ``Settings``; each field is a variable.

    Raises ``pydantic.ValidationError`` when a value is malformed, naming the field.
    """

    model_config = SettingsConfigDict(
        env_prefix="PAYMENTS_GATEWAY_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; by default only this machine can connect."""

    port: int = Field(default=8080, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one, which is printed."""

    tokens: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Bearer tokens or API keys, separated by commas; each request needs one of them. Without any,
    no request does. A token has 16 to 512 visible ASCII characters."""

    deadline_seconds: float = Field(default=30.0, ge=0.1, le=300)
    """How long a request waits for its result, 0.1 to 300 seconds; then it is answered 504."""

    receive_timeout_seconds: float = Field(default=10.0, ge=0.1, le=300)
    """How long a request may take to arrive whole, and an answer to be taken, 0.1 to 300 seconds;
    then the connection ends, with 408 where that can still be said."""

    idle_timeout_seconds: float = Field(default=75.0, ge=0.1, le=3600)
    """How long a connection may stay open without a request, 0.1 to 3,600 seconds."""

    max_streams: int = Field(default=1000, ge=0, le=100_000)
    """Event streams that may be open at once; one more is answered 429."""

    @field_validator("tokens", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [token.strip() for token in value.split(",")] if isinstance(value, str) else value

    @field_validator("tokens")
    @classmethod
    def _tokens_are_strong_enough(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for token in tokens:
            text = token.get_secret_value()
            visible = text.isascii() and text.isprintable() and " " not in text
            if not visible or not MIN_TOKEN_CHARACTERS <= len(text) <= MAX_TOKEN_CHARACTERS:
                message = "a token must have 16 to 512 visible ASCII characters"
                raise ValueError(message)
        return tokens
