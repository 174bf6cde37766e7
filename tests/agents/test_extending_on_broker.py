"""docs/extend.md on a broker: its own Faust app and its own stage run beside a worker.

Of the same kind, without a broker: the tests on the page (``test_extending.py``), and what a replay
of an own stage's dead letters refuses (``tests/dead_letters/test_resending.py``).
"""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from exactstage.errors import EXIT_FAIL_STOP
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import read_topics
from tests.broker.client import LIMIT_SECONDS, Client, WorkerProcess, read_all
from tests.broker_fixture import Installations, process_environment
from tools.dev.ports import free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"
FAUST = (sys.executable, "-m", "faust", "--workdir")
NAMES = ("receipts.py", "points.py")


@pytest.fixture
async def settings(installations: Installations) -> AsyncIterator[Settings]:
    """Return an installation with the topics of the example's stage."""
    made = await installations.make(opening_balance=5000)
    wanted = read_topics(EXAMPLES / "points-topics.yaml", made)
    async with cluster(made) as connected:
        await connected.apply(await connected.plan(wanted), wanted)
    yield made
    async with cluster(made) as connected:
        own = {topic.name for topic in wanted} | {
            f"{made.topic_prefix}receipts-entries_of-changelog"
        }
        await connected.delete(sorted(own & await connected.names()))


async def test_an_own_app_and_an_own_stage_run_beside_a_worker(
    settings: Settings, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.copy(EXAMPLES / name, tmp_path)
    receipts = WorkerProcess(
        settings, *FAUST, str(tmp_path), "-A", "receipts", "worker", "--without-web"
    )
    points = WorkerProcess(settings, *FAUST, str(tmp_path), "-A", "points", "worker", "-l", "info")
    worker = WorkerProcess(settings)
    async with AsyncExitStack() as stack:
        for process in (worker, points, receipts):
            process.spawn()
            stack.callback(process.log.unlink)
            stack.push_async_callback(process.kill)
        client = await stack.enter_async_context(Client(settings))
        for number in range(3):
            await client.send(f"pay-{number}", {"type": "make", "account": "abc", "amount": 1050})
        await client.send("pay-1", {"type": "cancel"})

        await receipts.until(
            lambda: receipts.log.read_text().count(": 10.50 EUR") == 3, "prints no receipts"
        )
        await points.until(lambda: points.ready_count() == 1, "is not ready")
        points.signal(signal.SIGKILL)
        await points.ended()
        await points.start()
        await client.send("pay-3", {"type": "make", "account": "abc", "amount": 1050})
        counted: list[int] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(counted) < 5:
                records = await read_all(settings, settings.topic("shop.points"))
                counted = [json.loads(record.value)["points"] for record in records]
        assert counted == [10, 20, 30, 20, 30]


def serious_lines(process: WorkerProcess) -> list[str]:
    """Return the warnings, errors and tracebacks in a log of Faust's command."""
    lines = process.log.read_text().splitlines()
    return [line for line in lines if re.search(r"WARN|ERROR|CRITICAL|Traceback", line)]


async def test_an_own_stage_that_meets_no_broker_ends_with_one_line(tmp_path: Path) -> None:
    """Without its topics: below. Of the workers: ``tests/broker/test_start_and_stop.py``.

    With ``--loglevel debug``, or a level for the logger ``aiokafka``, its lines are shown.
    """
    [port] = free_ports(1)
    settings = Settings(brokers=f"127.0.0.1:{port}", delivery_timeout_seconds=1.0)
    (tmp_path / "own.py").write_text(OWN)
    own = WorkerProcess(settings, *FAUST, str(tmp_path), "-A", "own", "worker", "--without-web")
    try:
        own.spawn()
        assert await own.ended() == EXIT_FAIL_STOP
        [line] = serious_lines(own)
        assert "fail-stop: connecting to Kafka at 127.0.0.1" in line
    finally:
        own.log.unlink()


OWN = """
from payments.app import create_app
from payments.settings import Settings

app = create_app(Settings())
"""

ENTRY = {
    "account": "xenia", "sequence": 1, "payment": "p1", "kind": "make", "amount": -1999,
    "balance": 3001, "currency": "EUR", "exponent": 2, "counter_account": "sales/0",
    "time": "2026-01-01T00:00:00.000Z",
}  # fmt: skip


async def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "payments.cli", *arguments],
        env=process_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_the_topics_and_dead_letters_of_an_own_stage_have_commands_that_work(
    installations: Installations, tmp_path: Path
) -> None:
    """A stage without its topics names ``topics apply`` with its file, and that makes them.

    Its dead letters are listed, shown and replayed: ``tests/dead_letters/test_resending.py`` has
    what is refused. A wrong configuration of its journal takes the same way to the same command.
    """
    settings = await installations.make(partitions=2)
    for name in ("points.py", "points-topics.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    replays, dead = (
        settings.topic("shop.points.replays"),
        settings.topic("shop.points.dead-letters"),
    )
    points = WorkerProcess(settings, *FAUST, str(tmp_path), "-A", "points", "worker", "-l", "info")
    async with AsyncExitStack() as stack:
        stack.callback(points.log.unlink)
        stack.push_async_callback(points.kill)
        points.spawn()
        assert await points.ended() == EXIT_FAIL_STOP
        told = points.log.read_text()
        [_] = serious_lines(points)
        [file] = re.findall(
            rf"there is no topic .*{dead}.*: payments topics apply --file (\S+) ", told
        )
        applied = await command(settings, "topics", "apply", "--file", file)
        assert applied.returncode == 0, applied.stderr
        await points.start()

        async with AIOKafkaProducer(**settings.connection()) as producer:
            await producer.send_and_wait(replays, b"not an entry", key=b"xenia", partition=1)
        listed: list[dict[str, Any]] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while not listed:
                shown = await command(settings, "dead-letters", "list", "--topic", dead, "--json")
                assert shown.returncode == 0, shown.stderr
                listed = [json.loads(line) for line in shown.stdout.splitlines()]
        [letter] = listed
        assert (letter["reason"], letter["key"]) == ("not_an_entry", "xenia")
        assert letter["replayed"] is None
        at = letter["position"]
        assert "not an entry" in (await command(settings, "dead-letters", "show", at)).stdout

        replay = ("dead-letters", "replay", at, "--value", json.dumps(ENTRY))
        dry_run = await command(settings, *replay)
        assert (dry_run.returncode, "Send with --yes." in dry_run.stderr) == (0, True)
        assert f"would send  to {replays}/1: " in dry_run.stdout
        sent = await command(settings, *replay, "--yes")
        assert sent.returncode == 0, sent.stderr
        assert f"sent  to {replays}/1/1: " in sent.stdout
        again = await command(settings, *replay, "--yes")
        assert again.returncode == 3
        assert f"it was replayed before, as {replays}/1/1 " in again.stdout
        marked = await command(settings, "dead-letters", "list", "--topic", dead)
        assert "  [replayed] " in marked.stdout, marked.stderr
        counted: list[Any] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while not counted:
                records = await read_all(settings, settings.topic("shop.points"))
                counted = [json.loads(record.value) for record in records]
        assert counted == [{"account": "xenia", "points": 19}]
    async with cluster(settings) as connected:
        own = {topic.name for topic in read_topics(EXAMPLES / "points-topics.yaml", settings)}
        await connected.delete(sorted(own))


