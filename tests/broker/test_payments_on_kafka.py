"""Payments on a real broker: what a user sees, with worker processes and real clients."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from exactstage.engine import Engine
from exactstage.kafka import KafkaLog
from exactstage.kafka.fencing import prove_fencing
from exactstage.log import Batch, Channel, TopicPartition
from exactstage.reading import Delivery
from payments.records.record_models import Result
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from tests.broker_fixture import Installations
from tools.dev.local_broker import LocalBroker

from .client import LIMIT_SECONDS, Client, WorkerProcess, audit, read_all

MAKE = {"type": "make", "account": "abc", "amount": 100}
OPENING = 100_000
StartWorker = Callable[..., Awaitable[WorkerProcess]]


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(opening_balance=OPENING, session_timeout_seconds=6)


@pytest.fixture
async def start_worker() -> AsyncIterator[StartWorker]:
    started: list[WorkerProcess] = []

    async def start(settings: Settings, *command: str) -> WorkerProcess:
        worker = WorkerProcess(settings, *command)
        started.append(worker)
        return await worker.start()

    yield start
    for worker in started:
        await worker.kill()
        # Shown by pytest when the test has failed.
        sys.stdout.write(f"{worker.log}:\n{worker.log.read_text()[-5000:]}\n")
        worker.log.unlink()


@pytest.mark.kafka39
async def test_the_guided_set_gets_the_results_that_the_readme_shows(
    settings: Settings, start_worker: StartWorker
) -> None:
    await start_worker(settings)
    async with Client(settings) as client:
        seen = [
            await client.send("p1", MAKE),
            await client.send("p1", MAKE),
            await client.send("p1", {**MAKE, "amount": 5}),
            await client.send("p1", {"type": "cancel"}),
            await client.send("p2", {"type": "cancel"}),
            await client.send("p2", MAKE),
            await client.send("p3", {**MAKE, "amount": OPENING + 1}),
            await client.send("p4", {"type": "make"}),
            await client.send("p1", {"type": "get"}),
            await client.send("p5", {**MAKE, "type": "deposit"}),
        ]
        await audit(settings, client, opening_balance=OPENING)
    assert [(r["outcome"], r["reason"], r["replayed"], r["state"]) for r in seen] == [
        ("completed", None, False, "completed"),
        ("completed", None, True, "completed"),
        ("rejected", "different_amount", False, "completed"),
        ("cancelled", "rolled_back", False, "cancelled"),
        ("cancelled", "prevented", False, "cancelled"),
        ("cancelled", "prevented", False, "cancelled"),
        ("declined", "insufficient_funds", False, None),
        ("rejected", "missing_field", False, None),
        ("found", "rolled_back", False, "cancelled"),
        ("completed", None, False, "completed"),
    ]


@pytest.mark.kafka39
async def test_kcat_sends_a_command_and_reads_its_result(
    settings: Settings, start_worker: StartWorker, kcat: str
) -> None:
    await start_worker(settings)
    lines = [f"pay-{n}:" + json.dumps(MAKE) for n in range(12)] * 2
    produce = [kcat, "-P", "-b", settings.brokers, "-t", settings.topics.commands, "-K:"]
    write = await asyncio.create_subprocess_exec(*produce, stdin=subprocess.PIPE)
    await asyncio.wait_for(write.communicate("\n".join(lines).encode()), LIMIT_SECONDS)
    assert write.returncode == 0
    consume = [kcat, "-C", "-q", "-b", settings.brokers, "-t", settings.topics.results]
    read = await asyncio.create_subprocess_exec(*consume, "-c", "24", stdout=subprocess.PIPE)
    output, _ = await asyncio.wait_for(read.communicate(), LIMIT_SECONDS)
    results = [Result.model_validate_json(line) for line in output.splitlines()]
    assert sorted((r.payment, r.outcome.value, r.replayed) for r in results) == sorted(
        (f"pay-{n}", "completed", replayed) for n in range(12) for replayed in (False, True)
    )


async def test_two_partitioners_for_one_payment_id_give_the_same_results(
    settings: Settings, start_worker: StartWorker
) -> None:
    await start_worker(settings)
    async with Client(settings) as client:
        for number in range(40):
            for wrong in (True, False, True):
                await client.post(f"pay-{number}", MAKE, wrong_partition=wrong)
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
        by_payment: dict[str, list[bool]] = {}
        for [result] in client.results.values():
            assert result["outcome"] == "completed"
            by_payment.setdefault(result["payment"], []).append(result["replayed"])
    assert all(sorted(replayed) == [False, True, True] for replayed in by_payment.values())


async def load(client: Client, payments: int, stop: asyncio.Event, prefix: str = "load") -> None:
    """Send makes, repeats and cancels from several partitioners until ``payments`` are sent."""
    for number in range(payments):
        payment = f"{prefix}-{number}"
        command = {"type": "make", "account": f"acct-{number % 20}", "amount": 1}
        await client.post(payment, command, wrong_partition=number % 5 == 0)
        if number % 4 == 0:
            await client.post(payment, command, wrong_partition=number % 8 == 0)
        if number % 7 == 0:
            await client.post(payment, {"type": "cancel"})
        if number % 50 == 0:
            # Let the load last as long as the faults do.
            await client.until(lambda: len(client.results) > len(client.sent) - 400)
        if stop.is_set():
            return


@pytest.fixture(params=["memory", "disk"])
def state_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where a worker has its rows: in memory, or in this directory."""
    return tmp_path / "state" if request.param == "disk" else None


