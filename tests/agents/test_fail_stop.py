"""What ends a worker's process is an exception of the test where the application runs embedded."""

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from exactstage.errors import FailStop
from exactstage.memory import MemoryLog
from payments.testing import PaymentsTestbed

GET = {"type": "get"}


async def no_disk(*_: object, **__: object) -> NoReturn:
    message = "the disk is gone"
    raise FailStop(message)


class Broken:
    """A log that takes no appends."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.append = no_disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)


async def test_a_fail_stop_is_raised_by_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with PaymentsTestbed() as testbed:
            monkeypatch.setattr(MemoryLog, "append", no_disk)
            await testbed.send("pay-1", GET)

    with pytest.raises(FailStop, match="the disk is gone"):
        await use()


async def test_a_call_of_a_client_does_not_wait_for_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use() -> None:
        async with PaymentsTestbed() as testbed, testbed.client() as client:
            await client.get("pay-0")
            monkeypatch.setattr(testbed.app.engine._committer, "_log", Broken(testbed.log))
            await client.get("pay-1", deadline_seconds=3600)

    with pytest.raises(FailStop, match="the disk is gone"):
        await use()


TEST = """
import pytest
from exactstage.errors import FailStop
from exactstage.memory import MemoryLog

pytest_plugins = ["payments.pytest_plugin"]

async def no_disk(*_, **__):
    raise FailStop("the disk is gone")

@pytest.mark.asyncio
async def test_that_fails(payments_testbed, monkeypatch):
    monkeypatch.setattr(MemoryLog, "append", no_disk)
    await payments_testbed.send("pay-1", {"type": "get"})

def test_that_passes():
    pass
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_goes_on_and_says_what_happened(tmp_path: Path, mode: str) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--asyncio-mode={mode}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert ended.returncode == 1, ended.stdout
    assert "FailStop: the disk is gone" in ended.stdout
    assert "1 passed" in ended.stdout
