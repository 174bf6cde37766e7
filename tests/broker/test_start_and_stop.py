"""Starts without a broker, stops at any moment, and what keeps a worker out of its group."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from exactstage.errors import FailStop
from exactstage.kafka import KafkaLog
from exactstage.log import TopicPartition
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import read_topics
from tests.broker_fixture import TOPICS, Installations, broker_folder
from tools.chaos.proxy import Proxy
from tools.dev.broker import kafka_version
from tools.dev.local_broker import LocalBroker

from .client import Client, WorkerProcess

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|CRITICAL) +(payments|exactstage)\."
)
WAITS_SECONDS = 1.0
Start = Callable[[Settings], WorkerProcess]


@pytest.fixture
async def spawned() -> AsyncIterator[Start]:
    """Return a function that starts a worker and does not wait."""
    made: list[WorkerProcess] = []

    def spawn(settings: Settings) -> WorkerProcess:
        made.append(WorkerProcess(settings))
        made[-1].spawn()
        return made[-1]

    yield spawn
    for worker in made:
        await worker.kill()
        worker.log.unlink()


def lines(worker: WorkerProcess) -> list[str]:
    """Return the log, of which every line must be one of this project."""
    found = worker.log.read_text().splitlines()
    assert [line for line in found if not LINE.match(line)] == []
    return found


def last_words(worker: WorkerProcess) -> str:
    """Return the one line that says why the worker has ended."""
    [said] = [line for line in lines(worker) if " CRITICAL " in line]
    return said


def last_line(worker: WorkerProcess) -> str:
    """Return the last line of the log, behind its time, level and logger."""
    return lines(worker)[-1].split(": ", 1)[1]


async def behind(proxy: Proxy, installations: Installations) -> Settings:
    """Return settings of a worker that comes through the proxy."""
    settings = await installations.make()
    return settings.model_copy(update={"brokers": proxy.bootstrap})


@pytest.mark.parametrize("chunk", [1, 33, 85])
async def test_a_broker_that_goes_away_during_the_start_ends_it_with_one_line(
    proxy: Proxy, installations: Installations, spawned: Start, chunk: int
) -> None:
    """Cut after so many pieces of data: connecting, joining its group, claiming.

    By hand, at every piece: all of them ended so. Other causes:
    ``tests/engine/test_diagnosis.py``.
    """
    made = await behind(proxy, installations)
    settings = made.model_copy(update={"delivery_timeout_seconds": WAITS_SECONDS})
    proxy.cut_at_chunk = chunk
    worker = spawned(settings)
    assert await worker.ended() == 70
    assert "no success after" in last_words(worker)


async def test_a_broker_that_comes_back_during_the_start_is_waited_for(
    proxy: Proxy, installations: Installations, spawned: Start
) -> None:
    settings = await behind(proxy, installations)
    proxy.cut_at_chunk = 33
    worker = spawned(settings)
    await worker.until(lambda: proxy.is_cut, "does not come so far")
    proxy.heal()
    await worker.until(worker.ready_count, "is not ready")
    assert await worker.stop() == 0
    assert re.fullmatch(
        r"stopped: SIGTERM, after \d+\.\d s; all that was decided is published, 4 partitions left "
        r"to the other workers",
        last_line(worker),
    )
    assert "stopping: " not in worker.log.read_text()


async def test_a_stop_that_takes_long_says_so_and_then_what_it_left(
    proxy: Proxy, installations: Installations, spawned: Start
) -> None:
    """A drain without an end is ``fail-stop:`` after its limit, and the next owner publishes."""
    settings = await behind(proxy, installations)
    worker = spawned(
        settings.model_copy(update={"drain_timeout_seconds": 60.0, "instance_id": "one"})
    )
    await worker.until(worker.ready_count, "is not ready")
    direct = settings.model_copy(update={"brokers": installations.bootstrap})
    async with Client(direct) as client:
        await client.send("p1", {"type": "get"})
    proxy.cut()
    worker.signal(signal.SIGTERM)
    said = "stopping: SIGTERM; publishing what was decided takes more than 1 s, after 60 s the"
    await worker.until(lambda: said in worker.log.read_text(), "says nothing")
    proxy.heal()
    assert await worker.ended() == 0
    assert re.fullmatch(
        r"stopped: SIGTERM, after \d+\.\d s; all that was decided is published, 4 partitions kept "
        r"for one for 10 s, then left to the other workers",
        last_line(worker),
    )


@pytest.mark.parametrize(
    ("chunk", "number"), [(1, signal.SIGTERM), (49, signal.SIGINT), (85, signal.SIGTERM)]
)
async def test_a_stop_while_it_starts_is_orderly_also_twice_in_a_row(
    proxy: Proxy, installations: Installations, spawned: Start, chunk: int, number: signal.Signals
) -> None:
    """While idle, under load and in takeovers: ``make soak``, and the chaos runs."""
    settings = await behind(proxy, installations)
    worker = spawned(settings)
    await worker.until(lambda: proxy.taken_chunks >= chunk, "does not come so far")
    worker.signal(number)
    if worker.process.poll() is None:
        worker.signal(number)
    assert await worker.ended() == 0
    assert not [line for line in lines(worker) if " CRITICAL " in line]
    assert re.match(
        rf"stopped(: {number.name}, after \d+\.\d s; it was not| before it was) ready",
        last_line(worker),
    )


async def test_of_two_workers_with_one_instance_id_the_first_ends_with_a_line(
    settings: Settings, spawned: Start
) -> None:
    """A restart under the same id, after a kill, is no such case: ``test_payments_on_kafka.py``."""
    same = settings.model_copy(update={"instance_id": "one", "session_timeout_seconds": 6.0})
    first = spawned(same)
    await first.until(first.ready_count, "is not ready")
    second = spawned(same)
    assert await first.ended() == 70
    assert "PAYMENTS_INSTANCE_ID" in last_words(first)
    await second.until(second.ready_count, "is not ready")
    assert await second.stop() == 0
    lines(second)


async def test_a_foreign_member_of_the_group_is_told(
    settings: Settings, spawned: Start, kcat: str
) -> None:
    topic = settings.topics.commands
    foreign = await asyncio.create_subprocess_exec(
        *(kcat, "-b", settings.brokers, "-G", settings.app_id, topic),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert foreign.stderr is not None
        while b"assigned" not in (said := await foreign.stderr.readline()):
            assert said
        worker = spawned(settings)
        assert await worker.ended() == 70
    finally:
        foreign.kill()
        await foreign.wait()
    assert f"group {settings.app_id} (PAYMENTS_APP_ID) has members of another" in last_words(worker)


async def test_a_session_timeout_outside_the_brokers_limits_is_told_with_them(
    settings: Settings, spawned: Start
) -> None:
    worker = spawned(settings.model_copy(update={"session_timeout_seconds": 1.0}))
    assert await worker.ended() == 70
    said = last_words(worker)
    assert "PAYMENTS_SESSION_TIMEOUT_SECONDS=1 is outside the limits of the brokers" in said
    assert "group.min.session.timeout.ms=6000" in said


async def test_topics_that_are_not_there_are_told(settings: Settings, spawned: Start) -> None:
    worker = spawned(settings.model_copy(update={"topic_prefix": "none."}))
    assert await worker.ended() == 70
    said = last_words(worker)
    assert "there is no topic none.payments.commands, no" in said
    assert "make it with: payments topics apply" in said


@pytest.fixture(scope="module")
def lonely() -> Iterator[LocalBroker]:
    """Return a broker that can't make its internal topics: it wants three replicas of each."""
    with broker_folder() as folder:
        names = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor")
        broker = LocalBroker(
            version=kafka_version(), folder=folder, extra=dict.fromkeys(names, "3")
        )
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()