@pytest.mark.kafka39
async def test_workers_killed_under_load_lose_and_double_nothing(
    settings: Settings, start_worker: StartWorker, state_dir: Path | None
) -> None:
    settings = settings.model_copy(update={"instance_id": "w1", "state_dir": state_dir})
    worker = await start_worker(settings)
    async with Client(settings) as client:
        sending = asyncio.create_task(load(client, 3000, asyncio.Event()))
        for kill in range(1, 5):
            await client.until(lambda: len(client.results) > 500 * kill)  # noqa: B023 - awaited here
            await worker.kill()
            await worker.start()
        await sending
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)


async def test_two_workers_share_the_partitions_and_hand_them_over(
    settings: Settings, start_worker: StartWorker
) -> None:
    first = await start_worker(settings)
    async with Client(settings) as client:
        sending = asyncio.create_task(load(client, 2000, asyncio.Event()))
        second = await start_worker(settings)
        await first.until(
            lambda: "worker ready: 2 partitions" in first.log.read_text(), "shares not"
        )
        assert "worker ready: 2 partitions" in second.log.read_text()
        assert await second.stop() == 0
        await first.until(lambda: first.ready_count() >= 3, "does not take the rest over")
        await sending
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
        assert first.process.poll() is None


async def test_a_worker_paused_beyond_its_session_ends_when_it_wakes(
    settings: Settings, start_worker: StartWorker
) -> None:
    first = await start_worker(settings)
    second = await start_worker(settings)
    async with Client(settings) as client:
        sending = asyncio.create_task(load(client, 2000, asyncio.Event()))
        await client.until(lambda: len(client.results) > 200)
        first.signal(signal.SIGSTOP)
        await second.until(
            lambda: "worker ready: 4 partitions" in second.log.read_text(), "does not take over"
        )
        await client.until(lambda: len(client.results) > 1000)
        first.signal(signal.SIGCONT)
        assert await first.ended() == 70
        assert "fail-stop" in first.log.read_text()
        await sending
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)


async def test_sigterm_drains_and_leaves_the_group_at_once(
    settings: Settings, start_worker: StartWorker
) -> None:
    worker = await start_worker(settings)
    async with Client(settings) as client:
        await load(client, 200, asyncio.Event())
        assert await worker.stop() == 0
        heir = await start_worker(settings)
        # Nothing was left to do for it: the former owner had published all that it had decided.
        assert " 0 outputs republished" in heir.log.read_text()
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)


async def test_a_static_member_comes_back_from_another_host(
    settings: Settings, start_worker: StartWorker
) -> None:
    settings = settings.model_copy(update={"instance_id": "w1"})
    moved = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"]
    if subprocess.run([*moved, "true"], check=False, capture_output=True).returncode:  # noqa: ASYNC221 - it ends at once
        pytest.skip("another host name needs unshare and the right to use it")
    worker = await start_worker(settings)
    assert await worker.stop() == 0
    async with Client(settings) as client:
        await start_worker(settings, *moved, sys.executable, "-m", "payments.cli", "worker")
        assert (await client.send("p1", MAKE))["outcome"] == "completed"


async def test_the_faust_command_runs_a_worker_too(
    settings: Settings, start_worker: StartWorker
) -> None:
    worker = await start_worker(
        settings, sys.executable, "-m", "faust", "-A", "payments.app", "worker", "-l", "info"
    )
    async with Client(settings) as client:
        assert (await client.send("p1", MAKE))["outcome"] == "completed"
    assert await worker.stop() == 0


