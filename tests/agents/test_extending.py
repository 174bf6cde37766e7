"""Extending it: what the workers' app can't host is refused, and the page's examples run."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exactstage.context import Context
from exactstage.errors import FailStop
from exactstage.hosting import EngineApp
from exactstage.log import Record
from exactstage.stage import Stage
from payments.app import create_app
from payments.settings import Settings
from payments.testing import PaymentsTestbed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
HEAD = """import json

import pytest

from payments.testing import PaymentsTestbed

@pytest.fixture
def anyio_backend():
    return "asyncio"

"""


class Quiet:
    """Logic that does nothing."""

    def handle(self, record: Record, context: Context) -> None:
        """Take a record."""


async def test_an_agent_of_another_topic_is_refused_at_the_start() -> None:
    testbed = PaymentsTestbed()

    @testbed.app.agent(testbed.app.topic("payments.results"), name="mine")
    async def mine(stream: Any) -> None:
        async for _ in stream:
            pass

    with pytest.raises(FailStop, match=r"agent 'mine' would never get a record.*docs/extend\.md"):
        await testbed.__aenter__()


def test_the_table_of_an_own_stage_names_the_journal_of_that_stage() -> None:
    """By Faust's own name the membership would ask for a topic that nobody has made."""
    stage = Stage("points", Quiet(), "journal-of-points", "letters", public_inputs=("in",))
    app = EngineApp("shop", stages=[stage], partitions=1, connection=Settings().connection())
    assert app.rows(stage).changelog_topic_name == "journal-of-points"


async def test_an_agent_of_a_channel_in_memory_is_none_of_that() -> None:
    testbed = PaymentsTestbed()

    @testbed.app.agent(testbed.app.channel(), name="mine")
    async def mine(stream: Any) -> None:
        async for _ in stream:
            pass

    async with testbed:
        assert (await testbed.send("pay-1", {"type": "get"})).outcome == "not_found"


@pytest.mark.parametrize(
    "define",
    [
        lambda app: app.Table("mine", default=int),
        lambda app: app.GlobalTable("mine"),
        lambda app: app.SetTable("mine"),
        lambda app: app.SetGlobalTable("mine"),
        lambda app: app.topic("payments.results").stream(),
        lambda app: app.stream(app.topic("payments.results")),
        lambda app: aiter(app.topic("payments.commands")),
        lambda app: app.tables["payments"].changelog_topic.stream(),
        lambda app: app.page("/mine/"),
        lambda app: app.topic_route(app.topic("payments.commands"), match_info="key"),
        lambda app: app.table_route(app.tables["payments"], match_info="key"),
    ],
)
def test_what_needs_a_faust_app_of_its_own_is_refused_where_it_is_defined(
    define: Callable[[EngineApp], object],
) -> None:
    with pytest.raises(FailStop, match=r"docs/extend\.md"):
        define(create_app(Settings()))


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 5
    for number, code in enumerate(examples):
        (tmp_path / f"test_{number}.py").write_text(HEAD + code)
    options = ("-q", "-p", "no:cacheprovider", "--asyncio-mode=auto")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--override-ini=pythonpath={ROOT}/examples"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stdout
    assert "5 passed" in ended.stdout
