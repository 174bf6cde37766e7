"""Diagnosis: why there is no connection to a broker, since aiokafka reports no cause.

It connects by itself and checks step by step: name, port, protocol, TLS, login.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.conn import OAuthAuthenticator, create_conn
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from exactstage.advice import setting
from exactstage.errors import FailStop

from .hints import error_in_words
from .metadata import metadata_request

PROBE_SECONDS = 3.0
"""Time limit of each step; longer than a working broker needs."""

_API_VERSIONS = bytes.fromhex("0000000a00120000000000000000")
"""A whole request: length, api key 18, version 0, correlation id 0, and no client id."""

_HTTP = b"HTTP"
_TLS_ALERT = b"\x15\x03"
_CERTIFICATE_ALERTS = ("certificate", "unknown ca", "access denied")
"""Parts of the names of the alerts by which a broker refuses a client's certificate."""
_ANSWER_BYTES = 8
_STATUS_CHARACTERS = 200
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
    """Return in one line why there is no connection to any of these addresses.

    ``arguments`` are those of every aiokafka client. Raises ``Refusal`` when a broker refuses the
    credentials, or when its certificate is not trusted.
    """
    found = [f"{address(host, port)}: {await _at(host, port, arguments)}" for host, port in hosts]
    return "; ".join(found)


def address(host: str, port: int) -> str:
    """Return host and port as one address; one of IPv6 is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _at(host: str, port: int, arguments: Mapping[str, Any]) -> str:
    if (why := await _unreachable(host, port)) is not None:
        return why
    plain = not str(arguments.get("security_protocol", "PLAINTEXT")).endswith("SSL")
    if plain and (other := await _other_protocol(host, port)) is not None:
        return other
    return await _login(host, port, arguments)


async def _other_protocol(host: str, port: int) -> str | None:
    """Return which protocol the listener has instead of plain Kafka; None for Kafka."""
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
        pass  # The connection was closed: see below.
    if answer.startswith(_HTTP):
        return "that is an HTTP server, not a Kafka broker"
    if answer.startswith(_TLS_ALERT):
        return f"it wants TLS: set {setting('SECURITY_PROTOCOL')} to SSL or SASL_SSL"
    if not answer:
        return (
            "it closes the connection at Kafka's first request: it is no Kafka broker, or a "
            f"listener that wants TLS ({setting('SECURITY_PROTOCOL')})"
        )
    if not answer.startswith(b"\0"):  # The length of an answer of Kafka has at most three bytes.
        return "what answers there is not a Kafka broker"
    return None


async def _login(host: str, port: int, arguments: Mapping[str, Any]) -> str:
    """Connect as aiokafka does; return the result. Raises ``Refusal``."""
    options = {k: v for k, v in arguments.items() if k != "bootstrap_servers"}
    where = address(host, port)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            (await create_conn(host, port, **options)).close()
    except _REFUSED as error:
        why = await _why_refused(host, port, options, error)
        raise Refusal(f"{where} refuses the credentials of this process: {why}") from error
    except ssl.SSLError as error:
        return _tls_failure(where, error)
    except TimeoutError:
        return f"it takes connections and does not answer within {PROBE_SECONDS:.0f} s"
    except (OSError, errors.KafkaError) as error:
        context = options.get("ssl_context")
        return (await _tls_end(host, port, context) if context else None) or error_in_words(error)
    if "sasl_mechanism" not in options:
        return await _without_login(host, port, options)
    if options["sasl_mechanism"] == "OAUTHBEARER":
        await _require_taken_token(host, port, options)
    return "it answers"


def _tls_failure(where: str, error: ssl.SSLError) -> str:
    """Return what a failure of TLS means. Raises ``Refusal`` when a certificate is refused."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"the certificate of {where} is not trusted: {error.verify_message}"
        raise Refusal(
            f"{reason}; see {setting('SSL_CAFILE')}, {setting('SSL_CHECK_HOSTNAME')}"
        ) from error
    reason = error.reason or str(error)
    alert = reason.partition("_ALERT_")[2].replace("_", " ").lower()
    if any(word in alert for word in _CERTIFICATE_ALERTS):
        message = (
            f"{where} refuses the certificate of this process (TLS alert: {alert}): the listener "
            f"wants a client's certificate that is valid now and that it trusts; see "
            f"{setting('SSL_CERTFILE')}, {setting('SSL_KEYFILE')}, and the broker's log"
        )
        raise Refusal(message) from error
    if alert:  # With TLS 1.2, OpenSSL reports no more than this of a missing certificate.
        return (
            f"TLS fails ({reason}): the listener wants a client's certificate "
            f"({setting('SSL_CERTFILE')}), or another version or cipher of TLS"
        )
    return f"TLS fails ({reason}): is it a listener with TLS? {setting('SECURITY_PROTOCOL')}"


