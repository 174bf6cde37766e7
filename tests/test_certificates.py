"""Files of certificates and keys: what can't be used is told by its setting, file and lack.

A password that opens no key is in ``tests/test_secrets.py``; what a broker refuses is in
``tests/engine/test_client_certificates.py``.
"""

import re
import subprocess
from pathlib import Path

import pytest

from payments.settings import Settings, SettingsError
from tests.command_line import run


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate in all formats, and the key of another one."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("own", "other"):
        openssl(
            *("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-days", "2", "-subj", "/CN=client"),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
        )
    certificate, key = folder / "own.pem", folder / "own.key"
    openssl("x509", "-in", certificate, "-outform", "DER", "-out", folder / "own.der")
    openssl("pkey", "-in", key, "-outform", "DER", "-out", folder / "own.key.der")
    openssl(
        *("pkcs12", "-export", "-in", certificate, "-inkey", key),
        *("-passout", "pass:secret", "-out", folder / "own.p12"),
    )
    (folder / "both.pem").write_text(key.read_text() + certificate.read_text())
    (folder / "empty.pem").touch()
    (folder / "text.pem").write_text("no certificate\n")
    return folder


def context(folder: Path, **names: str) -> object:
    given = {f"ssl_{field}": folder / name for field, name in names.items()}
    return Settings.model_validate({"security_protocol": "SSL", **given}).ssl_context()


def test_certificate_and_key_may_be_in_one_file_or_in_two(files: Path) -> None:
    assert context(files, certfile="both.pem") is not None
    assert context(files, certfile="own.pem", keyfile="own.key") is not None


@pytest.mark.parametrize(
    ("certfile", "keyfile", "told"),
    [
        ("own.pem", "other.key", "the key belongs to another certificate"),
        ("own.der", "own.key", r"own\.der: it is DER or PKCS#12, and needed is PEM"),
        ("own.pem", "own.key.der", r"own\.key\.der: it is DER .* `openssl pkey -inform DER`"),
        ("own.p12", None, r"own\.p12: it is DER or PKCS#12.*`openssl pkcs12 -nodes`"),
        ("own.pem", None, r"own\.pem: it is without a private key \(PEM\); see .*SSL_KEYFILE"),
        ("own.key", "own.key", r"own\.key: it is without a certificate"),
        ("own.pem", "gone.key", r"gone\.key: No such file or directory"),
        ("gone.pem", "own.key", r"gone\.pem: No such file or directory"),
        ("empty.pem", None, r"empty\.pem: it is empty"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_by_its_lack(
    files: Path, certfile: str, keyfile: str | None, told: str
) -> None:
    names = {"certfile": certfile} | ({"keyfile": keyfile} if keyfile else {})
    with pytest.raises(SettingsError, match=told) as error:
        context(files, **names)
    assert str(error.value).startswith(f"PAYMENTS_SSL_CERTFILE={files / certfile}")
    assert "_ssl.c" not in str(error.value)


@pytest.mark.parametrize(
    ("cafile", "told"),
    [
        ("own.der", "it is DER or PKCS#12, and needed is PEM"),
        ("own.p12", "it is DER or PKCS#12, and needed is PEM"),
        ("own.key", "it is without a certificate (PEM)"),
        ("text.pem", "it is without a certificate (PEM)"),
        ("empty.pem", "it is empty (PEM)"),
        ("gone.pem", "No such file or directory"),
    ],
)
def test_authorities_that_cannot_be_read_are_told_by_their_lack(
    files: Path, cafile: str, told: str
) -> None:
    line = re.escape(f"PAYMENTS_SSL_CAFILE: {files / cafile} can't be read: {told}")
    with pytest.raises(SettingsError, match=line) as error:
        context(files, cafile=cafile)
    assert "_ssl.c" not in str(error.value)
    token = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth_token_endpoint": "https://localhost/token",
        "sasl_oauth_client_id": "a",
        "sasl_oauth_client_secret": "b",
        "sasl_oauth_cafile": files / cafile,
    }
    line = line.replace("SSL_CAFILE", "SASL_OAUTH_CAFILE")
    with pytest.raises(SettingsError, match=line):
        Settings.model_validate(token).connection()


def test_a_key_without_its_certificate_is_refused_and_not_ignored(files: Path) -> None:
    environment = {"PAYMENTS_SECURITY_PROTOCOL": "SSL", "PAYMENTS_SSL_KEYFILE": f"{files}/own.key"}
    failed = run("topics", "plan", environment=environment)
    assert failed.exit_code == 1
    assert "PAYMENTS_SSL_KEYFILE needs PAYMENTS_SSL_CERTFILE" in failed.stderr
