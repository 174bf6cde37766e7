"""Old and new workers in one consumer group on one broker, changed in turn, in both directions.

The former build is taken from the history of this repository. ``test_former_version.py`` does the
same without it, on recorded topics, and looks into the records.
"""

import io
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from payments.settings import Settings
from tests.broker.client import Client, WorkerProcess, audit
from tests.broker_fixture import Installations
from tests.recovery.operator import payments, without_workers

REPOSITORY = Path(__file__).parents[2]
FORMER = "f63e485b75098f5e4a10c93de31a3d288bdee661"
"""The commit of the former build (0.1.0 as of 22 November 2026)."""

PAYMENTS, OPENING = 12, 10_000
Variables = Mapping[str, str]


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Variables:
    """Return the variables by which a Python runs the former build."""
    archive = subprocess.run(
        ["git", "-C", str(REPOSITORY), "archive", FORMER, "payments"],
        check=False,
        capture_output=True,
    )
    if archive.returncode:
        pytest.skip(f"this checkout has no history: {archive.stderr.decode(errors='replace')}")
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    variables = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import payments; print(payments.__file__)"],
        env=variables,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Path(where.strip()).is_relative_to(folder), "it is the former build that runs"
    return variables


class Load:
    """Makes, repeats and cancels of payments that both builds come to know."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rounds = 0

    async def send(self) -> None:
        """Send one round, and do not wait for it."""
        for number in range(PAYMENTS):
            new, last = (f"p{self._rounds + back}-{number}" for back in (1, 0))
            make = {"type": "make", "account": f"a{number}", "amount": 10}
            await self._client.post(new, make)
            if self._rounds:
                await self._client.post(last, make if number % 2 else {"type": "cancel"})
        self._rounds += 1


async def changed(worker: WorkerProcess, to: Variables, *, killed: bool, load: Load) -> None:
    """Let another build take a worker's place, while commands are in flight."""
    await load.send()
    if killed:
        await worker.kill()
    else:
        assert await worker.stop() == 0
    worker.variables = dict(to)
    await load.send()
    await worker.start()


async def test_old_and_new_workers_take_turns_and_nothing_is_lost_or_doubled(
    former: Variables, installations: Installations
) -> None:
    settings = await installations.make(opening_balance=OPENING, session_timeout_seconds=6)
    workers = [WorkerProcess(settings) for _ in range(2)]
    async with AsyncExitStack() as ends:
        for worker in workers:
            ends.callback(worker.log.unlink)
            ends.push_async_callback(worker.kill)
            worker.variables = dict(former)
            await worker.start()
        async with Client(settings) as client:
            load = Load(client)
            for to, killed in (({}, False), (former, True), ({}, True)):
                for worker in workers:
                    await changed(worker, to, killed=killed, load=load)
                    await client.answered()
            for worker in workers:
                worker.signal(signal.SIGTERM)
                assert await worker.ended() == 0
            await audit(settings, client, opening_balance=OPENING)
        await verified(settings)


async def test_an_old_worker_beside_one_with_standbys_takes_over_and_gives_up_partitions(
    former: Variables, installations: Installations, tmp_path: Path
) -> None:
    """The new one joins first, so it leads the group, and gives the old one standbys too."""
    pytest.importorskip("rocksdict")
    settings = await installations.make(opening_balance=OPENING, session_timeout_seconds=6)
    on_disk = settings.model_copy(update={"state_dir": tmp_path / "state", "standbys": 1})
    new, old = WorkerProcess(on_disk), WorkerProcess(settings)
    old.variables = dict(former)
    async with AsyncExitStack() as ends:
        for worker in (new, old):
            ends.callback(worker.log.unlink)
            ends.push_async_callback(worker.kill)
            await worker.start()
        await new.until(
            lambda: "standby for partitions" in new.log.read_text(), "is no standby of the old one"
        )
        async with Client(settings) as client:
            load = Load(client)
            for worker, killed in ((old, True), (new, False), (old, False), (new, True)):
                to = former if worker is old else {}
                await changed(worker, to, killed=killed, load=load)
                await client.answered()
            for worker in (new, old):
                assert await worker.stop() == 0
            await audit(settings, client, opening_balance=OPENING)
        await verified(settings)


async def verified(settings: Settings) -> None:
    """Audit the topics with this build's own auditor."""
    await without_workers(settings)
    done = await payments(settings, "verify")
    assert done.code == 0, done.out
