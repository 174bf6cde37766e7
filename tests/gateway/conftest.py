"""The gateway over the whole application embedded: no broker, no port."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from payments.client import LogTransport, PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.testing import PaymentsTestbed
from tests.gateway.fake_service import FakeService

OPENING = 100_000


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=OPENING) as running:
        yield running


@pytest.fixture
async def service(testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    transport = LogTransport(testbed.log)
    async with PaymentsClient(settings=testbed.settings, transport=transport) as opened:
        yield opened


@pytest.fixture
async def fake() -> FakeService:
    return FakeService()


@pytest.fixture
def gateway(service: PaymentsClient) -> Gateway:
    return Gateway(service, GatewaySettings())


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Return the body of a problem, after a look at what every problem must have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["type"]) == (status, f"/problems/{slug}"), body
    assert body["title"]
    assert body["detail"]
    return body
