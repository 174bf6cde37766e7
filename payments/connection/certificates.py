"""Files of certificates and keys that can't be used: the fault of each, in words.

OpenSSL reports the same ``[SSL] PEM lib`` for a file in another format, for a file without a
certificate, and for one without a key.
"""

import ssl
from pathlib import Path

_DER = b"\x30"
"""The first byte of a certificate, a key or a PKCS#12 store in DER: a SEQUENCE (X.690, 8.9)."""

_CERTIFICATE, _KEY = b"CERTIFICATE-----", b"PRIVATE KEY-----"


def why_no_authorities(error: OSError, file: Path | None) -> str:
    """Return why OpenSSL can't read certificates of authorities from a file."""
    if file is None or not isinstance(error, ssl.SSLError):
        return str(error.strerror or error)
    return _lack(file, _CERTIFICATE) or str(error.strerror)


def why_no_certificate(error: OSError | ValueError, certificate: Path, key: Path | None) -> str:
    """Return why OpenSSL can't use a certificate with its key, which may be in the same file."""
    wanted = ((certificate, _CERTIFICATE), (key or certificate, _KEY))
    for file, part in wanted:
        if (lack := _lack(file, part)) is not None:
            named = f"{file}: {lack}"
            return named if key or part is _CERTIFICATE else f"{named}; see PAYMENTS_SSL_KEYFILE"
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate"
    return str(getattr(error, "strerror", None) or error)


def _lack(file: Path, part: bytes) -> str | None:
    """Return why a file has no such part in PEM; None where it has one."""
    try:
        content = file.read_bytes()
    except OSError as error:
        return str(error.strerror)
    if part in content:
        return None
    what = "certificate" if part is _CERTIFICATE else "private key"
    if content.startswith(_DER):
        return (
            f"it is DER or PKCS#12, and needed is PEM: make it with `openssl "
            f"{'x509' if part is _CERTIFICATE else 'pkey'} -inform DER`, or `openssl pkcs12 -nodes`"
        )
    return f"it is {'without a ' + what if content.strip() else 'empty'} (PEM)"