async def _tls_end(host: str, port: int, context: ssl.SSLContext) -> str | None:
    """Return why a connection with TLS ends before the first answer. Raises ``Refusal``.

    With TLS 1.3 the broker judges a client's certificate when the client's handshake is over
    (RFC 8446, section 2). Its alert comes in place of the first answer, where aiokafka sees only
    that the connection is closed.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.write(_API_VERSIONS)
            await reader.read(_ANSWER_BYTES)
            writer.close()
    except ssl.SSLError as error:
        return _tls_failure(address(host, port), error)
    except ConnectionError:
        return (
            "it closes the connection where TLS begins: is it a listener with TLS? "
            f"{setting('SECURITY_PROTOCOL')}"
        )
    except OSError:  # A TimeoutError is one too.
        return None
    return None


async def _ask_without_login(
    host: str, port: int, options: Mapping[str, Any], *requests: object
) -> Any:
    """Send these requests without a login; return the answer to the last one."""
    context = options.get("ssl_context")
    plain = {"ssl_context": context, "security_protocol": "SSL" if context else "PLAINTEXT"}
    answer = None
    async with asyncio.timeout(PROBE_SECONDS):
        connection = await create_conn(host, port, **plain)
        try:
            for request in requests:
                answer = await connection.send(request)
        finally:
            connection.close()
    return answer


async def _require_taken_token(host: str, port: int, options: Mapping[str, Any]) -> None:
    """Raise ``Refusal`` when the broker refuses the token itself.

    The broker reports it in an answer without an error code (RFC 7628, section 3.2.2), which
    aiokafka takes for success; the connection is closed after the next request.
    """
    authenticator = OAuthAuthenticator(
        sasl_oauth_token_provider=options["sasl_oauth_token_provider"]
    )
    payload, _ = await authenticator.step(None)
    requests = SaslHandShakeRequest("OAUTHBEARER"), SaslAuthenticateRequest(payload)
    try:
        answer = await _ask_without_login(host, port, options, *requests)
    except (OSError, errors.KafkaError):
        return  # ``_login`` succeeded just now, so this failure proves nothing.
    if answer.sasl_auth_bytes:
        status = answer.sasl_auth_bytes.decode(errors="replace")[:_STATUS_CHARACTERS]
        message = (
            f"{address(host, port)} refuses the credentials of this process: the token is not "
            f"taken ({status}): it has expired, is of another issuer, audience or scope than the "
            f"listener wants, or the clocks of broker and token endpoint differ; see the broker's "
            f"log and the settings {setting('SASL_OAUTH_')}*"
        )
        raise Refusal(message)


async def _without_login(host: str, port: int, options: Mapping[str, Any]) -> str:
    """Return whether a listener serves a client that does not log in."""
    try:
        metadata = await _ask_without_login(host, port, options, metadata_request([]))
    except (OSError, errors.KafkaConnectionError):
        secured = "SASL_SSL" if options.get("ssl_context") else "SASL_PLAINTEXT"
        return (
            "it answers the greeting and no request after it, as a listener does that wants a "
            f"login: set {setting('SECURITY_PROTOCOL')} to {secured}"
        )
    return await _advertised((host, port), metadata.brokers)


async def _advertised(asked: tuple[str, int], brokers: Sequence[Sequence[Any]]) -> str:
    """Return whether the addresses that a broker advertises can be reached.

    ``brokers`` are those of a metadata answer: node, host, port and rack.
    """
    for node, host, port, *_ in brokers:
        if (host, port) != asked and (why := await _unreachable(host, port)) is not None:
            return (
                f"it answers, and sends clients to {address(host, port)} for broker {node}, where "
                f"{why}: see advertised.listeners of that broker"
            )
    return "it answers"


async def _unreachable(host: str, port: int) -> str | None:
    """Return why no connection can be opened; None when one can."""
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
        return error_in_words(error)
    writer.close()
    return None


async def _why_refused(host: str, port: int, options: Mapping[str, Any], error: Exception) -> str:
    """Return why a login failed, and which setting to change."""
    if isinstance(error, errors.IllegalSaslStateError):
        plain = "SSL" if options.get("ssl_context") else "PLAINTEXT"
        return f"the listener has no login: set {setting('SECURITY_PROTOCOL')} to {plain}"
    if isinstance(error, errors.UnsupportedSaslMechanismError):
        mechanism = options["sasl_mechanism"]
        try:
            request = SaslHandShakeRequest(mechanism)
            answer = await _ask_without_login(host, port, options, request)
            has = f"to one that it has: {', '.join(sorted(answer.enabled_mechanisms))}"
        except (OSError, errors.KafkaError):
            has = "to one of its sasl.enabled.mechanisms"
        return f"the listener has no login by {mechanism}: set {setting('SASL_MECHANISM')} {has}"
    return error_in_words(error)
