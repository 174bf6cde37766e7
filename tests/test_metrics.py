"""Metrics: what a worker's counts look like to Prometheus."""

import socket
import urllib.request

import pytest

from payments.settings import Settings
from payments.testing import PaymentsTestbed
from payments.worker.metrics import MetricsError, serve

pytest_plugins = ["payments.pytest_plugin"]

MAKE = {"type": "make", "account": "abc", "amount": 100}


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


async def test_counts_are_served_as_they_are_at_each_scrape(
    payments_testbed: PaymentsTestbed,
) -> None:
    port = serve(payments_testbed.app.engine.counts, "127.0.0.1:0")
    before = scrape(port)
    assert before["payments_owned_partitions"] == payments_testbed.settings.partitions
    assert before['payments_records_handled_total{stage="payments"}'] == 0
    await payments_testbed.send("p1", MAKE)
    await payments_testbed.send("p2", {"type": "nonsense"})
    after = scrape(port)
    assert after['payments_records_handled_total{stage="payments"}'] == 3
    assert after['payments_records_handled_total{stage="accounts"}'] == 1
    assert after['payments_rows{stage="payments"}'] == 1
    assert after['payments_dead_letters_total{reason="unknown_type",stage="payments"}'] == 1
    assert after["payments_groups_total"] >= after["payments_journal_appends_total"] > 0


def test_an_address_of_ipv6_is_given_as_in_a_url() -> None:
    """Others: of brokers in ``tests/test_settings.py``, of a gateway in ``tests/gateway``."""
    settings = Settings(metrics_address="[::1]:0")
    port = serve(lambda: pytest.fail("nobody asks"), settings.metrics_address or "")
    with socket.create_connection(("::1", port)):
        pass


def test_an_address_in_use_is_named_with_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(MetricsError, match=rf"{address}.*PAYMENTS_METRICS_ADDRESS"):
            serve(lambda: pytest.fail("nobody asks"), address)
