"""The gateway over the whole application embedded: no broker, no port."""

from collections.abc import AsyncIterator

import httpx
import pytest

from payments.client import LogTransport, PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.settings import GatewaySettings
from payments.testing import PaymentsTestbed

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
def gateway(service: PaymentsClient) -> Gateway:
    return Gateway(service, GatewaySettings(), default_currency="EUR")


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(gateway)  # type: ignore[arg-type] # its types are looser
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
