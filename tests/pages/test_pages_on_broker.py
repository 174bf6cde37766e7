"""The shell blocks of README and docs/ as a reader runs them, page by page, beside make run.

Of the same kind: the Python of the pages (beside the tests of its subject), and the blocks that say
which other file tries them (``test_pages.py`` counts these).
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from payments.settings import Settings
from payments.topics.cluster import cluster
from tests.broker_fixture import Installations, RunningBroker, process_environment
from tools.dev.ports import HOST, free_ports

from .reading import PAGES, ROOT, SHELL, Command, blocks, commands, is_as_shown
from .shell import STILL_RUNNING, Shell

LIMIT_SECONDS = 120.0
TYPED_WITHIN_SECONDS = 60.0
READS = (
    "kcat -C ",
    "payments account ",
    "payments get ",
    "payments trace ",
    "payments dead-letters list",
    "letter=",
    "curl -s localhost:8080/",
)
WRITES = tuple(
    f"payments account {command} " for command in ("open", "freeze", "unfreeze", "limit", "close")
)
TO_RUN = {
    page: [
        command
        for block in blocks(page)
        if block.language in SHELL and block.left_out is None
        for command in commands(block)
    ]
    for page in PAGES
}


@pytest.fixture
async def installation(broker: RunningBroker, installations: Installations, kcat: str) -> Settings:
    """Return the settings of ``make run``: all defaults, on this broker."""
    made = Settings(brokers=broker.bootstrap)
    async with cluster(made) as connected:
        if made.topic("payments.commands") in await connected.names():
            pytest.skip("this broker has an installation of that name already: it is not touched")
    return made


@pytest.fixture
def gateway_port(installation: Settings, installations: Installations) -> Iterator[int]:
    """Run ``make run``; return its gateway's port."""
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.dev.run"],
        cwd=ROOT,
        env=process_environment(installation) | {"PAYMENTS_GATEWAY_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "It stays up" in line:
                break
        installations.adopt(installation)
        assert process.poll() is None, "".join(printed)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_SECONDS)


def test_every_page_does_what_it_shows(
    installation: Settings, gateway_port: int, tmp_path: Path
) -> None:
    replaced = {
        "localhost:9092": installation.brokers,
        "localhost:8080": f"{HOST}:{gateway_port}",
    }
    differences = []
    for page, every in TO_RUN.items():
        shell = Shell(tmp_path / page.stem, replaced, {"PAYMENTS_BROKERS": installation.brokers})
        try:
            differences += [found for each in every if (found := difference(shell, each))]
        finally:
            shell.close()
    assert not differences, "\n\n".join(differences)


def difference(shell: Shell, command: Command) -> str | None:
    """Run a command; return what is not as the page says.

    Who types takes longer than a worker: so what only reads may be read again, and what runs until
    Ctrl-C gets more time to print something.
    """
    deadline = time.monotonic() + TYPED_WITHIN_SECONDS
    stays_seconds = 2
    while found := _difference(shell, command, stays_seconds):
        reads = command.text.startswith(READS) and not command.text.startswith(WRITES)
        may_be_repeated = command.stays or reads
        if not may_be_repeated or time.monotonic() > deadline:
            return f"{command.place}: {command.text}\n{found}"
        stays_seconds *= 2
    return None


def _difference(shell: Shell, command: Command, stays_seconds: int) -> str | None:
    code, printed, errors = shell.run(command, stays_seconds)
    if command.stays:
        return None if (code, bool(printed)) == (STILL_RUNNING, True) else f"ended with {code}"
    if code != command.exit_code:
        return f"exit code {code}:\n{printed}{errors}"
    if command.status is not None and errors != str(command.status):
        return f"status {errors}:\n{printed}"
    if command.output is not None and not is_as_shown(command.output, printed):
        return f"printed:\n{printed}"
    return None