OWN_PARTS = """
from payments.app import create_app
from payments.settings import Settings

settings = Settings()
app = create_app(settings)
memory = app.channel()
commands, missing = (app.topic(settings.topic(name)) for name in ("payments.commands", "missing"))


@app.agent(memory, sink=[commands])
async def forwarded(stream):
    async for value in stream:
        yield value


@app.task
async def own():
    await forwarded.cast({"type": "deposit", "account": "abc", "amount": 7, "currency": "EUR"})
    %s
"""


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("await missing.send(value=1)", "there is no topic .*missing, and this app creates none "),
        ("await forwarded.ask(1)", "docs/extend.md"),
        ("await app.topic(settings.topics.results).send(value=1)", "only the stages "),
        ("async for _ in missing.stream(): pass", "a stream would never get a record of .*missing"),
    ],
)
async def test_unsupported_in_the_app_of_the_workers_work_or_end_it_with_one_line(
    installations: Installations, tmp_path: Path, call: str, told: str
) -> None:
    """The broker creates topics that are asked for (``QUICK``): none of these calls asks.

    Of the same kind: what is refused where it is defined (``test_extending``).
    """
    settings = await installations.make(partitions=1)
    (tmp_path / "own.py").write_text(OWN_PARTS % call)
    worker = WorkerProcess(
        settings, *FAUST, str(tmp_path), "-A", "own", "worker", "--without-web", "-l", "info"
    )
    try:
        worker.spawn()
        assert await worker.ended() == EXIT_FAIL_STOP, worker.log.read_text()
        [line] = [line for line in worker.log.read_text().splitlines() if "fail-stop: " in line]
        assert re.search(told, line)
        assert "docs/extend.md" in line
    finally:
        await worker.kill()
        worker.log.unlink()
    async with cluster(settings) as connected:
        names = await connected.names()
    assert not [name for name in names if "missing" in name or "reply" in name]