@pytest.mark.broker
@pytest.mark.compiled
async def test_internal_topics_that_can_not_be_made_are_told_with_the_brokers_setting(
    lonely: LocalBroker, spawned: Start
) -> None:
    settings = Settings(
        brokers=lonely.bootstrap, partitions=1, app_id="lonely", delivery_timeout_seconds=3.0
    )
    async with cluster(settings) as connected:
        wanted = read_topics(TOPICS, settings)
        await connected.apply(await connected.plan(wanted), wanted)
    worker = spawned(settings)
    assert await worker.ended() == 70
    said = last_words(worker)
    assert "__consumer_offsets" in said
    assert "offsets.topic.replication.factor" in said
    log = KafkaLog(settings.connection(), delivery_timeout_seconds=WAITS_SECONDS)
    await log.start(["payments.results"])
    with pytest.raises(FailStop, match=r"__transaction_state.*replication\.factor"):
        await log.claim("lonely-0", [TopicPartition("payments.results", 0)])
    await log.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_anything_is_imported_ends_with_0(number: signal.Signals) -> None:
    """Documented: before the command begins, the code is the signal's (143)."""
    code = (
        "import os, click\n"
        "from payments.process import ending, logs\n"
        "with click.Context(click.Command('worker')):\n"
        "    ending.end_at_once()\n"
        "    logs.configure('info')\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    raise SystemExit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert line.endswith(f"stopped: {number.name}, before its work began")
