"""Tokens with names and scopes: who may do what, whose name is kept, and how the file is read."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from payments.client import PaymentsClient
from payments.gateway import tokens as module
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.gateway.tokens import SCOPES, TokensFileError
from payments.testing import PaymentsTestbed
from tests.gateway.conftest import problem
from tests.gateway.fake_service import FakeService

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
def http(fake: FakeService, file: Path) -> httpx.AsyncClient:
    fake.release.set()
    return client_of(Gateway(fake, GatewaySettings(tokens_file=file), default_currency="EUR"))


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(gateway)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


REQUESTS: list[tuple[str, str, Any, set[str]]] = [
    ("POST", "/v1/payments/p1", MOVEMENT, {"pay"}),
    ("POST", "/v1/payments/p1/cancel", None, {"pay"}),
    ("POST", "/payments/p1/makePayment", {"accountId": "abc", "amount": 1}, {"pay"}),
    ("POST", "/payments/p1/cancelPayment", None, {"pay"}),
    ("POST", "/v1/deposits/p1", MOVEMENT, {"deposit"}),
    ("GET", "/v1/payments/p1", None, {"read"}),
    ("HEAD", "/v1/accounts/abc", None, {"read"}),
    ("GET", "/v1/accounts/abc/entries", None, {"read"}),
    ("GET", "/v1/payments/p1/commands/c", None, {"read", "pay", "deposit"}),
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


async def test_the_file_is_read_again_when_it_changes_and_a_slip_changes_nothing(
    http: httpx.AsyncClient, file: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    monkeypatch.setattr(module, "monotonic", lambda: float("inf"))
    caplog.set_level(logging.INFO)
    new = "a-token-that-came-later"

    async def status(token: str) -> int:
        return (await http.get("/v1/accounts/abc", headers=bearer(token))).status_code

    assert (await status(TOKENS["read"]), await status(new)) == (200, 401)
    for slip in ("not TOML", "", table("a", "short", ["read"], digest=False), None):
        put(file, slip)
        expected = 401 if slip == "" else 200
        assert await status(TOKENS["read"]) == expected, slip
        if slip == "":
            put(file, table("may-read", TOKENS["read"], ["read"]))
            assert await status(TOKENS["read"]) == 200
    put(file, "\ufeff" + table("later", new, ["read"]))  # As some editors write it.
    os.utime(file, ns=(1, 1))
    assert (await status(TOKENS["read"]), await status(new)) == (401, 200)
    assert "stay valid" in caplog.text
    assert not any(token in caplog.text for token in (*TOKENS.values(), new))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a]\nscopes = ['read']", "token or sha256"),
        ("[a]\ntoken = 'x'\nsha256 = 'y'\nscopes = ['read']", "token or sha256"),
        ("[a]\ntoken = 'short-secret'\nscopes = ['read']", "16 to 512"),
        ("[a]\nsha256 = 'abc'\nscopes = ['read']", "64 hexadecimal"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['write']", "scopes is a list of"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = []", "scopes is a list of"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = 'read'", "scopes is a list of"),
        (f"[a]\nsha256 = '{'0' * 64}'\nscopes = ['read']\nscope = 1", "nothing else"),
        (f"['a b']\nsha256 = '{'0' * 64}'\nscopes = ['read']", "a name is"),
        ("a = 1", "nothing else"),
        ("[a", "not TOML"),
        (
            table("a", "one-token-for-two-names", ["read"])
            + table("b", "one-token-for-two-names", ["pay"]),
            "twice",
        ),
    ],
)
async def test_a_file_that_is_wrong_is_refused_at_the_start_without_showing_a_token(
    fake: FakeService, file: Path, text: str, why: str
) -> None:
    put(file, text)
    with pytest.raises(TokensFileError, match=why) as caught:
        Gateway(fake, GatewaySettings(tokens_file=file), default_currency="EUR")
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_record_of_a_command_says_who_sent_it_and_never_the_token(
    testbed: PaymentsTestbed, service: PaymentsClient, file: Path
) -> None:
    settings = GatewaySettings(tokens_file=file)
    http = client_of(Gateway(service, settings, default_currency="EUR"))
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
    return client_of(Gateway(service, GatewaySettings(), default_currency="EUR"))


async def test_the_access_log_has_a_line_for_each_request_and_no_secret(
    service: PaymentsClient, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = GatewaySettings(tokens_file=file, access_log=True)
    http = client_of(Gateway(service, settings, default_currency="EUR"))
    made = await http.post("/v1/payments/p1", json=MOVEMENT, headers=bearer(TOKENS["pay"]))
    await http.get("/v1/accounts/abc?secret=1", headers=bearer("nobody-knows-this-token"))
    await http.get("/nothing", headers=bearer(TOKENS["read"]))
    out = capsys.readouterr().out
    lines = [orjson.loads(line) for line in out.splitlines()]
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
