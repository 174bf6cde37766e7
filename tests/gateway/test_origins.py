"""Pages of other origins and other names of this machine can't move money.

Of the same kind: ``text/plain`` bodies (``test_http_forms``) and tokens (``test_tokens``).
"""

from typing import Any

import httpx
import pytest

from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from tests.gateway.conftest import problem
from tests.gateway.fake_service import FakeService

CANCEL, HOST = "/v1/payments/p1/cancel", "localhost:8080"
SHOP = "https://shop.example.com"


def client(fake: FakeService, **settings: Any) -> httpx.AsyncClient:
    fake.release.set()
    gateway = Gateway(fake, GatewaySettings.model_validate(settings))
    transport = httpx.ASGITransport(gateway)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"http://{HOST}"},
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    ],
)
@pytest.mark.parametrize("path", [CANCEL, "/payments/p1/cancelPayment"])
async def test_a_command_of_another_origin_is_refused(
    fake: FakeService, headers: dict[str, str], path: str
) -> None:
    http = client(fake)
    problem(await http.post(path, headers=headers), 403, "cross-origin")
    assert fake.sent == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": f"http://{HOST}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://pay.example.com"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_programs_and_pages_of_allowed_origins_are_served(
    fake: FakeService, headers: dict[str, str]
) -> None:
    http = client(fake, allowed_origins=SHOP)
    assert (await http.post(CANCEL, headers=headers)).status_code in (200, 409)


async def test_a_page_of_an_allowed_origin_may_ask_and_read(fake: FakeService) -> None:
    http = client(fake, allowed_origins=f"{SHOP}, https://other.example")
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    preflight = await http.options(CANCEL, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == SHOP
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    made = await http.post("/v1/payments/p1", json={"account": "abc", "amount": 1}, headers=asked)
    assert (made.status_code, made.headers["access-control-allow-origin"]) == (200, SHOP)
    other = await http.options(CANCEL, headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    problem(other, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "1.2.3.4.example"]
)
async def test_a_name_that_is_not_ours_is_refused(fake: FakeService, host: str) -> None:
    http = client(fake)
    refused = await http.post(CANCEL, headers={"Host": host, "Origin": f"http://{host}"})
    assert "PAYMENTS_GATEWAY_ALLOWED_HOSTS" in problem(refused, 421, "wrong-host")["detail"]
    problem(await http.get("/v1/payments/p1", headers={"Host": host}), 421, "wrong-host")
    assert fake.sent == []
    assert (await http.get("/health/live", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "gw", "gateway:8080",
     "pay.example.com", "pay.example.com:443", "a.b.internal.example", "app.localhost:3000"],
)  # fmt: skip
async def test_a_name_that_nobody_else_can_have_or_that_is_set_is_served(
    fake: FakeService, host: str
) -> None:
    http = client(fake, allowed_hosts="pay.example.com,*.internal.example")
    assert (await http.get("/v1/accounts/abc", headers={"Host": host})).status_code == 200


async def test_any_name_can_be_allowed(fake: FakeService) -> None:
    http = client(fake, allowed_hosts="*")
    response = await http.get("/v1/accounts/abc", headers={"Host": "any.example"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),  # noqa: S104 - what is tested
        ({"host": "::"}, True),
        ({"host": "pay.example.com"}, True),
        ({"host": "0.0.0.0", "tokens": "a-token-for-the-tests-1"}, False),  # noqa: S104
    ],
)
def test_the_gateway_knows_when_everybody_can_use_it(
    settings: dict[str, str], is_open: bool
) -> None:
    assert GatewaySettings.model_validate(settings).is_open_to_others is is_open


@pytest.mark.parametrize("origin", ["shop.example.com", "https://", "ftp://a", "https://a/b"])
def test_an_origin_that_is_none_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValueError, match="an origin is a scheme and a host"):
        GatewaySettings.model_validate({"allowed_origins": origin})
