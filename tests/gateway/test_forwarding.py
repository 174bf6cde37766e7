"""Behind a proxy that takes a part of the path away, every link has it.

``test_clients`` has a real nginx in front; ``test_origins`` says which hosts are served.
"""

from typing import Any

import httpx
import pytest

from payments.client import PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings

MOVEMENT = {"account": "abc", "amount": 1}
ASYNC = {"Prefer": "respond-async"}


def client(service: Any, **settings: str) -> httpx.AsyncClient:
    gateway = Gateway(service, GatewaySettings.model_validate(settings))
    transport = httpx.ASGITransport(gateway, client=("10.0.0.7", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def links(http: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    """Return every address that the gateway gives of itself."""
    taken = await http.post("/v1/payments/p1", json=MOVEMENT, headers=headers | ASYNC)
    keyed = await http.post(
        "/v1/payments", json=MOVEMENT, headers=headers | {"Idempotency-Key": '"k"'}
    )
    page = await http.get("/v1/accounts/abc/entries?limit=1", headers=headers)
    refused = await http.get("/v1/accounts/nobody", headers=headers)
    described = await http.get("/problems/declined", headers=headers)
    found = [keyed.headers["location"], page.json()["next"], page.headers["link"][1:]]
    found += [refused.json()["type"], described.json()["type"]]
    if taken.status_code == 202:
        found += [taken.headers["location"], taken.json()["location"]]
    return found


@pytest.mark.parametrize(
    ("settings", "headers", "prefix"),
    [
        ({}, {}, "/"),
        ({"root_path": "/pay"}, {}, "/pay/"),
        ({}, {"X-Forwarded-Prefix": "/evil"}, "/"),
        ({"trusted_proxies": "10.0.0.0/24"}, {"X-Forwarded-Prefix": "/pay/"}, "/pay/"),
        ({"trusted_proxies": "10.0.0.7"}, {"X-Forwarded-Prefix": "/spoofed, /pay"}, "/pay/"),
        ({"trusted_proxies": "10.0.0.7"}, {"X-Forwarded-Prefix": "//evil.example"}, "/"),
        ({"trusted_proxies": "10.0.0.7", "root_path": "/a"}, {"X-Forwarded-Prefix": "/b"}, "/b/"),
        ({"trusted_proxies": "10.1.0.0/16"}, {"X-Forwarded-Prefix": "/pay"}, "/"),
    ],
)
async def test_links_begin_with_the_path_of_the_proxy(
    service: PaymentsClient, settings: dict[str, str], headers: dict[str, str], prefix: str
) -> None:
    for link in await links(client(service, **settings), headers):
        assert link.startswith((f"{prefix}v1/", f"{prefix}problems/")), link


async def test_a_proxy_that_leaves_the_path_as_it_is_is_served_too(service: PaymentsClient) -> None:
    http = client(service, root_path="/pay")
    assert (await http.post("/pay/v1/payments/p1", json=MOVEMENT)).status_code == 200
    assert (await http.get("/v1/payments/p1")).status_code == 200
    assert (await http.get("/payments/v1/payments/p1")).status_code == 404


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "Forwarded"])
async def test_the_host_that_a_trusted_proxy_was_asked_for_is_that_of_the_page(
    service: PaymentsClient, header: str
) -> None:
    value = "pay.example.com" if header != "Forwarded" else 'for=1.2.3.4;host="pay.example.com"'
    headers = {header: value, "Origin": "https://pay.example.com"}
    settings = {"allowed_hosts": "pay.example.com"}
    trusting = client(service, trusted_proxies="10.0.0.7", **settings)
    assert (await trusting.post("/v1/payments/p1/cancel", headers=headers)).status_code == 200
    other = client(service, **settings)
    assert (await other.post("/v1/payments/p1/cancel", headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "settings", [{"root_path": "pay"}, {"root_path": "/pay/"}, {"trusted_proxies": "nginx"}]
)
def test_a_setting_that_is_none_is_refused_at_the_start(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        GatewaySettings.model_validate(settings)
