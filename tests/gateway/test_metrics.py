"""Metrics of a gateway: its requests, and that its clients' port never serves them."""

import asyncio
import urllib.request
from http import HTTPStatus

import pytest
from prometheus_client.parser import text_string_to_metric_families

from payments.client import PaymentsClient
from payments.gateway.app import Gateway
from payments.gateway.gateway_metrics import FAMILIES, serve
from payments.gateway.settings import GatewaySettings
from payments.process import build
from payments.process.metric_family import MetricsError
from tests.gateway.fake_service import FakeService
from tests.gateway.running import running, until
from tools.dev.ports import HOST, free_ports

GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        return str(answer.read().decode())


def value(text: str, sample: str) -> float:
    [line] = [line for line in text.splitlines() if line.rpartition(" ")[0] == sample]
    return float(line.rpartition(" ")[2])


async def test_requests_are_counted_by_route_and_status(fake: FakeService) -> None:
    address = f"{HOST}:{free_ports(1)[0]}"
    async with running(fake, metrics_address=address) as run:
        await run.exchange(GET % b"/health/live")
        await run.exchange(GET % b"/a-path-of-the-clients-own")
        await run.exchange(b"INVENTED /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        text = scrape(address)
    requests = "payments_gateway_requests_total"
    assert value(text, f'{requests}{{method="GET",route="/health/live",status="200"}}') == 1
    assert value(text, f'{requests}{{method="GET",route="none",status="404"}}') == 1
    assert "of-the-clients-own" not in text
    assert "INVENTED" not in text
    assert value(text, 'payments_gateway_request_seconds_count{route="/health/live"}') == 1
    assert value(text, 'payments_gateway_refused_total{problem="bad-http"}') == 1
    assert value(text, "payments_gateway_in_flight") == 0
    assert value(text, "payments_gateway_ready") == 1


async def test_readiness_is_that_of_the_last_look(fake: FakeService) -> None:
    address = f"{HOST}:{free_ports(1)[0]}"
    fake.is_healthy = False
    async with running(fake, metrics_address=address) as run:
        assert value(scrape(address), "payments_gateway_ready") == 0
        fake.is_healthy = True
        await until(lambda: value(scrape(address), "payments_gateway_ready") == 1)
        run.server.stop()
        await run.ended
        assert value(scrape(address), "payments_gateway_ready") == 0, "it has stopped"


async def test_a_scrape_works_with_the_real_client(service: PaymentsClient) -> None:
    """Its readiness is known in its event loop only; a scrape comes from another thread."""
    address = f"{HOST}:{free_ports(1)[0]}"
    async with running(service, metrics_address=address):
        assert value(await asyncio.to_thread(scrape, address), "payments_gateway_ready") == 1


@pytest.mark.parametrize("compiled", [True, False])
async def test_the_build_is_that_of_the_version_option(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    monkeypatch.setattr(build, "is_compiled", lambda: compiled)
    address = f"{HOST}:{free_ports(1)[0]}"
    async with running(fake, metrics_address=address):
        found = {each.name: each for each in text_string_to_metric_families(scrape(address))}
    [sample] = found["payments_build_info"].samples
    assert sample.labels["compiled"] == str(compiled).lower()


async def test_each_family_of_the_page_is_in_a_scrape_and_no_other(fake: FakeService) -> None:
    address = f"{HOST}:{free_ports(1)[0]}"
    async with running(fake, metrics_address=address) as run:
        await run.exchange(GET % b"/health/live")
        await run.exchange(b"no HTTP\r\n\r\n")
        found = {each.name: each for each in text_string_to_metric_families(scrape(address))}
    assert set(found) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        assert found[family.name].type == family.kind, family.name
        assert found[family.name].samples, f"{family.name} was seen with a value"
        for sample in found[family.name].samples:
            assert set(sample.labels) - {"le"} == set(family.labels), family.name


async def test_the_port_of_the_clients_has_no_metrics(fake: FakeService) -> None:
    address = f"{HOST}:{free_ports(1)[0]}"
    async with running(fake, metrics_address=address) as run:
        [(status, _, body)] = await run.exchange(GET % b"/metrics")
    assert status == HTTPStatus.NOT_FOUND
    assert b"payments_gateway" not in body


async def test_what_is_shed_is_counted(fake: FakeService) -> None:
    address = f"{HOST}:{free_ports(1)[0]}"
    async with running(fake, metrics_address=address, max_streams=0) as run:
        [(status, _, _)] = await run.exchange(GET % b"/v1/payments/p1/events")
        text = scrape(address)
    assert status == HTTPStatus.TOO_MANY_REQUESTS
    assert value(text, 'payments_gateway_shed_total{what="request"}') == 1
    assert value(text, 'payments_gateway_shed_total{what="connection"}') == 0


def test_an_address_in_use_is_named_with_the_setting(fake: FakeService) -> None:
    gateway = Gateway(fake, GatewaySettings())
    port = serve(gateway, lambda: 0, f"{HOST}:0")
    with pytest.raises(MetricsError, match=f"{HOST}:{port}.*PAYMENTS_GATEWAY_METRICS_ADDRESS"):
        serve(gateway, lambda: 0, f"{HOST}:{port}")
