"""Metrics of a real worker: each family is there, and the next worker counts a killed one."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from payments.client import PaymentsClient
from payments.settings import Settings
from payments.worker import health
from payments.worker.metric_families import FAMILIES
from tests.broker_fixture import Installations
from tools.dev.ports import HOST, free_ports

from .client import Client, WorkerProcess

pytestmark = pytest.mark.broker

MAKE = {"type": "make", "account": "abc", "amount": 100}


@pytest.fixture
async def measured(installations: Installations, tmp_path: Path) -> Settings:
    """Return an installation whose worker serves metrics."""
    return await installations.make(
        opening_balance=100_000,
        health_file=tmp_path / "health",
        metrics_address=f"{HOST}:{free_ports(1)[0]}",
    )


@pytest.fixture
async def worker(measured: Settings) -> AsyncIterator[WorkerProcess]:
    process = WorkerProcess(measured)
    try:
        await ready(process, measured)
        yield process
    finally:
        await process.kill()
        process.log.unlink()


async def ready(process: WorkerProcess, settings: Settings) -> None:
    file = settings.health_file
    assert file is not None
    await process.start()
    await process.until(lambda: health.why_not_ready(file) is None, "is not ready")


async def ready_again(process: WorkerProcess, settings: Settings) -> None:
    """Wait until a rebalance is over for it too."""
    file = settings.health_file
    assert file is not None
    await process.until(lambda: health.why_not_ready(file) is None, "is not ready")


async def scrape(settings: Settings) -> dict[str, Metric]:
    def ask() -> str:
        with urllib.request.urlopen(f"http://{settings.metrics_address}/metrics") as answer:
            return str(answer.read().decode())

    found = await asyncio.to_thread(ask)
    return {each.name: each for each in text_string_to_metric_families(found)}


def total(family: Metric, **labels: str) -> float:
    """Return the sum of the samples with these labels, of a histogram that of its count."""
    ends = ("_bucket", "_sum", "_created")
    return sum(
        sample.value
        for sample in family.samples
        if not sample.name.endswith(ends) and labels.items() <= sample.labels.items()
    )


async def test_each_family_of_the_page_is_served_by_a_worker(
    measured: Settings, worker: WorkerProcess
) -> None:
    async with PaymentsClient(settings=measured) as client_of_accounts:
        await client_of_accounts.open_account("shop")
    async with Client(measured) as client:
        for number in range(20):
            await client.post(f"p{number}", MAKE)
        await client.post("held", {**MAKE, "type": "authorize"})
        await client.post("bad", {"type": "nonsense"})
        await client.answered()
    found = await scrape(measured)
    assert set(found) == {family.name for family in FAMILIES}
    assert not {name for name, each in found.items() if not each.samples}
    assert total(found["payments_results"], outcome="completed", type="make") == 20
    assert total(found["payments_account_results"], outcome="completed", type="open") == 1
    assert total(found["payments_open_holds"], currency="EUR") == 1
    assert total(found["payments_result_seconds"]) == 22
    assert total(found["payments_dead_letters"], reason="unknown_type") == 1
    for channel in ("journal", "publish"):
        assert total(found["payments_append_seconds"], channel=channel) > 0
        assert total(found["payments_appended_bytes"], channel=channel) > 0
    topics = {sample.labels["topic"] for sample in found["payments_lag_records"].samples}
    assert {measured.topics.commands, measured.topics.inbox, measured.topics.transfers} <= topics
    assert total(found["payments_takeover_seconds"], part="claim") > 0
    [installation] = found["payments_installation_info"].samples
    assert installation.labels["app_id"] == measured.app_id


async def test_a_worker_without_a_partition_is_ready(
    installations: Installations, tmp_path: Path
) -> None:
    """Of more workers than partitions. Else its alert would never end."""
    shared = await installations.make(partitions=1)
    ports = free_ports(2)
    each = [
        shared.model_copy(
            update={
                "health_file": tmp_path / f"health-{port}",
                "metrics_address": f"{HOST}:{port}",
            }
        )
        for port in ports
    ]
    workers = [WorkerProcess(settings) for settings in each]
    try:
        for process, settings in zip(workers, each, strict=True):
            await ready(process, settings)
        await ready_again(workers[0], each[0])
        found = [await scrape(settings) for settings in each]
        assert [total(one["payments_ready"]) for one in found] == [1, 1]
        assert sorted(total(one["payments_owned_partitions"]) for one in found) == [0, 1]
    finally:
        for process in workers:
            await process.kill()
            process.log.unlink()


async def test_a_worker_that_is_killed_is_counted_by_the_next_one(
    measured: Settings, worker: WorkerProcess
) -> None:
    assert total((await scrape(measured))["payments_worker_ends"]) == 0
    await worker.kill()
    await ready(worker, measured)
    ends = (await scrape(measured))["payments_worker_ends"]
    assert (total(ends, reason="killed"), total(ends)) == (1, 1)
