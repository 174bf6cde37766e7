"""Tokens with names and scopes: who may do what, whose name is kept, and how the file is read."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from payments.client import PaymentsClient
from payments.gateway import server as servers
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.gateway.tokens_file import SCOPES, TokensFileError
from payments.testing import PaymentsTestbed
from tests.gateway.conftest import problem
from tests.gateway.fake_service import FakeService
from tests.gateway.running import running, until

MOVEMENT = {"account": "abc", "amount": 100}
TOKENS = {scope: f"the-token-that-may-{scope}" for scope in SCOPES}


def table(name: str, token: str, scopes: list[str], *, digest: bool = True) -> str:
    line = f'token = "{token}"'
    if digest:
        line = f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"'
    return f"[{name}]\n{line}\nscopes = {scopes}\n\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text("".join(table(f"may-{s}", TOKENS[s], [s], digest=s != PLAIN) for s in SCOPES))
    return path


def put(file: Path, text: str | None) -> None:
    """Give the file this text, or take it away."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


PLAIN = "pay"
"""The scope whose token stands in the file as it is."""


@pytest.fixture
def gateway(fake: FakeService, file: Path) -> Gateway:
    fake.release.set()
    return Gateway(fake, GatewaySettings(tokens_file=file))


@pytest.fixture
def http(gateway: Gateway) -> httpx.AsyncClient:
    return client_of(gateway)


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(gateway)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


REQUESTS: list[tuple[str, str, Any, set[str]]] = [
    ("POST", "/v1/payments/p1", MOVEMENT, {"pay"}),
    ("POST", "/v1/payments/p1/cancel", None, {"pay"}),
    ("POST", "/v1/payments/p1/authorize", MOVEMENT, {"pay"}),
    ("POST", "/v1/payments/p1/capture", None, {"pay"}),
    ("POST", "/v1/payments/p1/void", None, {"pay"}),
    ("POST", "/v1/payments/p1/refunds/r1", None, {"refund"}),
    ("POST", "/payments/p1/makePayment", {"accountId": "abc", "amount": 1}, {"pay"}),
    ("POST", "/payments/p1/cancelPayment", None, {"pay"}),
    ("POST", "/v1/deposits/p1", MOVEMENT, {"deposit"}),
    ("GET", "/v1/payments/p1", None, {"read"}),
    ("HEAD", "/v1/accounts/abc", None, {"read"}),
    ("GET", "/v1/accounts/abc/entries", None, {"read"}),
    ("GET", "/v1/payments/p1/commands/c", None, {"read", "pay", "deposit", "refund"}),
    ("GET", "/v1/accounts/abc/commands/c", None, {"read", "accounts"}),
]


@pytest.mark.parametrize(("method", "path", "body", "allowed"), REQUESTS)
async def test_a_token_may_do_what_its_scopes_say(
    http: httpx.AsyncClient, method: str, path: str, body: Any, allowed: set[str]
) -> None:
    for scope, token in TOKENS.items():
        response = await http.request(method, path, json=body, headers=bearer(token))
        if scope in allowed | {"admin"}:
            assert response.status_code in (200, 404), (scope, response.text)
        else:
            assert response.status_code == 403
            assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
            if method != "HEAD":
                found = problem(response, 403, "forbidden")
                assert set(found["scope"].split(" or ")) == allowed
                assert f"may-{scope}" in found["detail"]
    refused = await http.request(method, path, json=body)
    assert refused.status_code == 401
    if method != "HEAD":
        assert set(problem(refused, 401, "unauthorized")["scope"].split(" or ")) == allowed


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("open", None),
        ("freeze", None),
        ("unfreeze", None),
        ("close", None),
        ("limit", {"credit_limit": 5}),
    ],
)
async def test_commands_for_accounts_have_a_scope_of_their_own(
    file: Path, command: str, body: Any
) -> None:
    path = f"/v1/accounts/abc/{command}"
    async with PaymentsTestbed() as testbed, testbed.client() as service:
        await service.open_account("abc")
        http = client_of(Gateway(service, GatewaySettings(tokens_file=file)))
        for scope, token in TOKENS.items():
            response = await http.post(path, json=body, headers=bearer(token))
            if scope in {"accounts", "admin"}:
                assert response.status_code == 200, response.text
            else:
                assert problem(response, 403, "forbidden")["scope"] == "accounts"


SLIPS: list[tuple[str | None, str]] = [
    ("not TOML", ", line 1: not TOML: "),
    ("\n\n" + table("a", "short", ["read"], digest=False), ", line 3: [a]: a token must have"),
    (None, ": No such file or directory"),
]


