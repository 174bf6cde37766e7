"""docs/client.md: what it shows works."""

import asyncio
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from payments.client import LedgerEntry, PaymentsClient, errors
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from tests.broker.client import WorkerProcess
from tests.broker_fixture import Installations, process_environment

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "client.md").read_text()
QUICK_START, PARCELS, RULES, CHECKOUT, *TESTING = re.findall(
    r"```python\n(.*?)```", DOCUMENT, re.DOTALL
)
LIMIT_SECONDS = 120.0


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(opening_balance=1000)


async def test_the_first_lines_pay(settings: Settings, tmp_path: Path) -> None:
    script = tmp_path / "pay.py"
    script.write_text(QUICK_START.replace("localhost:9092", settings.brokers))
    worker = WorkerProcess(settings)
    try:
        await worker.start()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            env=process_environment(settings) | {"PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    finally:
        await worker.kill()
        worker.log.unlink()
    assert printed == b"completed completed\n"


def test_the_checkout_is_that_of_the_example() -> None:
    assert CHECKOUT in (REPOSITORY / "examples" / "shop.py").read_text()


async def test_the_parcels_are_captured_as_they_are_shipped() -> None:
    names: dict[str, Any] = {}
    exec(PARCELS, names)  # noqa: S102 - it is our own document
    async with PaymentsTestbed(opening_balance=10_000) as testbed, testbed.client() as client:
        await names["ship_in_two_parcels"](client)
        amounts = [(entry.kind, entry.amount, entry.held) for entry in testbed.ledger("clara")]
    assert amounts == [
        ("opening", 10_000, 0),
        ("hold", 0, 10_000),
        ("capture", -6000, 4000),
        ("capture", -3000, 0),
        ("refund", 2000, 0),
    ]


async def test_an_account_is_opened_frozen_and_closed() -> None:
    names: dict[str, Any] = {}
    exec(RULES, names)  # noqa: S102 - it is our own document
    async with PaymentsTestbed() as testbed, testbed.client() as client:
        await names["look_into"](client)
        kinds = [entry.kind for entry in testbed.ledger("carla")]
    assert kinds == ["open", "freeze", "unfreeze", "close"]


@pytest.mark.parametrize("lines", TESTING)
async def test_the_lines_for_tests_of_a_service_run(lines: str) -> None:
    first, _, rest = lines.partition("\n\n")
    names: dict[str, object] = {}
    exec(f"{first}\nasync def run():\n{textwrap.indent(rest, '    ')}", names)  # noqa: S102 - it is our own document
    run = names["run"]
    assert callable(run)
    await run()


def test_every_error_and_every_call_is_in_the_tables() -> None:
    named = {name for name, each in vars(errors).items() if isinstance(each, type)}
    methods = {name for name in dir(PaymentsClient) if not name.startswith("_")}
    rows = set(re.findall(r"^\| `(\w+)", DOCUMENT, re.MULTILINE))
    assert named - {"PaymentsClientError"} | methods == rows
    assert LedgerEntry.__name__ in DOCUMENT
