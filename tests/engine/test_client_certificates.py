"""A client's certificate that a broker refuses: told as that, with its settings.

The server here speaks TLS as a broker does, and judges the client's certificate by itself; the rest
of the protocol is not needed. Real brokers: ``tests/broker/test_security.py``.
"""

import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exactstage.kafka.diagnosis import Refusal, diagnosis
from tools.dev.ports import HOST

LIMIT_SECONDS = 30


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority and what it has signed: the server, and an old client.

    They have the extensions of RFC 5280 that Python demands from 3.13 on.
    """
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    for name in ("ca", "stranger"):
        made = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        signs = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", *new, "-days", "2", *signs, *made)
    (folder / "names").write_text(f"subjectAltName=IP:{HOST}\nauthorityKeyIdentifier=keyid\n")
    for name, days in (("server", "2"), ("expired", "-1")):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        openssl("x509", "-req", "-in", "request", *signed, "-days", days, "-out", f"{name}.pem")
    return folder


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Run a server as a thread; return its port."""
    with socketserver.ThreadingTCPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def listener(files: Path, version: ssl.TLSVersion) -> Iterator[int]:
    """Run a listener that demands a certificate of ``ca``; return its port.

    It is a thread: asyncio's own server closes the connection without the alert.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files / "ca.pem")
    context.load_cert_chain(files / "server.pem", files / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version

    class Refusing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.settimeout(LIMIT_SECONDS)
                refused = self.request.dup()
                with suppress(ssl.SSLError):
                    context.wrap_socket(self.request, server_side=True).close()
                refused.shutdown(socket.SHUT_WR)  # A reset would take the alert away.
                while refused.recv(100):
                    pass
                refused.close()

    with serving(Refusing) as port:
        yield port


def arguments(files: Path, client: str | None) -> dict[str, object]:
    context = ssl.create_default_context(cafile=files / "ca.pem")
    if client is not None:
        context.load_cert_chain(files / f"{client}.pem", files / f"{client}.key")
    return {"security_protocol": "SSL", "ssl_context": context}


@pytest.mark.parametrize(
    ("client", "version"),
    [
        (None, ssl.TLSVersion.TLSv1_3),
        ("expired", ssl.TLSVersion.TLSv1_2),
        ("expired", ssl.TLSVersion.TLSv1_3),
        ("stranger", ssl.TLSVersion.TLSv1_3),
    ],
)
async def test_a_certificate_that_the_broker_refuses_is_reported_as_that(
    files: Path, client: str | None, version: ssl.TLSVersion
) -> None:
    refuses = "refuses the certificate of this process .*PAYMENTS_SSL_CERTFILE"
    with listener(files, version) as port, pytest.raises(Refusal, match=refuses) as refused:
        await diagnosis([(HOST, port)], arguments(files, client))
    assert str(refused.value).startswith(f"{HOST}:{port} ")


async def test_a_certificate_that_is_missing_is_reported_with_an_older_tls_too(files: Path) -> None:
    with listener(files, ssl.TLSVersion.TLSv1_2) as port:
        told = await diagnosis([(HOST, port)], arguments(files, None))
    assert "wants a client's certificate (PAYMENTS_SSL_CERTFILE)" in told


async def test_a_listener_that_resets_the_connection_is_reported_as_one_without_tls() -> None:
    """As Kafka's does without TLS: it takes the greeting of TLS for the size of a request."""

    class Resetting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(Resetting) as port:
        given = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context()}
        told = await diagnosis([(HOST, port)], given)
    assert "is it a listener with TLS? PAYMENTS_SECURITY_PROTOCOL" in told