@pytest.mark.parametrize(("slip", "why"), SLIPS)
async def test_a_slip_is_told_once_and_the_tokens_from_before_stay_in_force(  # noqa: PLR0917 - fixtures
    gateway: Gateway, http: httpx.AsyncClient, file: Path, caplog: pytest.LogCaptureFixture,
    slip: str | None, why: str,
) -> None:  # fmt: skip
    put(file, slip)
    for _ in range(3):
        gateway.tokens.check_file()
    [told] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.levelname == "WARNING"
    assert f"{file}{why}" in told.getMessage()
    assert told.getMessage().endswith(f"; the tokens from before ({len(SCOPES)}) stay in force")
    response = await http.get("/v1/accounts/abc", headers=bearer(TOKENS["read"]))
    assert response.status_code == 200


async def test_the_file_is_read_again_when_it_changes(
    gateway: Gateway, http: httpx.AsyncClient, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    new = "a-token-that-came-later"

    async def status(token: str) -> int:
        gateway.tokens.check_file()
        return (await http.get("/v1/accounts/abc", headers=bearer(token))).status_code

    assert (await status(TOKENS["read"]), await status(new)) == (200, 401)
    # As some editors write it: with a byte order mark, and the line ends of another system.
    put(file, "\ufeff" + table("later", new, ["read", "pay"]).replace("\n", "\r\n"))
    os.utime(file, ns=(1, 1))
    assert (await status(TOKENS["read"]), await status(new)) == (401, 200)
    assert f"tokens of {file}: later (pay, read)" in caplog.text
    assert not any(token in caplog.text for token in (*TOKENS.values(), new))


async def test_a_running_gateway_notices_a_change_without_any_request(
    fake: FakeService, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(servers, "TICKS_PER_SWEEP", 1)
    async with running(fake, tokens_file=file):
        put(file, "[a")
        await until(lambda: "line 1: not TOML" in caplog.text)
        assert caplog.text.count("stay in force") == 1


@pytest.mark.parametrize("nothing", ["", "# all are gone\n", "\ufeff"])
async def test_without_any_token_nobody_is_let_in_so_it_does_not_start(  # noqa: PLR0917 - fixtures
    fake: FakeService, gateway: Gateway, http: httpx.AsyncClient, file: Path, nothing: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """In a running gateway it takes every token back, which needs no restart; that is told."""
    put(file, nothing)
    with pytest.raises(TokensFileError, match=f"{file}: there is no token in it, so every request"):
        Gateway(fake, GatewaySettings(tokens_file=file))
    gateway.tokens.check_file()
    gateway.tokens.check_file()
    assert caplog.text.count("there is no token in it any more: every request is refused") == 1
    response = await http.get("/v1/accounts/abc", headers=bearer(TOKENS["admin"]))
    problem(response, 401, "unauthorized")
    listed = GatewaySettings.model_validate({"tokens_file": file, "tokens": TOKENS["read"]})
    Gateway(fake, listed)


def test_what_others_may_do_with_the_file_is_warned_of(
    fake: FakeService, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = GatewaySettings(tokens_file=file)
    file.chmod(0o600)
    Gateway(fake, settings)
    assert caplog.text == ""
    file.chmod(0o606)
    if os.geteuid() == 0:
        os.chown(file, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    Gateway(fake, settings)
    for told in ("may change it, and so add tokens: chmod", "its owner, user", "may read the tok"):
        assert caplog.text.count(told) == 1
    assert not any(token in caplog.text for token in TOKENS.values())


def a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_directory, "a directory"),
        (a_pipe, "no regular file"),
        (a_loop, "Too many levels of symbolic links"),
        (Path.unlink, "No such file or directory"),
        (lambda file: file.write_bytes(b"x" * 2_000_000), "more than 1,048,576 bytes"),
        (lambda file: file.write_bytes("[a]".encode("utf-16")), "not UTF-8 but UTF-16"),
        (lambda file: file.write_bytes(b"[a]\n\n# \xe4"), "not UTF-8: save it as UTF-8"),
    ],
)
def test_what_is_no_file_of_text_is_refused_at_the_start(
    fake: FakeService, file: Path, make: Callable[[Path], object], why: str
) -> None:
    make(file)
    with pytest.raises(TokensFileError, match=why):
        Gateway(fake, GatewaySettings(tokens_file=file))


def test_a_file_that_may_not_be_read_is_refused_with_who_may_not(
    fake: FakeService, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(TokensFileError, match=f"user {os.geteuid()}, may not read it"):
        Gateway(fake, GatewaySettings(tokens_file=file))


@pytest.mark.parametrize("name", ["token-1", "other"])
def test_a_listed_token_and_its_name_are_not_in_the_file_too(
    fake: FakeService, file: Path, name: str
) -> None:
    token = "a-token-that-is-listed" if name == "other" else "a-token-of-the-file"
    put(file, table(name, token, ["read"]))
    settings = {"tokens_file": file, "tokens": "a-token-that-is-listed"}
    with pytest.raises(TokensFileError, match=f"line 1: .{name}.: "):
        Gateway(fake, GatewaySettings.model_validate(settings))
    with pytest.raises(ValueError, match="one token is given twice"):
        GatewaySettings.model_validate({"tokens": "the-very-same-token,the-very-same-token"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a]\nscopes = ['read']", "token or sha256"),
        ("[a]\ntoken = 'x'\nsha256 = 'y'\nscopes = ['read']", "token or sha256"),
        ("[a]\ntoken = 'short-secret'\nscopes = ['read']", "16 to 512"),
        ("[a]\nsha256 = 'abc'\nscopes = ['read']", "64 hexadecimal"),
        (
            f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['write']",
            "line 1: .a.: there is no scope 'write': scopes is a list of read, ",
        ),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = []", "scopes is a list of"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = 'read'", "scopes is a list of"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['read']\nscope = 1", "nothing else"),
        (f"['a b']\nsha256 = '{'0' * 64}'\nscopes = ['read']", "a name is"),
        ("a = 1", "nothing else"),
        ("[a", "line 1: not TOML"),
        ("# shop\r\n\r\n[a]\r\nscopes = [", "not TOML"),
        ("[a]\n[b]\n[a]\n", "line 3: not TOML: Cannot declare"),
        ("a.b.scopes = 1", "line 1: .a.: a token has"),
        ("a = " + "[" * 9999, "not TOML"),
        (
            table("a", "one-token-for-two-names", ["read"])
            + table("b", "one-token-for-two-names", ["pay"]),
            "line 5: .b.: the same token as .a.",
        ),
    ],
)
async def test_a_file_that_is_wrong_is_refused_at_the_start_without_showing_a_token(
    fake: FakeService, file: Path, text: str, why: str
) -> None:
    put(file, text)
    with pytest.raises(TokensFileError, match=why) as caught:
        Gateway(fake, GatewaySettings(tokens_file=file))
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_record_of_a_command_says_who_sent_it_and_never_the_token(
    testbed: PaymentsTestbed, service: PaymentsClient, file: Path
) -> None:
    settings = GatewaySettings(tokens_file=file)
    http = client_of(Gateway(service, settings))
    headers = bearer(TOKENS["pay"])
    await http.post("/v1/payments/p1", json=MOVEMENT, headers=headers)
    later = {**headers, "Prefer": "respond-async, wait=5"}
    await http.post("/v1/payments/p2", json=MOVEMENT, headers=later)
    records = testbed.records("payments.commands")
    assert [list(record.headers) for record in records] == [[("payments_client", b"may-pay")]] * 2
    assert not any(TOKENS["pay"] in repr(record) for record in records)


async def test_without_tokens_a_record_has_no_header(
    testbed: PaymentsTestbed, http_open: httpx.AsyncClient
) -> None:
    await http_open.post("/v1/payments/p1", json=MOVEMENT)
    assert [list(record.headers) for record in testbed.records("payments.commands")] == [[]]


@pytest.fixture
def http_open(service: PaymentsClient) -> httpx.AsyncClient:
    return client_of(Gateway(service, GatewaySettings()))


async def test_the_access_log_has_a_line_for_each_request_and_no_secret(
    service: PaymentsClient, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = GatewaySettings(tokens_file=file, access_log=True)
    http = client_of(Gateway(service, settings))
    made = await http.post("/v1/payments/p1", json=MOVEMENT, headers=bearer(TOKENS["pay"]))
    await http.get("/v1/accounts/abc?secret=1", headers=bearer("nobody-knows-this-token"))
    await http.get("/nothing", headers=bearer(TOKENS["read"]))
    out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    first, second, third = lines
    assert first["ms"] >= 0
    assert (first["method"], first["route"], first["status"]) == (
        "POST", "/v1/payments/{payment}", 200,
    )  # fmt: skip
    assert (first["token"], first["payment"]) == ("may-pay", "p1")
    assert first["command"] == made.json()["command"]
    assert (second["route"], second["status"], second["token"]) == (
        "/v1/accounts/{account}",
        401,
        None,
    )
    assert (third["route"], third["status"]) == (None, 404)
    assert not any(token in out for token in (*TOKENS.values(), "nobody-knows", "secret"))


def test_the_listed_tokens_may_do_everything_as_before(fake: FakeService) -> None:
    settings = GatewaySettings.model_validate({"tokens": "a-token-for-the-tests-1"})
    assert settings.needs_tokens
