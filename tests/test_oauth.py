"""Tokens for OAUTHBEARER: asked for once, renewed before they expire, refused in clear words.

``tests/broker/test_security.py`` tries them on a broker that demands them.
"""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError
from pydantic import SecretStr

from exactstage.outage import Outage
from payments.connection.oauth import KEPT_SHARE, ClientCredentials
from payments.settings import Settings, SettingsError

SECRET = "an-oauth-secret"  # noqa: S105 - to be looked for
Answer = tuple[int, bytes]


class Endpoint:
    """A token endpoint; ``answers`` are given one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [token("t1")]
        self.asked: list[tuple[str | None, dict[str, list[str]]]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                endpoint.asked.append((self.headers["authorization"], parse_qs(form)))
                left = endpoint.answers
                status, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def token(text: str, expires_in: object = 300) -> Answer:
    return 200, json.dumps({"access_token": text, "expires_in": expires_in}).encode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


@pytest.fixture
def provider(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> ClientCredentials:
    monkeypatch.setattr("payments.connection.oauth.PAUSES_SECONDS", (0.0, 0.0))
    return ClientCredentials(endpoint.url, "the id", SECRET, scope="kafka")


async def test_a_token_is_asked_for_once_by_client_credentials(
    endpoint: Endpoint, provider: ClientCredentials
) -> None:
    assert await asyncio.gather(*[provider.token() for _ in range(5)]) == ["t1"] * 5
    [(authorization, form)] = endpoint.asked
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    assert authorization is not None
    identity = base64.b64decode(authorization.removeprefix("Basic ")).decode()
    assert identity == f"the+id:{SECRET}"


async def test_a_token_is_renewed_before_it_expires(
    endpoint: Endpoint, provider: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("payments.connection.oauth.time.monotonic", lambda: now)
    endpoint.answers = [token("t1", 100), token("t2", 100)]
    assert await provider.token() == "t1"
    now += 100 * KEPT_SHARE - 1
    assert await provider.token() == "t1"
    now += 2
    assert await provider.token() == "t2"


async def test_a_token_is_used_to_its_end_while_its_endpoint_is_away(
    endpoint: Endpoint,
    provider: ClientCredentials,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0
    monkeypatch.setattr("payments.connection.oauth.time.monotonic", lambda: now)
    monkeypatch.setattr("payments.connection.oauth.OUTAGE", Outage())
    endpoint.answers = [token("t1", 100), (503, b"")]
    assert await provider.token() == "t1"
    now += 100 * KEPT_SHARE + 1
    assert await provider.token() == "t1"
    asked = len(endpoint.asked)
    assert await provider.token() == "t1"
    assert len(endpoint.asked) == asked, "an endpoint that is away is not asked by each connection"
    assert f"{endpoint.url} gives no token (status 503); the last one is valid for" in caplog.text
    now += 100
    with pytest.raises(KafkaConnectionError, match="status 503"):
        await provider.token()
    endpoint.answers = [token("t2", 100)]
    assert await provider.token() == "t2"


async def test_what_fails_for_a_moment_is_tried_again(
    endpoint: Endpoint, provider: ClientCredentials
) -> None:
    endpoint.answers = [(503, b""), (429, b"{}"), token("t1")]
    assert await provider.token() == "t1"
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, b'{"error": "invalid_client"}'), "status 401, invalid_client"),
        ((400, b'{"error": "invalid_scope"}'), "status 400, invalid_scope"),
        ((404, b"<html>"), "status 404"),
        ((200, b"<html>"), "no JSON object"),
        ((200, b'{"token": "x"}'), "no access_token"),
        (token("t1", "soon"), "expires_in"),
    ],
)
async def test_a_refusal_is_told_at_once_without_the_secret(
    endpoint: Endpoint, provider: ClientCredentials, answer: Answer, told: str
) -> None:
    endpoint.answers = [answer]
    with pytest.raises(AuthenticationFailedError, match=told) as refused:
        await provider.token()
    assert len(endpoint.asked) == 1
    assert endpoint.url in str(refused.value)
    assert SECRET not in str(refused.value)


async def test_an_endpoint_that_does_not_answer_is_given_up(
    endpoint: Endpoint, provider: ClientCredentials
) -> None:
    endpoint.answers = [(500, b"")]
    with pytest.raises(KafkaConnectionError, match="status 500"):
        await provider.token()
    assert len(endpoint.asked) == 3
    nobody = ClientCredentials("http://127.0.0.1:1/token", "id", SECRET)
    with pytest.raises(KafkaConnectionError, match="gives no token"):
        await nobody.token()


async def test_the_secret_follows_no_redirect(
    endpoint: Endpoint, provider: ClientCredentials
) -> None:
    endpoint.answers = [(302, b"")]
    with pytest.raises(KafkaConnectionError, match="status 302"):
        await provider.token()


class OwnProvider(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """A user's own."""

    async def token(self) -> str:
        """Return the same for ever."""
        return "own"


OWN_PROVIDER = OwnProvider()


def oauth(**values: object) -> Settings:
    given: dict[str, object] = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "OAUTHBEARER",
    }
    return Settings.model_validate(given | values)


@pytest.mark.parametrize("name", ["OwnProvider", "OWN_PROVIDER"])
async def test_a_provider_of_the_users_own_is_named_by_its_path(name: str) -> None:
    made = oauth(sasl_oauth_provider=f"{__name__}:{name}").connection()
    assert await made["sasl_oauth_token_provider"].token() == "own"


def not_a_provider() -> object:
    return object()


@pytest.mark.parametrize("name", ["no_such:x", f"{__name__}:no", f"{__name__}:not_a_provider"])
def test_a_provider_that_is_none_is_told(name: str) -> None:
    settings = oauth(sasl_oauth_provider=name)
    with pytest.raises(SettingsError, match="PAYMENTS_SASL_OAUTH_PROVIDER"):
        settings.connection()


def test_the_settings_make_the_provider(endpoint: Endpoint) -> None:
    made = oauth(
        sasl_oauth_token_endpoint=endpoint.url,
        sasl_oauth_client_id="id",
        sasl_oauth_client_secret=SecretStr(SECRET),
    )
    assert isinstance(made.connection()["sasl_oauth_token_provider"], ClientCredentials)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sasl_oauth_token_endpoint": "https://x/", "sasl_oauth_client_id": "id"},
        {
            "sasl_oauth_provider": "a:b",
            "sasl_oauth_token_endpoint": "https://x/",
            "sasl_oauth_client_id": "id",
            "sasl_oauth_client_secret": SECRET,
        },
        {"sasl_oauth_token_endpoint": "file:///etc/passwd"},
        {"sasl_oauth_token_endpoint": f"https://id:{SECRET}@x/"},
    ],
)
def test_settings_of_tokens_are_whole_and_one_way(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"OAUTHBEARER needs|sasl_oauth_token_endpoint") as error:
        oauth(**values)
    assert SECRET not in str(error.value)
