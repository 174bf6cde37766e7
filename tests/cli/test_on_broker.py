"""The command as a process, against a real broker and a worker."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from payments.settings import Settings
from payments.topics.cluster import cluster
from tests.broker.client import WorkerProcess
from tests.broker_fixture import Installations, process_environment

MAKE = ("make", "pay-1", "--account", "abc", "--amount-minor", "100")
BAD = b'{"type":"make","account":"abc","amount":1.5}'
CORRECTED = '{"type":"make","account":"abc","amount":150}'


@pytest.fixture
async def settings(installations: Installations) -> AsyncIterator[Settings]:
    """Return an installation with a worker."""
    made = await installations.make(opening_balance=1000, partitions=2)
    worker = WorkerProcess(made)
    try:
        await worker.start()
        yield made
    finally:
        await worker.kill()
        worker.log.unlink()


async def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "payments.cli", *arguments],
        env=process_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


async def test_payments_and_accounts_on_a_broker(settings: Settings) -> None:
    made = await run(settings, *MAKE, "--json")
    assert (made.returncode, made.stderr) == (0, "")
    assert json.loads(made.stdout)["outcome"] == "completed"
    assert json.loads((await run(settings, *MAKE, "--json")).stdout)["replayed"] is True
    declined = await run(settings, "make", "pay-2", "--account", "abc", "--amount-minor", "901")
    assert (declined.returncode, declined.stdout) == (
        3,
        "pay-2: declined (insufficient_funds) 9.01 EUR account abc\n",
    )
    held = await run(settings, "account", "abc")
    assert held.stdout == "abc: 9.00 EUR\n"
    traced = await run(settings, "trace", "pay-1", "--json")
    kinds = [json.loads(line)["event"] for line in traced.stdout.splitlines()]
    assert (traced.returncode, traced.stderr) == (0, "")
    steps = [kind for kind in kinds if kind not in {"transfer", "settlement"}]
    assert steps == ["command", "entry", "result", "command", "result"]
    assert (await run(settings, "trace", "pay-9")).returncode == 3
    missing = await run(settings, "account", "nobody")
    assert (missing.returncode, missing.stdout) == (3, "")


async def test_watch_ends_well_with_ctrl_c(settings: Settings) -> None:
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payments.cli", "watch", "pay-1", "--json"),
        env=process_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests may ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert watching.stdout is not None
    assert watching.stderr is not None
    async with asyncio.timeout(120):
        assert await watching.stderr.readline() == b"watching pay-1; Ctrl-C ends\n"
        await run(settings, *MAKE)
        assert json.loads(await watching.stdout.readline())["outcome"] == "completed"
        watching.send_signal(signal.SIGINT)
        rest = await watching.communicate()
    assert (watching.returncode, rest) == (0, (b"", b""))


async def receive(settings: Settings, key: bytes, value: bytes) -> None:
    producer = AIOKafkaProducer(**settings.connection())
    await producer.start()
    await producer.send_and_wait(settings.topics.commands, value, key)
    await producer.stop()


async def listed(settings: Settings) -> list[dict[str, Any]]:
    shown = await run(settings, "dead-letters", "list", "--json")
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


async def test_a_dead_letter_is_listed_shown_corrected_and_sent_once(settings: Settings) -> None:
    await receive(settings, b"pay-1", BAD)
    async with asyncio.timeout(120):
        while not (letters := await listed(settings)):
            pass
    [letter] = letters
    assert (letter["key"], letter["reason"]) == ("pay-1", "amount_not_integer")
    assert 0 <= letter["age_seconds"] < 60

    shown = await run(settings, "dead-letters", "show", letter["position"], "--json")
    assert json.loads(shown.stdout)["value"] == BAD.decode()

    replay = ("dead-letters", "replay", letter["position"], "--value", CORRECTED, "--json")
    dry = await run(settings, *replay)
    assert (dry.returncode, json.loads(dry.stdout)["action"]) == (0, "would send")
    sent = await run(settings, *replay, "--yes")
    assert (sent.returncode, json.loads(sent.stdout)["result"]["outcome"]) == (0, "completed")
    second = await run(settings, *replay, "--yes", "--key", "pay-2")
    assert (second.returncode, json.loads(second.stdout)["action"]) == (3, "refused")
    assert (await run(settings, "account", "abc")).stdout == "abc: 8.50 EUR\n"


async def test_topics_that_are_not_there_are_told(broker: Any) -> None:
    nowhere = Settings(brokers=broker.bootstrap, topic_prefix="nowhere.")
    commands: dict[tuple[str, ...], int] = {
        MAKE: 1,
        ("get", "pay-1"): 1,
        ("watch", "pay-1"): 1,
        ("account", "abc"): 1,
        ("account", "abc", "--entries"): 1,
        ("dead-letters", "list"): 1,
        ("verify",): 2,
    }
    ended = await asyncio.gather(*(run(nowhere, *arguments) for arguments in commands))
    for failed, (arguments, code) in zip(ended, commands.items(), strict=True):
        assert (failed.returncode, failed.stdout) == (code, ""), arguments
        assert failed.stderr.startswith("Error: there is no topic "), failed.stderr
        assert "nowhere." in failed.stderr
        assert "payments topics apply" in failed.stderr
        assert failed.stderr.count("\n") == 1, failed.stderr


@pytest.mark.parametrize("arguments", [("account", "abc"), ("account", "abc", "--entries")])
async def test_an_app_id_without_journals_is_told_at_once(
    installations: Installations, arguments: tuple[str, ...]
) -> None:
    """Of the same kind: a mistyped prefix (above)."""
    mistyped = (await installations.make(partitions=2)).model_copy(update={"app_id": "mistyped"})
    failed = await run(mistyped, *arguments, "--deadline", "30")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "there is no topic mistyped-accounts-changelog" in failed.stderr
    assert "PAYMENTS_APP_ID" in failed.stderr


async def test_how_long_records_are_kept_is_the_topics_retention(
    installations: Installations,
) -> None:
    nine_days_ms = 9 * 86_400_000
    made = await installations.make(
        configs={
            "payments.results": {"retention.bytes": "1000000"},
            "payments.inbox": {"retention.ms": "-1"},
        }
    )
    async with cluster(made) as connected:
        assert await connected.min_retention_ms(made.topic("payments.commands")) == nine_days_ms
        assert await connected.min_retention_ms(made.topic("payments.results")) == 0
        assert await connected.min_retention_ms(made.topic("payments.inbox")) == float("inf")
