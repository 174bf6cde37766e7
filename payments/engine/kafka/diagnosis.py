"""Diagnosis: why there is no connection to a broker, where aiokafka says only that there is none.

A connection of our own is tried, step by step: name, port, TLS, login, and what answers there.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import errors
from aiokafka.conn import create_conn

from payments.engine.errors import FailStop

from .hints import in_words

PROBE_SECONDS = 3.0
"""How long each step may take; longer than any broker at work needs."""

_API_VERSIONS = bytes.fromhex("0000000a00120000000000000000")
"""A whole request: length, api key 18, version 0, correlation id 0, and no client id."""

_HTTP = b"HTTP"
_TLS_ALERT = b"\x15\x03"
_ANSWER_BYTES = 8
_REFUSED: tuple[type[Exception], ...] = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)


class Refusal(FailStop):
    """A broker answers and refuses: trying again does not help. The text says what to change."""


async def diagnosis(hosts: Iterable[tuple[str, int]], arguments: Mapping[str, Any]) -> str:
    """Return why none of these addresses can be talked to, in one line.

    ``arguments`` are those of every aiokafka client. Raises ``Refusal`` where a broker refuses our
    credentials or we do not trust its certificate.
    """
    found = [f"{host}:{port}: {await _at(host, port, arguments)}" for host, port in hosts]
    return "; ".join(found)


async def _at(host: str, port: int, arguments: Mapping[str, Any]) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror as error:
        return f"the name {host!r} can't be resolved ({error.strerror})"
    except ConnectionRefusedError:
        return "nothing listens there (connection refused)"
    except TimeoutError:
        return f"no connection within {PROBE_SECONDS:.0f} s"
    except OSError as error:
        return in_words(error)
    writer.close()
    plain = not str(arguments.get("security_protocol", "PLAINTEXT")).endswith("SSL")
    if plain and (stranger := await _stranger(host, port)) is not None:
        return stranger
    return await _login(host, port, arguments)


async def _stranger(host: str, port: int) -> str | None:
    """Return what answers there instead of Kafka; None for Kafka."""
    answer = b""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(_API_VERSIONS)
            answer = await reader.read(_ANSWER_BYTES)
            writer.close()
    except TimeoutError:
        return f"it takes connections and does not answer within {PROBE_SECONDS:.0f} s"
    except OSError:
        pass  # It was closed: see below.
    if answer.startswith(_HTTP):
        return "that is an HTTP server, not a Kafka broker"
    if answer.startswith(_TLS_ALERT):
        return "it wants TLS: set PAYMENTS_SECURITY_PROTOCOL to SSL or SASL_SSL"
    if not answer:
        return (
            "it closes the connection at Kafka's first request: it is no Kafka broker, or a "
            "listener that wants TLS (PAYMENTS_SECURITY_PROTOCOL)"
        )
    if not answer.startswith(b"\0"):  # The length of an answer of Kafka has at most three bytes.
        return "what answers there is not a Kafka broker"
    return None


async def _login(host: str, port: int, arguments: Mapping[str, Any]) -> str:
    """Connect as aiokafka does; return what it meets. Raises ``Refusal``."""
    options = {k: v for k, v in arguments.items() if k != "bootstrap_servers"}
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            (await create_conn(host, port, **options)).close()
    except _REFUSED as error:
        raise Refusal(f"{where} refuses the credentials of this process: {error}") from error
    except ssl.SSLCertVerificationError as error:
        reason = f"the certificate of {where} is not trusted: {error.verify_message}"
        raise Refusal(f"{reason}; see PAYMENTS_SSL_CAFILE, PAYMENTS_SSL_CHECK_HOSTNAME") from error
    except ssl.SSLError as error:
        return f"TLS fails ({error.reason}): is it a listener with TLS? PAYMENTS_SECURITY_PROTOCOL"
    except TimeoutError:
        return f"it takes connections and does not answer within {PROBE_SECONDS:.0f} s"
    except (OSError, errors.KafkaError) as error:
        return in_words(error)
    if "sasl_mechanism" not in options:
        return "it answers; if this goes on, it wants SASL (PAYMENTS_SECURITY_PROTOCOL)"
    return "it answers"
