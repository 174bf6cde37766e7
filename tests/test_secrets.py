"""Secrets: from the environment or from files, and never in what is printed (the case P13)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from payments.settings import SECRETS, Settings, SettingsError
from tests.command_line import run

SECRET = "a-very-secret-word"  # noqa: S105 - to be looked for
SASL = {"PAYMENTS_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "PAYMENTS_SASL_USERNAME": "u"}


@pytest.mark.parametrize(
    "environment",
    [
        {"PAYMENTS_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "PAYMENTS_SASL_PASSWORD": SECRET},
        {"PAYMENTS_SASL_PASSWORD": SECRET, "PAYMENTS_WINDOW_SECONDS": "1e9"},
        {"PAYMENTS_SASL_PASSWORD": SECRET, "PAYMENTS_SASL_PASSWORD_FILE": "/there"},
        {"PAYMENTS_SASL_OAUTH_CLIENT_SECRET": SECRET, "PAYMENTS_PARTITIONS": "0"},
        {"PAYMENTS_SSL_KEY_PASSWORD": SECRET, "PAYMENTS_RETENTION_SECONDS": "1"},
        {"PAYMENTS_SASL_OAUTH_TOKEN_ENDPOINT": f"https://u:{SECRET}@host/"},
    ],
)
def test_no_error_of_settings_shows_a_secret(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = run("topics", "plan", environment=environment)
    assert failed.exit_code == 1
    assert SECRET not in failed.output
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert SECRET not in f"{error.value}{error.value!r}"


@pytest.mark.parametrize("name", SECRETS)
def test_no_text_of_the_settings_shows_a_secret(name: str) -> None:
    settings = Settings.model_validate({name: SECRET})
    assert settings.secret(name) == SECRET
    assert SECRET not in f"{settings}{settings!r}{settings.model_dump()}"


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("written", ["{}", "{}\n", "{}\r\n", "\ufeff{}\r\n"])
def test_every_secret_may_be_in_a_file(name: str, written: str, tmp_path: Path) -> None:
    """As editors write it: with a line break at its end, or a byte order mark at its start."""
    file = tmp_path / "secret"
    file.write_bytes(written.format(SECRET).encode())
    assert Settings.model_validate({f"{name}_file": file}).secret(name) == SECRET


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe" + SECRET.encode()])
def test_a_file_without_a_secret_is_told_by_its_variable(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    environment = {**SASL, "PAYMENTS_SASL_PASSWORD_FILE": str(file)}
    failed = run("topics", "plan", environment=environment)
    assert failed.exit_code == 1
    line = failed.stderr.splitlines()[-1]
    assert f"PAYMENTS_SASL_PASSWORD_FILE: {file}" in line
    assert SECRET not in line


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate and its key, encrypted with the secret."""
    folder = tmp_path_factory.mktemp("encrypted")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-days", "2", "-subj", "/CN=client", "-passout", f"pass:{SECRET}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def with_key(encrypted: tuple[Path, Path], **values: object) -> Settings:
    certificate, key = encrypted
    given = {"security_protocol": "SSL", "ssl_certfile": certificate, "ssl_keyfile": key}
    return Settings.model_validate(given | values)


def test_an_encrypted_key_is_opened_with_its_password(encrypted: tuple[Path, Path]) -> None:
    assert with_key(encrypted, ssl_key_password=SecretStr(SECRET)).ssl_context() is not None


@pytest.mark.parametrize(("given", "told"), [(None, "no password is set"), ("wrong", "another")])
def test_an_encrypted_key_never_asks_at_the_terminal(
    encrypted: tuple[Path, Path], given: str | None, told: str
) -> None:
    settings = with_key(encrypted, ssl_key_password=given)
    with pytest.raises(SettingsError, match=told) as error:
        settings.ssl_context()
    assert "PAYMENTS_SSL_KEY_PASSWORD" in str(error.value)
    assert str(encrypted[1]) in str(error.value)


def test_a_file_of_certificates_that_is_none_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    for content in (None, "no certificate"):
        if content is not None:
            missing.write_text(content)
        with pytest.raises(SettingsError, match=f"PAYMENTS_SSL_CAFILE: {missing}"):
            Settings(security_protocol="SSL", ssl_cafile=missing).ssl_context()


COMMANDS = (
    ["get", "p1"],
    ["make", "p1", "--account", "a", "--amount-minor", "1"],
    ["account", "a"],
    ["watch", "p1"],
    ["doctor"],
    ["verify"],
    ["topics", "plan"],
    ["topics", "check"],
    ["dead-letters", "list"],
    ["journal", "inspect"],
    ["rebuild"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_tells_of_a_file_that_is_missing_in_one_line(
    command: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "missing"
    environment = {**SASL, "PAYMENTS_SASL_PASSWORD_FILE": str(file)}
    failed = run(*command, environment=environment)
    # Of ``verify``, 1 would say that a guarantee does not hold.
    assert failed.exit_code == (2 if command == ["verify"] else 1), failed.output
    assert "Traceback" not in failed.output
    assert f"PAYMENTS_SASL_PASSWORD_FILE: {file}" in failed.output


@pytest.mark.parametrize("command", [["gateway", "--port", "0"], ["worker"]], ids=" ".join)
def test_a_process_that_cannot_read_a_secret_ends_with_one_line(
    command: list[str], tmp_path: Path
) -> None:
    environment = {**os.environ, **SASL, "PAYMENTS_SASL_PASSWORD_FILE": str(tmp_path)}
    failed = subprocess.run(
        [sys.executable, "-m", "payments.cli", *command],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert failed.returncode == 1
    line = f"Error: PAYMENTS_SASL_PASSWORD_FILE: {tmp_path} can't be read: Is a directory"
    assert failed.stderr.splitlines() == [line]