@pytest.mark.kafka39
async def test_a_stale_owner_is_refused_in_the_very_moment_after_a_takeover(
    settings: Settings,
) -> None:
    topic = settings.topics.payments_dead_letters
    report = await prove_fencing(settings.connection(), topic, rounds=200, partitions=2)
    assert report[:2] == (400, 0)


async def test_what_was_journalled_but_not_published_is_published_by_the_next_owner(
    settings: Settings, start_worker: StartWorker
) -> None:
    log = UnpublishingLog(settings.connection())
    dead = asyncio.Event()

    async def deliver(delivery: Delivery) -> None:
        await engine.handle(delivery)

    engine = await Engine.open(
        app_id=settings.app_id,
        stages=[payments_stage(settings), accounts_stage(settings)],
        log=log,
        deliver=deliver,
        on_failure=lambda _: dead.set(),
    )
    topics = {topic for stage in engine.stages.values() for topic in stage.inputs}
    await engine.rebalance(
        {TopicPartition(t, p) for t in topics for p in range(settings.partitions)}
    )
    async with Client(settings) as client:
        for number in range(40):
            await client.post(f"pay-{number}", MAKE | {"account": f"acct-{number}"})
        await asyncio.wait_for(dead.wait(), LIMIT_SECONDS)
        assert not client.results
        await engine.stop()
        heir = await start_worker(settings)
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
    assert "outputs republished" in heir.log.read_text()
    assert " 0 outputs republished" not in heir.log.read_text()


class UnpublishingLog(KafkaLog):
    """A log on which a worker dies before it has published anything."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        append = self.append

        async def append_or_die(
            batches: Sequence[Batch], channel: Channel
        ) -> Mapping[TopicPartition, int]:
            if channel is Channel.PUBLISH:
                raise ConnectionAbortedError
            return await append(batches, channel)

        self.append = append_or_die


async def test_a_broker_killed_under_load_loses_and_doubles_nothing(
    installations: Installations, local_broker: LocalBroker, start_worker: StartWorker
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    worker = await start_worker(settings)
    async with Client(settings) as client:
        sending = asyncio.create_task(load(client, 2000, asyncio.Event()))
        await client.until(lambda: len(client.results) > 300)
        await asyncio.to_thread(local_broker.kill)
        await asyncio.to_thread(local_broker.start)
        await sending
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
    assert worker.process.poll() is None, worker.log.read_text()[-2000:]


async def test_payments_expire_after_a_restart_with_a_notice_and_a_tombstone(
    installations: Installations, start_worker: StartWorker, state_dir: Path | None
) -> None:
    settings = await installations.make(
        opening_balance=OPENING, retention_seconds=4, window_seconds=1, state_dir=state_dir
    )
    worker = await start_worker(settings)
    async with Client(settings) as client:
        for number in range(20):
            await client.post(f"pay-{number}", MAKE)
        await client.answered()
        await worker.kill()
        await worker.start()
        await client.until(lambda: len(client.notices) == 20)
        assert {(n["outcome"], n["type"]) for n in client.notices} == {("expired", "expire")}
        assert (await client.send("pay-1", {"type": "get"}))["outcome"] == "not_found"
        again = await client.send("pay-1", MAKE)
        assert (again["outcome"], again["replayed"]) == ("completed", False)
    journal = await read_all(settings, settings.changelog("payments"))
    tombstones = {r.key for r in journal if r.value is None and not r.key.startswith(b"\0")}
    assert tombstones >= {f"pay-{number}".encode() for number in range(20)}


async def test_a_compacted_changelog_restores_the_same_payments(
    installations: Installations, start_worker: StartWorker
) -> None:
    compact = {
        "segment.ms": "500",
        "min.compaction.lag.ms": "0",
        "min.cleanable.dirty.ratio": "0.01",
    }
    settings = await installations.make(
        opening_balance=OPENING,
        configs={f"{{app}}-{stage}-changelog": compact for stage in ("payments", "accounts")},
    )
    worker = await start_worker(settings)
    changelog = settings.changelog("accounts")
    async with Client(settings) as client:
        number = 0

        async def compacted() -> bool:
            nonlocal number
            for _ in range(100):
                await client.post(f"pay-{number}", MAKE | {"amount": 1})
                number += 1
            await client.answered()
            records = await read_all(settings, changelog)
            return bool(records) and len(records) < max(r.offset for r in records) // 2

        async with asyncio.timeout(LIMIT_SECONDS):
            while not await compacted():
                pass
        await worker.kill()
        await worker.start()
        for repeat in range(number):
            await client.post(f"pay-{repeat}", MAKE | {"amount": 1})
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
        replayed = [r["replayed"] for [r] in client.results.values()]
        assert sorted(replayed) == [False] * number + [True] * number
